"""Whole shards of a slow source, kept on a fast disk: bounded, checked, shared by the processes of a node."""

import contextlib
import fcntl
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from dltk.data.shards.source import fetch, hash_of
from dltk.errors import DataError

GB = 1_000_000_000
SPARE = 1 << 22  # bytes left free on the disk


class Cache:
    """A folder of fetched shards, named by their hashes.

    A shard is fetched under a temporary name, checked, and renamed: what has its name is whole. Processes that want the
    same one wait for the first. The shards used longest ago go when room is needed; a process that has one open keeps
    reading it all the same.

    Args:
        folder: on a local disk.
        limit: bytes that it may hold.
        need: bytes that the plan reads at a time; 0 if unknown.
        allow_pipe: run `pipe:` commands.

    Raises:
        DataError: the limit is below the need, or the disk has less room.
    """

    def __init__(self, folder: str | Path, limit: int, *, need: int = 0, allow_pipe: bool = False) -> None:
        self.folder, self.limit, self.allow_pipe = Path(folder), limit, allow_pipe
        if limit < need:
            raise DataError(
                "",
                "data.cache_gb",
                f"{limit / GB:.3g} GB are too few: the lanes read {need / GB:.3g} GB at a time",
                f"Set data.cache_gb={-(-need // GB)}, lower data.lanes, or pack smaller shards.",
            )
        self._checked: set[str] = set()
        self.folder.mkdir(parents=True, exist_ok=True)
        held = sum(size for _, size, _ in self._held())
        room = shutil.disk_usage(self.folder).free + held
        if room < need + SPARE:
            what = f"{room / GB:.3g} GB are free, the lanes read {need / GB:.3g} GB at a time"
            raise DataError(self.folder, "data.cache", what, "Free some space, or name another disk.")

    def path(self, url: str, sha256: str, size: int) -> Path:
        """The shard as a local file, fetched if it is not there.

        Raises:
            DataError: it cannot be fetched, is not what the index says, or the disk is full.
        """
        target = self.folder / f"{sha256}.tar"
        if self._use(target, sha256, size):
            return target
        with self._lock(sha256):
            if not self._use(target, sha256, size):  # another process may have fetched it meanwhile
                self._fetch(url, sha256, size, target)
        return target

    def prefetch(self, shards: Iterable[tuple[str, str, int]]) -> threading.Thread:
        """Fetch shards (url, sha256, size) one after another beside the caller; whoever needs one hears its error."""

        def work() -> None:
            for shard in shards:
                with contextlib.suppress(DataError, OSError):
                    self.path(*shard)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def _use(self, target: Path, sha256: str, size: int) -> bool:
        """Whether the shard is there and whole; notes that it was used."""
        try:
            whole = target.stat().st_size == size
            if whole and sha256 not in self._checked:  # once a process: disks and people damage files
                whole = hash_of(target) == sha256
            if not whole:
                target.unlink()
                return False
            self._checked.add(sha256)
            os.utime(target)
        except FileNotFoundError:
            return False
        return True

    def _fetch(self, url: str, sha256: str, size: int, target: Path) -> None:
        partial = target.with_suffix(".part")  # the lock makes it ours; what a killed process left is gone on with
        with self._lock("room"):
            self._make_room(size)
        try:
            fetch(url, partial, sha256=sha256, size=size, allow_pipe=self.allow_pipe)
        except OSError as error:
            partial.unlink(missing_ok=True)
            what = f"cannot keep a shard of {size / GB:.3g} GB ({error.strerror})"
            raise DataError(self.folder, "data.cache", what, "Free some space, or name another disk.") from None
        partial.rename(target)
        self._checked.add(sha256)

    def _make_room(self, size: int) -> None:
        held = sorted(self._held())  # by last use
        total = sum(one for _, one, _ in held)
        free = shutil.disk_usage(self.folder).free
        while held and (total + size > self.limit or free < size + SPARE):
            _, one, path = held.pop(0)
            path.unlink(missing_ok=True)
            total, free = total - one, free + one
        if free < size + SPARE or size > self.limit:
            what = (
                f"no room for a shard of {size / GB:.3g} GB: {free / GB:.3g} GB are free, {self.limit / GB:.3g} allowed"
            )
            raise DataError(self.folder, "data.cache", what, "Free some space, or raise data.cache_gb.")

    def _held(self) -> list[tuple[float, int, Path]]:
        """Last use, bytes and path of each shard."""
        found = []
        for path in self.folder.glob("*.tar"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        return found

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        """Held by one process and thread at a time; the system frees it when the process dies."""
        file = os.open(self.folder / f"{name}.lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)
