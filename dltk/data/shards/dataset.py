"""Pictures in WebDataset shards, as a data set of a recipe."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dltk.data.decode import MAX_PIXELS
from dltk.data.pictures import Pictures
from dltk.data.plan import Numbers
from dltk.data.shards.cache import GB, Cache
from dltk.data.shards.fields import PICTURES, label
from dltk.data.shards.reader import ShardReader
from dltk.data.shards.sets import index_of
from dltk.data.views import Frame
from dltk.errors import DataError

MAX_OPEN = 512  # shards held open by a process; the system's usual limit is 1,024 files


class Shards(Pictures):
    """One split of a set of shards that hold pictures and their classes.

    Args:
        split: train, val or test.
        data_dir: where data lie on this machine.
        folder: the set's, under data_dir.
        image_size: rows and columns that the network reads.
        resize: shorter side in evaluation, of which the middle is cut; default: 256 for each 224 of image_size.
        channels: 1 for grey, 3 for red, green, blue.
        cache: folder on a local disk where shards of a slow source are kept; also for local ones if given.
        cache_gb: room that it may take, in units of 10^9 bytes.
        lanes: shards read at the same time.
        window: samples permuted together in a lane.
        max_pixels: a picture with more is not decoded, and counts as damaged.
        allow_pipe: fetch by the commands (`pipe:`) that the index names.

    Raises:
        DataError: there is no such set or split, or the cache cannot hold the lanes.
    """

    def __init__(
        self,
        split: str,
        data_dir: str | None = None,
        *,
        folder: str,
        image_size: int,
        resize: int | None = None,
        channels: int = 3,
        cache: str | None = None,
        cache_gb: float = 200.0,
        lanes: int = 64,
        window: int = 4096,
        max_pixels: int = MAX_PIXELS,
        allow_pipe: bool = False,
    ) -> None:
        if image_size < 1:
            raise DataError("", "data.image_size", f"{image_size} is no size", "Set at least 1.")
        resize = round(image_size * 256 / 224) if resize is None else resize
        if resize < image_size:
            raise DataError("", "data.resize", f"{resize} is less than image_size {image_size}", "Set at least that.")
        if lanes < 1 or window < 1:
            raise DataError("", "data.lanes" if lanes < 1 else "data.window", "is less than 1", "Set at least 1.")
        if data_dir is None:
            remedy = (
                f"Set data_dir=FOLDER or DLTK_DATA to where '{folder}' lies, or make it: `dltk data prepare --help`."
            )
            raise DataError("", "data_dir", "is not set", remedy)
        self.frame = Frame(image_size, resize, channels, max_pixels)
        self.index = index_of(Path(data_dir, folder), split)
        self.lanes, self.window = lanes, window
        self.shard_sizes: Numbers = self.index.counts
        self.index_hash, self.keys, self.classes = self.index.hash, self.index.keys, self.index.classes
        self.targets: NDArray[np.int32] | None = self.index.targets  # (n,)
        kept = self._cache(cache, cache_gb, allow_pipe)
        self.fetches = kept is not None  # see fetch_ahead
        self._reader = ShardReader(
            self.index, cache=kept, open_files=min(self._shards_under(window), MAX_OPEN), allow_pipe=allow_pipe
        )

    def __len__(self) -> int:
        return self.index.total

    def key(self, number: int) -> str:
        """Shard and key of a sample."""
        shard = int(self.index.locate(np.asarray([number]))[0][0])
        return f"{self.index.name(shard)}: {self.keys[number]}"

    def fields(self, number: int) -> dict[str, bytes]:
        """The files of a sample, by extension."""
        return self._reader.fields(number)

    def picture(self, fields: dict[str, bytes]) -> bytes:
        """The encoded picture among a sample's files."""
        for extension, contents in fields.items():
            if extension.rpartition(".")[2] in PICTURES:
                if not contents:
                    raise DataError("", extension, "is empty")
                return contents
        raise DataError("", "", f"has no picture among {', '.join(fields) or 'its files'}")

    def target(self, number: int, fields: dict[str, bytes]) -> int:
        """The class of a sample."""
        found = label(fields)
        if found is None:
            raise DataError("", "", "has no class: no cls, and no label in a json")
        if found < 0 or (self.classes and found >= len(self.classes)):
            raise DataError("", "cls", f"class {found} of {len(self.classes)}")
        return found

    def order(self, numbers: Numbers) -> Numbers:
        """The positions (b,) of samples in the order in which they lie."""
        return self._reader.order(numbers)

    def fetch_ahead(self, numbers: Numbers) -> None:
        """Have the shards of samples (b,) fetched into the cache while others are read."""
        self._reader.fetch_ahead(numbers)

    def _cache(self, folder: str | None, room: float, allow_pipe: bool) -> Cache | None:
        if folder is None:
            return None
        largest = int(self.index.bytes.max(initial=0))
        need = min(self._shards_under(2 * self.window) * largest, int(self.index.bytes.sum()))
        return Cache(folder, int(room * GB), need=need, allow_pipe=allow_pipe)

    def _shards_under(self, samples: int) -> int:
        """How many shards hold so many samples of each lane, which may begin and end inside of one."""
        mean = max(1, self.index.total // max(1, len(self.index.counts)))
        longest = -(-self.index.total // self.lanes)  # lane
        return self.lanes * (-(-min(samples, longest) // mean) + 1)
