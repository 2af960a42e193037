"""Pictures in WebDataset shards, as a data set of a recipe."""

import numpy as np
from numpy.typing import NDArray

from dltk.data.decode import MAX_PIXELS
from dltk.data.pictures import Pictures
from dltk.data.plan import Numbers
from dltk.data.shards.fields import PICTURES, label
from dltk.data.shards.opened import OpenedShards
from dltk.data.views import Frame, require_sides
from dltk.errors import DataError


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
        resize = round(image_size * 256 / 224) if resize is None else resize
        require_sides(image_size, resize)
        self._opened = OpenedShards(
            folder, split, data_dir, cache=cache, cache_gb=cache_gb, lanes=lanes, window=window, allow_pipe=allow_pipe
        )
        self.frame = Frame(image_size, resize, channels, max_pixels)
        self.index = self._opened.index
        self.lanes, self.window = lanes, window
        self.shard_sizes: Numbers = self.index.counts
        self.index_hash, self.keys, self.classes = self.index.hash, self.index.keys, self.index.classes
        self.targets: NDArray[np.int32] | None = self.index.targets  # (n,)
        self.fetches = self._opened.cached  # see fetch_ahead

    def __len__(self) -> int:
        return self.index.total

    def key(self, number: int) -> str:
        """Shard and key of a sample."""
        return self._opened.key(number)

    def fields(self, number: int) -> dict[str, bytes]:
        """The files of a sample, by extension."""
        return self._opened.reader.fields(number)

    def picture(self, fields: dict[str, bytes]) -> bytes:
        """The encoded picture among a sample's files."""
        return encoded_picture(fields)

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
        return self._opened.reader.order(numbers)

    def fetch_ahead(self, numbers: Numbers) -> None:
        """Have the shards of samples (b,) fetched into the cache while others are read."""
        self._opened.reader.fetch_ahead(numbers)


def encoded_picture(fields: dict[str, bytes]) -> bytes:
    """The picture among a sample's files, by extension.

    Raises:
        DataError: there is none, or it is empty.
    """
    for extension, contents in fields.items():
        if extension.rpartition(".")[2] in PICTURES:
            if not contents:
                raise DataError("", extension, "is empty")
            return contents
    raise DataError("", "", f"has no picture among {', '.join(fields) or 'its files'}")
