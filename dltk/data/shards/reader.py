"""Samples of shards by their numbers: by seeking to where the index says that they lie."""

import os
from collections import OrderedDict

import numpy as np

from dltk.data.plan import Numbers
from dltk.data.shards.cache import Cache
from dltk.data.shards.index import Index
from dltk.data.shards.source import is_local, require_allowed
from dltk.data.shards.tar import members
from dltk.errors import DataError

MAX_SAMPLE = 1 << 30  # bytes; the index says how long a sample is, and an index may come from elsewhere


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
        self._files: OrderedDict[int, int] = OrderedDict()  # shard: descriptor, used longest ago first
        if len(index.counts):
            url = index.url(0)
            require_allowed(url, allow_pipe)
            if cache is None and not is_local(url):
                what = f"the shards lie at {url.rpartition('/')[0]}, and no folder is named to keep fetched ones"
                raise DataError(index.folder, "data.cache", what, "Set data.cache=FOLDER, on a local disk.")

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_files": OrderedDict()}

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
        block = os.pread(self._file(shard), size, offset)
        if len(block) != size:
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

    def close(self) -> None:
        """Close all files."""
        while self._files:
            os.close(self._files.popitem()[1])

    def _file(self, shard: int) -> int:
        if shard in self._files:
            self._files.move_to_end(shard)
            return self._files[shard]
        url, size = self.index.url(shard), int(self.index.bytes[shard])
        path = url if self.cache is None else str(self.cache.path(url, self.index.sha256(shard), size))
        try:
            file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            raise DataError(path, "", "the shard is gone", "Bring it back, or make the index again.") from None
        status = os.fstat(file)
        known = int(self.index.mtimes[shard])
        if status.st_size != size or (self.cache is None and known and status.st_mtime_ns > known):
            os.close(file)
            raise DataError(
                path, "", "has changed since it was indexed", "Make the index again: `dltk data index --replace`."
            )
        self._files[shard] = file
        if len(self._files) > self.open_files:
            os.close(self._files.popitem(last=False)[1])
        return file

    def _changed(self, shard: int, number: int) -> DataError:
        what = "does not lie where the index says: the shard has changed under it"
        remedy = "Make the index again: `dltk data index --replace`."
        return DataError(f"{self.index.url(shard)}: {self.index.keys[number]}", "", what, remedy)
