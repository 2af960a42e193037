"""One split of a set of shards, opened for reading: index, reader, and a cache where the source is slow."""

from pathlib import Path

import numpy as np

from dltk.data.plan import Numbers
from dltk.data.shards.cache import GB, Cache
from dltk.data.shards.index import Index
from dltk.data.shards.reader import ShardReader
from dltk.data.shards.sets import index_of
from dltk.errors import DataError

MAX_OPEN = 512  # shards held open by a process; the system's usual limit is 1,024 files


class OpenedShards:
    """The shards of one split.

    Args:
        folder: the set's, under data_dir.
        split: train, val or test.
        data_dir: where data lie on this machine.
        cache: folder on a local disk where shards of a slow source are kept; also for local ones if given.
        cache_gb: room that it may take, in units of 10^9 bytes.
        lanes: shards read at the same time.
        window: samples permuted together in a lane.
        allow_pipe: fetch by the commands (`pipe:`) that the index names.

    Raises:
        DataError: there is no such set or split, or the cache cannot hold the lanes.
    """

    def __init__(
        self,
        folder: str,
        split: str,
        data_dir: str | None,
        *,
        cache: str | None,
        cache_gb: float,
        lanes: int,
        window: int,
        allow_pipe: bool,
    ) -> None:
        if lanes < 1 or window < 1:
            raise DataError("", "data.lanes" if lanes < 1 else "data.window", "is less than 1", "Set at least 1.")
        if data_dir is None:
            remedy = (
                f"Set data_dir=FOLDER or DLTK_DATA to where '{folder}' lies, or make it: `dltk data prepare --help`."
            )
            raise DataError("", "data_dir", "is not set", remedy)
        self.folder = Path(data_dir, folder)
        self.index: Index = index_of(self.folder, split)
        self.lanes, self.window = lanes, window
        self.cached = cache is not None
        self.reader = ShardReader(
            self.index,
            cache=None if cache is None else self._cache(cache, cache_gb, allow_pipe),
            open_files=min(self._shards_under(window), MAX_OPEN),
            allow_pipe=allow_pipe,
        )

    def key(self, number: int) -> str:
        """Shard and key of a sample."""
        shard = int(self.index.locate(np.asarray([number]))[0][0])
        return f"{self.index.name(shard)}: {self.index.keys[number]}"

    def fetch_ahead(self, numbers: Numbers) -> None:
        """Have the shards of samples (b,) fetched into the cache while others are read."""
        self.reader.fetch_ahead(numbers)

    def _cache(self, folder: str, room: float, allow_pipe: bool) -> Cache:
        largest = int(self.index.bytes.max(initial=0))
        need = min(self._shards_under(2 * self.window) * largest, int(self.index.bytes.sum()))
        return Cache(folder, int(room * GB), need=need, allow_pipe=allow_pipe)

    def _shards_under(self, samples: int) -> int:
        """How many shards hold so many samples of each lane, which may begin and end inside of one."""
        mean = max(1, self.index.total // max(1, len(self.index.counts)))
        longest = -(-self.index.total // self.lanes)  # lane
        return self.lanes * (-(-min(samples, longest) // mean) + 1)
