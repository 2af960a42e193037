"""Where a shard comes from: this file system, http, an object store, a command; and how it is fetched whole."""

import glob
import hashlib
import http.client
import os
import re
import select
import shlex
import stat
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, Self

from dltk.errors import DataError, SourceError

TRIES = 5
FIRST_PAUSE = 0.5  # seconds before the second try; doubled each time
TIMEOUT = 30.0  # seconds without an answer
COMMAND_TIMEOUT = 300.0  # seconds without output; some commands look long before they begin
PIECE = 1 << 20  # bytes read at once
HOPELESS = (301, 302, 303, 307, 308, 400, 401, 403, 404, 410)  # what http says when asking again is no use
STORES = ("s3", "gs", "gcs")  # read through fsspec, which would also open local files, ssh and chains of them
FAULTS = (OSError, EOFError, http.client.HTTPException)  # what a source may do


def is_local(url: str) -> bool:
    """Whether a shard is a file of this machine."""
    return "://" not in url and not url.startswith("pipe:")


def require_allowed(url: str, allow_pipe: bool) -> None:
    """Refuse commands that nobody allowed, and what is no address of a shard.

    Raises:
        DataError: `pipe:` without permission, or a scheme that nothing here reads.
    """
    if is_local(url):
        return
    if url.startswith("pipe:"):
        if not allow_pipe:
            remedy = "Where you trust the index, set data.allow_pipe=true in an overlay of this place."
            raise DataError(url, "", "is a command, and commands of an index are not run", remedy)
        return
    scheme = url.partition("://")[0]
    if scheme not in ("http", "https", *STORES) or "::" in url:
        raise DataError(url, "", "is no address of a shard", f"Use a path, http, https, {', '.join(STORES)}.")


class Source(Protocol):
    """An open shard."""

    expected: int | None  # bytes of it all, where the source tells

    def read(self, count: int = -1, /) -> bytes:
        """The next bytes; none at the end."""

    def close(self) -> None:
        """Let it go."""


class Steady:
    """A shard's bytes as a stream that goes on where the connection was cut.

    Args:
        url: of the shard.
        start: first byte.
        size: of the whole shard, where it is known.
        allow_pipe: run `pipe:` commands.
        tries: how often the source may fail.

    Raises:
        DataError: `pipe:` without permission, or a scheme that nothing here reads.
        SourceError: when read, if the source stays unreachable.
    """

    def __init__(
        self, url: str, *, start: int = 0, size: int = 0, allow_pipe: bool = False, tries: int = TRIES
    ) -> None:
        require_allowed(url, allow_pipe)
        self.url, self.at, self.failures = url, start, 0
        self._size, self._tries = size, tries
        self._source: Source | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, count: int = -1) -> bytes:
        """The next bytes, not always as many as asked for; none at the end."""
        while True:
            try:
                self._source = self._source or _open(self.url, self.at)
                data = self._source.read(count)
                self._require_whole(self._source.expected, data)
            except FAULTS as error:
                self._bear(error)
                continue
            self.at += len(data)
            return data

    def close(self) -> None:
        """Let the source go."""
        source, self._source = self._source, None
        if source is not None:
            source.close()

    def _require_whole(self, expected: int | None, data: bytes) -> None:
        whole = self._size if expected is None else expected
        if not data and self.at < whole:
            raise EOFError(f"the connection ended after {self.at:,} of {whole:,} bytes")

    def _bear(self, error: BaseException) -> None:
        """Wait before the next try, if there is one."""
        self.close()
        self.failures += 1
        if self.failures >= self._tries or getattr(error, "code", None) in HOPELESS or _is_missing(error):
            what = f"cannot be fetched ({_reason(error)}), tried {self.failures} time(s)"
            remedy = (
                "Look at the path and its rights." if is_local(self.url) else "Look at the address and the network."
            )
            raise SourceError(self.url, "", what, remedy) from None
        time.sleep(FIRST_PAUSE * 2 ** (self.failures - 1))


def fetch(url: str, to: Path, *, sha256: str = "", size: int = 0, allow_pipe: bool = False, tries: int = TRIES) -> None:
    """Copy a shard to a file, going on where the connection was cut.

    Args:
        url: of the shard.
        to: the file; what is there of an earlier try is used.
        sha256: that it must have.
        size: bytes that it must have.
        allow_pipe: run `pipe:` commands.
        tries: how often the source may fail.

    Raises:
        SourceError: the source stays unreachable, or gives other bytes than the index says.
        OSError: this disk fails.
    """
    wrong = ""
    for _ in range(2):
        in_pieces = to.exists()
        with Steady(
            url, start=to.stat().st_size if in_pieces else 0, size=size, allow_pipe=allow_pipe, tries=tries
        ) as source:
            _copy(source, to, size)
        wrong = _unlike(to, sha256, size)
        if not wrong:
            return
        to.unlink()
        # What a killed try or a machine without power left may be damaged, and a shard may change between two pieces.
        if not in_pieces and not source.failures:
            break
    raise SourceError(url, "", wrong, "Make the index again.")


def hash_of(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expand(pattern: str) -> list[str]:
    """The shards that a pattern names: `{000..146}` counts, `*` looks into a folder of this machine.

    Raises:
        DataError: it names none.
    """
    urls = list(_braces(pattern))
    if all(is_local(url) for url in urls):
        urls = [path for url in urls for path in (sorted(glob.glob(url)) if any(c in url for c in "*?[") else [url])]
        missing = [url for url in urls if not os.path.exists(url)]
        if missing or not urls:
            raise DataError(missing[0] if missing else pattern, "", "no such shard", "Check the path and its numbers.")
    return urls


def _copy(source: Steady, to: Path, size: int) -> None:
    """Append what the source gives; of more than the index says, no more than shows it."""
    with to.open("ab") as file:
        while piece := source.read(PIECE):
            file.write(piece)
            if size and file.tell() > size:
                return


def _unlike(path: Path, sha256: str, size: int) -> str:
    """How a file differs from what the index says; nothing where it does not."""
    found = path.stat().st_size
    if size and found != size:
        return f"has {'more' if found > size else 'fewer'} bytes than the {size:,} that the index says"
    seen = hash_of(path) if sha256 else ""
    return f"has sha256 {seen[:12]}…, the index says {sha256[:12]}…" if seen != sha256 else ""


def _open(url: str, start: int) -> Source:
    if is_local(url):
        return _Local(url, start)
    if url.startswith("pipe:"):
        return _Command(url, start)
    if url.startswith(("http://", "https://")):
        return _Http(url, start)
    return _Store(url, start)


class _Local:
    """A file of this machine. Pipes and devices would wait for ever, or do something when they are opened."""

    def __init__(self, url: str, start: int) -> None:
        status = os.stat(url)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(url, "", "is no regular file", "Name a shard.")
        self.expected: int | None = status.st_size
        self._file = Path(url).open("rb")  # noqa: SIM115
        self._file.seek(start)

    def read(self, count: int = -1) -> bytes:
        return self._file.read(count)

    def close(self) -> None:
        self._file.close()


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows http to http; Python's own would go on to ftp."""

    def redirect_request(self, request: Any, file: Any, code: int, message: str, headers: Any, url: str) -> Any:
        if not url.startswith(("http://", "https://")):
            raise urllib.error.HTTPError(request.full_url, code, f"leads to {url}, which is not read", headers, file)
        return super().redirect_request(request, file, code, message, headers, url)


_opener = urllib.request.build_opener(_Redirects)


class _Http:
    """A web server's answer."""

    def __init__(self, url: str, start: int) -> None:
        quoted = urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]")
        request = urllib.request.Request(quoted, headers={"Range": f"bytes={start}-"} if start else {})
        self._answer: Any = None
        try:
            self._answer = _opener.open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 416 or not start:
                raise
            self.expected: int | None = start  # nothing is missing
            return
        length = self._answer.headers.get("Content-Length", "")
        ranged = start > 0 and self._answer.status == 206
        self.expected = int(length) + start * ranged if length.isdigit() else None
        if ranged and not self._answer.headers.get("Content-Range", f"bytes {start}-").startswith(f"bytes {start}-"):
            raise OSError("the server answers with another range")
        if not ranged:
            _discard(self, start)

    def read(self, count: int = -1) -> bytes:
        data: bytes = b"" if self._answer is None else self._answer.read(None if count < 0 else count)
        return data

    def close(self) -> None:
        if self._answer is not None:
            self._answer.close()


class _Store:
    """An object of a store that fsspec knows. The stores' libraries raise exceptions of their own."""

    def __init__(self, url: str, start: int) -> None:
        import fsspec

        try:
            where = fsspec.open(url, "rb")
        except (ImportError, ValueError) as error:
            remedy = "Install the extra for it: dltk[s3] or dltk[gs]."
            raise DataError(url, "", str(error).rstrip("."), remedy) from None
        self._file = _faults_as_oserror(where.open)
        self.expected: int | None = getattr(self._file, "size", None)
        self._file.seek(start)

    def read(self, count: int = -1) -> bytes:
        data: bytes = _faults_as_oserror(self._file.read, count)
        return data

    def close(self) -> None:
        self._file.close()


def _faults_as_oserror(call: Any, *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except OSError:
        raise
    except Exception as error:  # botocore's, aiohttp's, google's
        raise OSError(f"{type(error).__name__}: {error}") from error


class _Command:
    """What a command prints. No shell reads it, and it reads nothing."""

    expected: int | None = None

    def __init__(self, url: str, start: int) -> None:
        try:
            words = shlex.split(url.removeprefix("pipe:"))
        except ValueError as error:
            raise DataError(url, "", f"is no command ({error})", "Quote its words.") from None
        self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self._output = self._process.stdout.fileno()
        _discard(self, start)

    def read(self, count: int = -1) -> bytes:
        if not select.select([self._output], [], [], COMMAND_TIMEOUT)[0]:
            raise TimeoutError(f"the command was silent for {COMMAND_TIMEOUT:g} s")
        data = os.read(self._output, PIECE if count < 0 else count)
        if not data and (code := self._process.wait(COMMAND_TIMEOUT)):
            raise OSError(f"the command left with {code}")
        return data

    def close(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.kill()  # it has nobody to write to
        self._process.wait()


def _discard(source: Source, count: int) -> None:
    """Read and forget so many bytes."""
    while count > 0:
        piece = source.read(min(count, PIECE))
        if not piece:
            return
        count -= len(piece)


def _is_missing(error: BaseException) -> bool:
    return isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError | NotADirectoryError)


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        return _reason(error.reason) if isinstance(error.reason, BaseException) else str(error.reason)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _braces(pattern: str) -> Iterator[str]:
    found = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if found is None:
        yield pattern
        return
    low, high = found.groups()
    for number in range(int(low), int(high) + 1):
        yield from _braces(f"{pattern[: found.start()]}{number:0{len(low)}d}{pattern[found.end() :]}")
