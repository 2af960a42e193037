"""Whether shards are what their index says: hashes, counts, keys, classes, and pictures that can be decoded."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from dltk.data.decode import decode
from dltk.data.shards.build import Scanned, scan_shard
from dltk.data.shards.fields import PICTURES
from dltk.data.shards.index import Index
from dltk.data.shards.reader import ShardReader
from dltk.errors import DataError

SHOWN = 20  # complaints of one kind


@dataclass
class Report:
    """What was looked at, and what is wrong."""

    shards: int = 0
    samples: int = 0
    bytes: int = 0
    decoded: int = 0
    complaints: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.complaints


def verify(
    index: Index,
    *,
    decode_pictures: bool = False,
    workers: int = 1,
    allow_pipe: bool = False,
    done: Callable[[int], None] = lambda count: None,
) -> Report:
    """Read every shard again and compare.

    Args:
        index: of the shards.
        decode_pictures: also decode every picture.
        workers: shards read at the same time.
        allow_pipe: run `pipe:` commands.
        done: hears how many shards have been read.
    """
    report = Report()
    urls = [index.url(shard) for shard in range(len(index.counts))]

    def look(shard: int) -> tuple[Scanned | None, str]:
        try:
            return scan_shard(urls[shard], allow_pipe=allow_pipe), ""
        except (DataError, OSError) as error:
            return None, str(error)

    with ThreadPoolExecutor(workers) as pool:
        for shard, (found, reason) in enumerate(pool.map(look, range(len(urls)))):
            _compare(index, shard, found, reason, report)
            if decode_pictures and found is not None:
                _decode(index, shard, report)
            done(shard + 1)
    _keys(index, report)
    _classes(index, report)
    return report


def _compare(index: Index, shard: int, found: Scanned | None, reason: str, report: Report) -> None:
    report.shards += 1
    name, first = index.name(shard), index.first(shard)
    if found is None:
        report.complaints.append(reason)
        return
    report.samples += len(found.keys)
    report.bytes += found.bytes
    if found.sha256 == index.sha256(shard):
        return
    stop = first + int(index.counts[shard])
    if len(found.keys) != stop - first:
        what = f"holds {len(found.keys)} samples, the index says {stop - first}"
    elif found.keys != index.keys[first:stop]:
        what = "holds other samples than the index says"
    else:
        what = "has other contents than when it was indexed (sha256 differs)"
    report.complaints.append(f"{name}: {what}.")


def _decode(index: Index, shard: int, report: Report) -> None:
    reader = ShardReader(index, cache=None)
    first = index.first(shard)
    for number in range(first, first + int(index.counts[shard])):
        try:
            fields = reader.fields(number)
            _require_whole(fields, index)
            for extension, data in fields.items():
                if extension.rpartition(".")[2] in PICTURES:
                    decode(data)
                    report.decoded += 1
        except (DataError, OSError) as error:
            report.complaints.append(f"{index.name(shard)}: {index.keys[number]}: {error}")
    reader.close()


def _require_whole(fields: dict[str, bytes], index: Index) -> None:
    """A sample has every kind of file that some sample has, pictures of any format being one kind."""
    kinds = {_kind(extension) for extension in fields}
    missing = {_kind(extension) for extension in index.fields} - kinds
    if missing:
        raise DataError("", "", f"has no {', '.join(sorted(missing))}")


def _kind(extension: str) -> str:
    head, _, last = extension.rpartition(".")
    return f"{head}.picture".lstrip(".") if last in PICTURES else extension


def _keys(index: Index, report: Report) -> None:
    twice = [key for key, count in Counter(index.keys).items() if count > 1]
    report.complaints += [f"{key}: the key of several samples." for key in twice[:SHOWN]]


def _classes(index: Index, report: Report) -> None:
    if index.targets is None or not index.classes:
        return
    wrong = np.flatnonzero((index.targets < 0) | (index.targets >= len(index.classes)))
    for number in wrong[:SHOWN].tolist():
        what = f"class {int(index.targets[number])} of {len(index.classes)}"
        report.complaints.append(f"{index.keys[number]}: {what}.")
