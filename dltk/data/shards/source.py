"""Where a shard comes from: this file system, http, an object store, a command; and how it is fetched whole."""

import contextlib
import errno
import glob
import hashlib
import itertools
import os
import re
import shlex
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from dltk.errors import DataError

TRIES = 5
FIRST_PAUSE = 0.5  # seconds before the second try; doubled each time
TIMEOUT = 30.0  # seconds without an answer
PIECE = 1 << 20  # bytes read at once
HOPELESS = (400, 401, 403, 404, 410)  # what http says when asking again is no use


def is_local(url: str) -> bool:
    """Whether a shard is a file of this machine."""
    return "://" not in url and not url.startswith("pipe:")


def require_allowed(url: str, allow_pipe: bool) -> None:
    """Refuse commands that nobody allowed.

    Raises:
        DataError: `pipe:` without permission.
    """
    if url.startswith("pipe:") and not allow_pipe:
        remedy = "Where you trust the index, set data.allow_pipe=true in an overlay of this place."
        raise DataError(url, "", "is a command, and commands of an index are not run", remedy)


@contextlib.contextmanager
def stream(url: str, *, start: int = 0, allow_pipe: bool = False) -> Iterator[BinaryIO]:
    """A shard's bytes from `start` on.

    Raises:
        DataError: `pipe:` without permission, or a scheme that nothing here reads.
        OSError: whatever went wrong on the way.
    """
    require_allowed(url, allow_pipe)
    if is_local(url):
        with open(url, "rb") as file:
            file.seek(start)
            yield file
    elif url.startswith("pipe:"):
        with _command(url) as file:
            _discard(file, start)
            yield file
    elif url.startswith(("http://", "https://")):
        with _http(url, start) as file:
            yield file
    else:
        import fsspec

        try:
            opened = fsspec.open(url, "rb")
        except (ImportError, ValueError) as error:
            raise DataError(
                url, "", str(error).rstrip("."), "Install the extra for it: dltk[s3] or dltk[gs]."
            ) from None
        with opened as file:
            file.seek(start)
            yield file


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
        DataError: the source stays unreachable, or gives other bytes than the index says.
        OSError: this disk is full.
    """
    for number in itertools.count(1):
        try:
            _continue(url, to, allow_pipe)
            break
        except (OSError, EOFError) as error:
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise
            if number >= tries or getattr(error, "code", None) in HOPELESS or _is_missing(error):
                what = f"cannot be fetched ({_reason(error)}), tried {number} time(s)"
                raise DataError(url, "", what, "Look at the address and the network.") from None
            time.sleep(FIRST_PAUSE * 2 ** (number - 1))
    found = os.path.getsize(to)
    if size and found != size:
        to.unlink()
        raise DataError(url, "", f"has {found:,} bytes, the index says {size:,}", "Make the index again.")
    if sha256 and (seen := hash_of(to)) != sha256:
        to.unlink()
        raise DataError(url, "", f"has sha256 {seen[:12]}…, the index says {sha256[:12]}…", "Make the index again.")


def hash_of(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expand(pattern: str) -> list[str]:
    """The shards that a pattern names: `{000..146}` counts, `*` looks into a folder.

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


def _continue(url: str, to: Path, allow_pipe: bool) -> None:
    start = to.stat().st_size if to.exists() else 0
    with stream(url, start=start, allow_pipe=allow_pipe) as source, to.open("ab") as file:
        if getattr(source, "begins_anew", False):  # it does not know ranges
            file.truncate(0)
        shutil.copyfileobj(source, file, PIECE)
        expected = getattr(source, "expected", None)
        if expected is not None and file.tell() < expected:
            raise EOFError(f"the connection ended after {file.tell():,} of {expected:,} bytes")


class _Answer:
    """An http answer as a stream that knows its length."""

    def __init__(self, answer: Any, start: int) -> None:
        self._answer = answer
        self.begins_anew = start > 0 and answer.status != 206
        length = answer.headers.get("Content-Length")
        self.expected = None if length is None else int(length) + (0 if self.begins_anew else start)

    def read(self, count: int = -1) -> bytes:
        data: bytes = self._answer.read(None if count < 0 else count)
        return data


@contextlib.contextmanager
def _http(url: str, start: int) -> Iterator[Any]:
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # nothing is missing
            yield _Nothing()
            return
        raise
    with answer:
        yield _Answer(answer, start)


class _Nothing:
    begins_anew, expected = False, None

    def read(self, count: int = -1) -> bytes:
        return b""


@contextlib.contextmanager
def _command(url: str) -> Iterator[Any]:
    words = shlex.split(url.removeprefix("pipe:"))
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.stdout
        process.stdout.close()
        if process.wait() not in (0, -13):  # we may have had enough
            raise OSError(f"the command left with {process.returncode}")


def _discard(file: Any, count: int) -> None:
    while count > 0:
        piece = file.read(min(count, PIECE))
        if not piece:
            return
        count -= len(piece)


def _is_missing(error: BaseException) -> bool:
    return isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError)


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        return str(error.reason)
    return str(error) or type(error).__name__


def _braces(pattern: str) -> Iterator[str]:
    found = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if found is None:
        yield pattern
        return
    low, high = found.groups()
    for number in range(int(low), int(high) + 1):
        yield from _braces(f"{pattern[: found.start()]}{number:0{len(low)}d}{pattern[found.end() :]}")
