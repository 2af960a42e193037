"""Whether shards are what their index says: hashes, counts, keys, classes, and pictures that can be decoded."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dltk.data.decode import decode
from dltk.data.hashing import hash_keys
from dltk.data.shards.build import Scanned, kind, scan_samples
from dltk.data.shards.fields import PICTURES
from dltk.data.shards.index import Index
from dltk.data.shards.source import fetch, is_local
from dltk.data.shards.tar import members
from dltk.errors import DataError

SHOWN = 20  # complaints of one kind
CHUNK = 1 << 16  # keys looked at together


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

    def complain(self, complaints: Sequence[str]) -> None:
        """Add complaints of one kind; of very many the first, and how many more there are."""
        self.complaints += complaints[:SHOWN]
        if len(complaints) > SHOWN:
            self.complaints.append(f"… and {len(complaints) - SHOWN:,} more like this.")


@dataclass
class _Seen:
    """What one shard was found to hold."""

    scanned: Scanned | None = None
    kinds: list[frozenset[str]] = field(default_factory=list)  # of each sample's files
    reason: str = ""  # why it could not be read
    decoded: int = 0
    damaged: list[str] = field(default_factory=list)  # pictures, with the reason


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
        decode_pictures: also decode every picture; shards that lie elsewhere are fetched for it, one for each worker.
        workers: shards read at the same time.
        allow_pipe: run `pipe:` commands.
        done: hears how many shards have been read.
    """
    report = Report()

    def look(shard: int) -> _Seen:
        try:
            with _local(index.url(shard), decode_pictures, allow_pipe) as url:
                seen = _Seen(*scan_samples(url, allow_pipe=allow_pipe))
                if decode_pictures:
                    _decode(Path(url), index.name(shard), seen)
            return seen
        except (DataError, OSError) as error:
            return _Seen(reason=str(error))

    with ThreadPoolExecutor(workers) as pool:
        for shard, seen in enumerate(pool.map(look, range(len(index.counts)))):
            _compare(index, shard, seen, report)
            done(shard + 1)
    _keys(index, report)
    _classes(index, report)
    return report


@contextlib.contextmanager
def _local(url: str, needed: bool, allow_pipe: bool) -> Iterator[str]:
    """A shard as a file, where one is needed."""
    if is_local(url) or not needed:
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="dltk-verify-") as folder:
        path = Path(folder, "shard.tar")
        fetch(url, path, allow_pipe=allow_pipe)
        yield str(path)


def _decode(path: Path, name: str, seen: _Seen) -> None:
    """Decode all pictures of a shard."""
    assert seen.scanned is not None
    with path.open("rb") as file:
        for key, offset, size in zip(seen.scanned.keys, seen.scanned.offsets, seen.scanned.sizes, strict=True):
            file.seek(offset)
            for extension, data in members(file.read(size), key)[1].items():
                if extension.rpartition(".")[2] not in PICTURES:
                    continue
                try:
                    decode(data)
                    seen.decoded += 1
                except DataError as error:
                    seen.damaged.append(f"{name}: {key}.{extension}: {error.what}.")


def _compare(index: Index, shard: int, seen: _Seen, report: Report) -> None:
    report.shards += 1
    name, first, found = index.name(shard), index.first(shard), seen.scanned
    if found is None:
        report.complaints.append(seen.reason)
        return
    report.samples += len(found.keys)
    report.bytes += found.bytes
    report.decoded += seen.decoded
    if found.sha256 != index.sha256(shard):
        stop = first + int(index.counts[shard])
        if len(found.keys) != stop - first:
            what = f"holds {len(found.keys)} samples, the index says {stop - first}"
        elif found.keys != index.keys[first:stop]:
            what = "holds other samples than the index says"
        else:
            what = "has other contents than when it was indexed (sha256 differs)"
        report.complaints.append(f"{name}: {what}.")
    whole = {kind(extension) for extension in index.fields}
    halves = ((key, whole - {kind(one) for one in kinds}) for key, kinds in zip(found.keys, seen.kinds, strict=True))
    report.complain([f"{name}: {key}: has no {', '.join(sorted(missing))}." for key, missing in halves if missing])
    report.complain(seen.damaged)


def _keys(index: Index, report: Report) -> None:
    """Keys of several samples, found by their hashes: eight bytes for each sample instead of its text."""
    hashes = np.empty(index.total, np.uint64)
    for start in range(0, index.total, CHUNK):
        part = index.keys[start : start + CHUNK]
        hashes[start : start + len(part)] = hash_keys(part)
    order = np.sort(hashes)
    shared = np.unique(order[1:][order[1:] == order[:-1]])
    counts: dict[str, int] = {}
    for number in np.flatnonzero(np.isin(hashes, shared)).tolist() if len(shared) else []:
        counts[index.keys[number]] = counts.get(index.keys[number], 0) + 1
    report.complain([f"{key}: the key of {count} samples." for key, count in counts.items() if count > 1])


def _classes(index: Index, report: Report) -> None:
    if index.targets is None:
        return
    above = index.targets >= len(index.classes) if index.classes else np.zeros(len(index.targets), bool)
    wrong = np.flatnonzero((index.targets < 0) | above).tolist()
    of = f" of {len(index.classes)}" if index.classes else ""
    report.complain([f"{index.keys[number]}: class {int(index.targets[number])}{of}." for number in wrong])
