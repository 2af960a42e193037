"""Samples of shards by their numbers: by seeking to where the index says that they lie."""

import contextlib
import functools
import hashlib
import os
import queue
import stat
import threading
from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from dltk.data.plan import Numbers, Recent
from dltk.data.shards.cache import Cache
from dltk.data.shards.index import Index
from dltk.data.shards.source import is_local, require_allowed
from dltk.data.shards.tar import members
from dltk.errors import DataError

ROUNDED = 2_000_000_000  # ns by which copying may make a file older: archives and some file systems count seconds
MAX_SAMPLE = 1 << 30  # bytes; the index says how long a sample is, and an index may come from elsewhere


class _File(NamedTuple):
    descriptor: int
    mtime_ns: int  # when it was opened


class ShardReader:
    """Reads the files of samples; what lies on a slow source is fetched whole first.

    Args:
        index: of the shards.
        cache: keeps shards of slow sources; None where all are local and read in place.
        open_files: shards held open.
        allow_pipe: fetch by commands that the index names.

    Raises:
        DataError: shards lie elsewhere and there is no cache.
    """

    def __init__(self, index: Index, *, cache: Cache | None, open_files: int = 128, allow_pipe: bool = False) -> None:
        self.index, self.cache, self.open_files = index, cache, open_files
        self._files: OrderedDict[int, _File] = OrderedDict()  # by shard, used longest ago first
        self._copies: dict[int, int] = {}  # shards whose contents were looked at, with their times in ns
        self._ahead: _Ahead | None = None
        if len(index.counts):
            url = index.url(0)
            require_allowed(url, allow_pipe)
            if cache is None and not is_local(url):
                what = f"the shards lie at {url.rpartition('/')[0]}, and no folder is named to keep fetched ones"
                raise DataError(index.folder, "data.cache", what, "Set data.cache=FOLDER, on a local disk.")

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_files": OrderedDict(), "_ahead": None}

    def fields(self, number: int) -> dict[str, bytes]:
        """The files of one sample, by extension.

        Raises:
            DataError: the shard is missing, cut off, or not what was indexed.
        """
        shard, offset, size = self.index.lies(number)
        key = self.index.keys[number]
        if size > MAX_SAMPLE:
            raise DataError(
                f"{self.index.name(shard)}: {key}", "", f"is {size:,} bytes long, {MAX_SAMPLE:,} are allowed"
            )
        file = self._file(shard)
        block = os.pread(file.descriptor, size, offset)
        # Written to while it is open; of a cached shard the time says when it was used.
        if len(block) != size or (self.cache is None and os.fstat(file.descriptor).st_mtime_ns != file.mtime_ns):
            self._drop(shard)
            raise self._changed(shard, number)
        try:
            found, fields = members(block, key)
        except DataError:
            raise self._changed(shard, number) from None
        if found != key:
            raise self._changed(shard, number)
        return fields

    def order(self, numbers: Numbers) -> Numbers:
        """The positions (b,) of samples in the order in which they lie, so that a disk reads forwards."""
        shards, offsets, _ = self.index.locate(numbers)
        return np.lexsort((offsets, shards))

    def fetch_ahead(self, numbers: Numbers) -> None:
        """Have the shards of samples (b,) fetched beside the caller, who will read them later."""
        if self.cache is not None:
            self._ahead = self._ahead or _Ahead(self.index, self.cache)
            self._ahead.ask(np.unique(self.index.locate(numbers)[0]).tolist())

    def close(self) -> None:
        """Close all files."""
        for shard in list(self._files):
            self._drop(shard)

    def _file(self, shard: int) -> "_File":
        if shard in self._files:
            self._files.move_to_end(shard)
            return self._files[shard]
        url, size = self.index.url(shard), int(self.index.bytes[shard])
        if self.cache is None:
            descriptor = self._open(url)
        else:
            self._let_go()
            descriptor = self.cache.open(url, self.index.sha256(shard), size)
        status = os.fstat(descriptor)
        if status.st_size != size or (self.cache is None and not self._is_it(shard, descriptor, status.st_mtime_ns)):
            os.close(descriptor)
            raise DataError(
                url, "", "has changed since it was indexed", "Make the index again: `dltk data index --replace`."
            )
        if len(self._files) >= self.open_files:
            self._drop(next(iter(self._files)))
        self._files[shard] = _File(descriptor, status.st_mtime_ns)
        return self._files[shard]

    def _is_it(self, shard: int, descriptor: int, mtime_ns: int) -> bool:
        """Whether an open file of the right size is the one that was indexed.

        Its time says so at once. A copy has another time: then its contents are read through, once for each process.
        """
        if not _is_another(mtime_ns, self.index.mtimes[shard]) or self._copies.get(shard) == mtime_ns:
            return True
        with open(descriptor, "rb", closefd=False) as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == self.index.sha256(shard)
        if same:
            self._copies[shard] = mtime_ns
        return same

    def _open(self, path: str) -> int:
        """A descriptor of a local shard. Pipes and devices would wait for ever, or act on being opened."""
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise DataError(path, "", "is no regular file", "Make the index again.")
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise DataError(path, "", "the shard is gone", "Bring it back, or make the index again.") from None
        except PermissionError as error:
            raise DataError(path, "", f"cannot be read ({error.strerror})", "Look at its rights.") from None

    def _let_go(self) -> None:
        """Close shards that the cache has removed: until then they take room on its disk."""
        for shard, file in list(self._files.items()):
            if os.fstat(file.descriptor).st_nlink == 0:
                self._drop(shard)

    def _drop(self, shard: int) -> None:
        os.close(self._files.pop(shard).descriptor)

    def _changed(self, shard: int, number: int) -> DataError:
        what = "does not lie where the index says: the shard has changed under it"
        remedy = "Make the index again: `dltk data index --replace`."
        return DataError(f"{self.index.url(shard)}: {self.index.keys[number]}", "", what, remedy)


def _is_another(mtime_ns: int, known: int) -> bool:
    """Whether a file's time says that it is not the one that was indexed; 0 says nothing."""
    return bool(known) and not -ROUNDED <= mtime_ns - int(known) <= 0


class _Ahead:
    """A thread that fetches shards one after another."""

    def __init__(self, index: Index, cache: Cache) -> None:
        self._index, self._cache = index, cache
        self._asked: Recent[None] = Recent(4096)
        self._queue: queue.SimpleQueue[int] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def ask(self, shards: list[int]) -> None:
        """Fetch shards that were not asked for lately."""
        for shard in shards:
            self._asked.get((shard,), functools.partial(self._queue.put, shard))

    def _work(self) -> None:
        while True:
            shard = self._queue.get()
            with contextlib.suppress(DataError, OSError):  # whoever reads the shard hears it
                url, size = self._index.url(shard), int(self._index.bytes[shard])
                self._cache.path(url, self._index.sha256(shard), size)
