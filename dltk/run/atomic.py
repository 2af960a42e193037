"""Writing files so that a reader, a full disk or a kill at any moment never meets half of one.

A file is either replaced whole (written beside, flushed to the disk, renamed over) or grown by whole lines. Whoever
reads a file of lines skips what is not a whole line.
"""

import contextlib
import errno
import json
import math
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dltk.errors import LaunchError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}
BEYOND_JSON = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def refused(path: Path, action: str, error: OSError) -> LaunchError:
    """The one line for an operating system's error, e.g. action `cannot write`."""
    if error.errno in _FULL:
        what, remedy = "no space left on the disk", "Free some space and start the same command again: the run goes on."
    elif error.errno in _FORBIDDEN:
        what, remedy = "the folder is not writable", "Mend its permissions, or choose another place with runs_dir=DIR."
    else:
        what, remedy = (error.strerror or str(error)).lower(), "Look at the folder and its disk."
    return LaunchError(path, "", f"{action}: {what}", remedy)


@contextlib.contextmanager
def refusing(path: Path, action: str) -> Iterator[None]:
    """Turns an OSError inside into a LaunchError about `path`."""
    try:
        yield
    except OSError as error:
        raise refused(path, action, error) from error


def sync_folder(folder: Path) -> None:
    """Makes the names inside a folder durable; file systems that can't are left alone."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_whole(handle: int, data: bytes | memoryview) -> None:
    """Writes all of data to a file descriptor, however many calls it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def write_beside(path: Path, data: bytes) -> Path:
    """Writes data durably to a hidden file next to `path` and returns it; nothing stays behind after an OSError."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        try:
            write_whole(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    return beside


def replace_file(path: Path, data: bytes | str) -> None:
    """Replaces a file atomically. Raises LaunchError, and leaves the old file, when the disk refuses."""
    with refusing(path, "cannot write"):
        beside = write_beside(path, data.encode() if isinstance(data, str) else data)
        try:
            os.replace(beside, path)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
    sync_folder(path.parent)


def to_json(value: Any, indent: int | None = None) -> str:
    """Strict JSON: NaN and infinities become strings, which `from_json` turns back; arrays become lists."""
    return json.dumps(_plain(value), indent=indent, ensure_ascii=False, allow_nan=False, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value).replace("nan", "NaN").replace("inf", "Infinity")
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # an array or tensor, also of no dimensions
        return _plain(value.tolist())
    return value


def from_json(text: str | bytes) -> dict[str, Any] | None:
    """The object in a text written by `to_json`, or None when it is not one whole object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return _restored(value) if isinstance(value, dict) else None


def _restored(value: Any) -> Any:
    if isinstance(value, str):
        return BEYOND_JSON.get(value, value)
    if isinstance(value, dict):
        return {key: _restored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_restored(item) for item in value]
    return value


def read_object(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None when the file is missing, unreadable or damaged."""
    try:
        return from_json(path.read_bytes())
    except OSError:
        return None


class Lines:
    """A file of one JSON object a line, grown by whole lines; one process writes it at a time (the lease's holder)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, text: str) -> int:
        """Adds one line and returns the offset (bytes) where it begins. A torn end is cut off first."""
        data = text.encode() + b"\n"
        with refusing(self.path, "cannot write"):
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                start = _whole_end(handle)
                _write_at(handle, start, data)
            finally:
                os.close(handle)
        return start

    def rewrite_last(self, start: int, text: str) -> None:
        """Puts another text in place of the last line, which begins at byte `start`."""
        with refusing(self.path, "cannot write"):
            handle = os.open(self.path, os.O_RDWR)
            try:
                old = os.pread(handle, os.fstat(handle).st_size - start, start)
                try:
                    _overwrite(handle, start, text.encode() + b"\n")
                except OSError:
                    _overwrite(handle, start, old)  # its blocks are still there
                    raise
            finally:
                os.close(handle)

    def texts(self) -> Iterator[bytes]:
        """Every line, without its line end, whole or not."""
        try:
            with self.path.open("rb") as file:
                for line in file:
                    if line.strip():
                        yield line.rstrip(b"\n")
        except FileNotFoundError:
            return

    def objects(self) -> Iterator[dict[str, Any]]:
        """Every line that is a whole object; the others are skipped."""
        for text in self.texts():
            value = from_json(text)
            if value is not None:
                yield value

    def last(self) -> tuple[int, dict[str, Any]] | None:
        """Offset (bytes) and object of the last whole line, read from the file's end."""
        try:
            with self.path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                block = 1 << 16
                while True:
                    start = max(0, end - block)
                    file.seek(start)
                    found = _last_object(file.read(end - start), start)
                    if found or start == 0:
                        return found
                    block *= 4
        except FileNotFoundError:
            return None


def _last_object(tail: bytes, start: int) -> tuple[int, dict[str, Any]] | None:
    """The last whole object of a file's tail that begins at offset `start`; the tail's first line may be a part."""
    offset = start + len(tail)
    for line in reversed(tail.splitlines(keepends=True)):
        offset -= len(line)
        value = from_json(line)
        if value is not None and (offset > start or start == 0):
            return offset, value
    return None


def _whole_end(handle: int) -> int:
    """Where the next line may begin: behind the last line end, after mending a torn end."""
    end = os.fstat(handle).st_size
    if end == 0 or os.pread(handle, 1, end - 1) == b"\n":
        return end
    block = min(end, 1 << 20)
    tail = os.pread(handle, block, end - block)
    torn = tail[tail.rfind(b"\n") + 1 :]
    if from_json(torn) is not None:  # whole, only its line end is missing
        _write_at(handle, end, b"\n")
        return end + 1
    os.ftruncate(handle, end - len(torn))
    return end - len(torn)


def _write_at(handle: int, start: int, data: bytes) -> None:
    """Writes data at an offset, which then is the file's end; after an OSError the file ends at the offset."""
    try:
        _overwrite(handle, start, data)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(handle, start)
        raise


def _overwrite(handle: int, start: int, data: bytes) -> None:
    os.lseek(handle, start, os.SEEK_SET)
    write_whole(handle, data)
    os.ftruncate(handle, start + len(data))
