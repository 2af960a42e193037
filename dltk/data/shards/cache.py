"""Whole shards of a slow source, kept on a fast disk: bounded, checked, shared by the processes of a node.

The folder is to lie on a disk of this machine. On a network's file system locks may be refused, which is told, or lie;
two machines that share one by mistake then fetch what the other has, and spoil nothing.
"""

import contextlib
import fcntl
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from dltk.data.shards.source import fetch, hash_of
from dltk.errors import DataError, SourceError

GB = 1_000_000_000
SPARE = 1 << 22  # bytes left free on the disk
TRIES = 20  # how often a shard may be gone between its fetch and its opening
PAUSE = 0.05  # seconds between two looks for room
ABANDONED = 3600  # seconds without a change after which what another machine began to fetch goes
HOST = re.sub(r"[^\w-]", "-", platform.node())
ELSEWHERE = "Free some space, or name another disk."


class Cache:
    """A folder of fetched shards, named by their hashes.

    A shard is fetched under a temporary name, checked, and renamed: what has its name is whole. Processes that want the
    same one wait for the first. What an earlier run left is checked once more, by one process of a node. The shards
    used longest ago go when room is needed; a process that has one open keeps reading it all the same.

        SHA256.tar               a whole shard
        SHA256.BYTES.HOST.part   one that is being fetched; its room is taken from the beginning
        00.lock … ff.lock        held while a shard is fetched whose hash begins so;  room.lock  while room is made

    Args:
        folder: on a local disk.
        limit: bytes that it may hold.
        need: bytes that the plan reads at a time; 0 if unknown.
        allow_pipe: run `pipe:` commands.

    Raises:
        DataError: the limit is below the need, the disk has less room, or the folder cannot be used.
    """

    def __init__(self, folder: str | Path, limit: int, *, need: int = 0, allow_pipe: bool = False) -> None:
        self.folder, self.limit, self.allow_pipe = Path(folder), limit, allow_pipe
        if limit < need:
            raise DataError(
                "",
                "data.cache_gb",
                f"{limit / GB:.3g} GB are too few: the lanes read {need / GB:.3g} GB at a time",
                f"Set data.cache_gb={-(-need // GB)}, lower data.lanes or data.window, or pack smaller shards.",
            )
        self._since = time.time()  # processes that are given this object have the same
        self._checked: set[str] = set()  # where the files are another user's, and cannot be marked
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(self.folder, "data.cache", f"cannot be used ({error.strerror})", ELSEWHERE) from None
        held = sum(size for _, size, _ in self._held()) + sum(map(_bytes, self.folder.glob("*.part")))
        room = shutil.disk_usage(self.folder).free + held
        if room < need + SPARE:
            what = f"{room / GB:.3g} GB are free, the lanes read {need / GB:.3g} GB at a time"
            raise DataError(self.folder, "data.cache", what, ELSEWHERE)

    def open(self, url: str, sha256: str, size: int) -> int:
        """A descriptor of the shard, fetched if it is not there. It stays good when the shard's name goes.

        Raises:
            SourceError: it cannot be fetched, is not what the index says, or the disk is full.
        """
        for _ in range(TRIES):
            with contextlib.suppress(FileNotFoundError):  # another process may have made room meanwhile
                return os.open(self.path(url, sha256, size), os.O_RDONLY | os.O_CLOEXEC)
        what = "shards go as soon as they are fetched: other processes need the room"
        raise SourceError(self.folder, "data.cache", what, "Raise data.cache_gb.")

    def path(self, url: str, sha256: str, size: int) -> Path:
        """The shard as a local file, fetched if it is not there. Other processes may remove it; see `open`.

        Raises:
            SourceError: it cannot be fetched, is not what the index says, or the disk is full.
        """
        target = self.folder / f"{sha256}.tar"
        if self._ready(target, sha256, size):
            return target
        with self._lock(sha256[:2]):
            # Another process may have fetched or checked it meanwhile.
            if not self._ready(target, sha256, size) and not self._check(target, sha256, size):
                self._fetch(url, sha256, size, target)
        return target

    def _ready(self, target: Path, sha256: str, size: int) -> bool:
        """Whether the shard is there, and was checked since the run began; notes that it is used."""
        try:
            status = target.stat()
        except FileNotFoundError:
            return False
        if status.st_size != size or (status.st_mtime < self._since and sha256 not in self._checked):
            return False
        _mark(target, status.st_mtime_ns)
        return True

    def _check(self, target: Path, sha256: str, size: int) -> bool:
        """Whether a shard of an earlier run is whole, for disks and people damage files; its lock is held."""
        try:
            whole = target.stat().st_size == size and hash_of(target) == sha256
        except FileNotFoundError:
            return False
        if whole:
            self._checked.add(sha256)
            _mark(target, time.time_ns())
        else:
            target.unlink(missing_ok=True)
        return whole

    def _fetch(self, url: str, sha256: str, size: int, target: Path) -> None:
        """Fetch a shard whose lock is held; what a killed process left of it is gone on with."""
        partial = self.folder / f"{sha256}.{size}.{HOST}.part"
        try:
            self._reserve(partial, size)
            fetch(url, partial, sha256=sha256, size=size, allow_pipe=self.allow_pipe)
            partial.rename(target)
        except OSError as error:
            partial.unlink(missing_ok=True)
            what = f"cannot keep a shard of {size / GB:.3g} GB ({error.strerror})"
            raise SourceError(self.folder, "data.cache", what, ELSEWHERE) from None
        self._checked.add(sha256)

    def _reserve(self, partial: Path, size: int) -> None:
        """Make room for a shard, and hold it by the temporary file."""
        while True:
            with self._lock("room"):
                if self._make_room(partial, size):
                    partial.touch()
                    return
            # Others are fetching; what they fetch can go when it is whole. Two that wait must not wait for each other.
            partial.unlink(missing_ok=True)
            time.sleep(PAUSE)

    def _make_room(self, partial: Path, size: int) -> bool:
        """Remove shards until there is room for one more; False where others must first have finished theirs."""
        others = self._others(partial)
        promised = sum(_promised(path) for path in others)
        held = sorted(self._held())  # by last use
        total = sum(one for _, one, _ in held) + promised
        free = shutil.disk_usage(self.folder).free - sum(max(0, _promised(path) - _bytes(path)) for path in others)
        missing = size - _bytes(partial)
        while held and (total + size > self.limit or free < missing + SPARE):
            _, one, path = held.pop(0)
            path.unlink(missing_ok=True)
            total, free = total - one, free + one
        if total + size <= self.limit and free >= missing + SPARE:
            return True
        if others:
            return False
        what = f"no room for a shard of {size / GB:.3g} GB: {free / GB:.3g} GB are free, {self.limit / GB:.3g} allowed"
        raise SourceError(self.folder, "data.cache", what, "Free some space, or raise data.cache_gb.")

    def _held(self) -> list[tuple[float, int, Path]]:
        """Last use, bytes and path of each shard."""
        found = []
        for path in self.folder.glob("*.tar"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_atime, status.st_size, path))
        return found

    def _others(self, mine: Path) -> list[Path]:
        """What other processes here are fetching. What killed ones left is removed; the lock of `mine` is held."""
        found = []
        for path in self.folder.glob("*.*.*.part"):
            here = path.name.endswith(f".{HOST}.part")
            if path == mine or not (here or _age(path) > ABANDONED):
                continue
            with self._lock(path.name[:2], wait=False) as free:
                if free or path.name[:2] == mine.name[:2]:
                    path.unlink(missing_ok=True)
                else:
                    found.append(path)
        return found

    @contextlib.contextmanager
    def _lock(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Held by one process and thread at a time, and freed by the system when the process dies.

        Yields:
            Whether it is held; always, if waited for.
        """
        try:
            file = os.open(self.folder / f"{name}.lock", os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SourceError(self.folder, "data.cache", f"cannot be used ({error.strerror})", ELSEWHERE) from None
        try:
            yield self._take(file, wait)
        finally:
            os.close(file)

    def _take(self, file: int, wait: bool) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError as error:  # some network file systems have no locks
            what = f"cannot be locked ({error.strerror})"
            raise SourceError(self.folder, "data.cache", what, "Name a folder on a local disk.") from None
        return True


def _mark(shard: Path, checked_ns: int) -> None:
    """Note that a shard is used now (the time of access), and when it was checked (the time of change)."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        os.utime(shard, ns=(time.time_ns(), checked_ns))


def _promised(partial: Path) -> int:
    """The bytes that a shard will have, from its temporary name."""
    return int(partial.name.split(".")[1])


def _bytes(path: Path) -> int:
    """The bytes that are there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _age(path: Path) -> float:
    """Seconds since the last change."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
