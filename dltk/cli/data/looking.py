"""Samples of a set to look at, evenly spaced, wherever its shards lie."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dltk.cli import terminal

if TYPE_CHECKING:
    from dltk.data.shards.index import Index
    from dltk.data.shards.reader import ShardReader

FETCHED = 4  # shards of a set that lies elsewhere


@contextmanager
def some_samples(index: "Index", count: int) -> Iterator[tuple["ShardReader", list[int]]]:
    """A reader, and the numbers of at most `count` samples; shards that are fetched for it are removed again."""
    from dltk.data.shards.cache import SPARE, Cache
    from dltk.data.shards.reader import ShardReader
    from dltk.data.shards.source import is_local

    shards = len(index.counts)
    if not shards or is_local(index.url(0)):
        yield ShardReader(index, cache=None), _spread(0, index.total, count)
        return
    chosen = _spread(0, shards, FETCHED)
    terminal.note(f"fetching {len(chosen)} of {shards:,} shard(s)")
    numbers: list[int] = []
    for place, shard in enumerate(chosen):
        first = index.first(shard)
        share = (count - len(numbers)) // (len(chosen) - place)
        numbers += _spread(first, first + int(index.counts[shard]), share)
    with tempfile.TemporaryDirectory(prefix="dltk-show-") as folder:
        room = sum(int(index.bytes[shard]) for shard in chosen) + SPARE
        yield ShardReader(index, cache=Cache(folder, room)), numbers


def _spread(start: int, stop: int, count: int) -> list[int]:
    """At most `count` whole numbers from `start` to before `stop`, evenly spaced, the first and the last among them."""
    import numpy as np

    count = min(count, stop - start)
    return np.unique(np.linspace(start, stop - 1, count).round().astype(int)).tolist() if count > 0 else []
