"""How fast this machine reads, decodes and loads a recipe's training samples, part by part.

The limit is what decoding, cutting and resizing allow on one core with the bytes in memory; a loader can only lose
against that. All parts see the same samples, in the plan's order.
"""

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dltk.data.datamodule import DataModule
from dltk.data.dataset import keys_of
from dltk.data.hashing import hash_keys, uniforms
from dltk.data.loader import TrainLoader
from dltk.data.plan import Numbers

HELD = 512  # samples whose bytes are held in memory, for the limit
CHUNK = 32  # samples between two looks at the clock
ALIKE = 0.8  # a part this near to the loader's rate is what holds it back


@dataclass(frozen=True)
class Rates:
    """Samples per second of each part; None where the data set has no such part."""

    limit: float | None  # decode, cut and resize, one core, bytes in memory
    read: float | None  # bytes of the samples, one core
    megabytes: float | None  # of those bytes, per second
    whole: float  # read, decode, cut, collate, in this process
    loader: dict[int, float]  # by number of workers
    cores: int

    @property
    def best(self) -> tuple[int, float]:
        """The number of workers under which the loader is fastest, and its rate."""
        return max(self.loader.items(), key=lambda pair: pair[1])

    def share(self, workers: int) -> float | None:
        """The loader's rate as a share of what decoding alone allows on the cores that its workers have."""
        if self.limit is None:
            return None
        return self.loader[workers] / (self.limit * min(max(1, workers), self.cores))

    @property
    def held_back_by(self) -> str:
        """The part to look at first."""
        if self.limit is None or self.read is None:
            return "making the samples"
        if self.read < self.limit:
            return "reading"
        workers, _ = self.best
        share = self.share(workers)
        return "decoding" if share is not None and share >= ALIKE else "the way from the workers"


def bench(data: DataModule, *, seconds: float, workers: Sequence[int], say: Callable[[str], None]) -> Rates:
    """Measure every part for so many seconds.

    Args:
        data: of a recipe.
        seconds: for each part.
        workers: numbers of worker processes to try.
        say: hears what is being measured.
    """
    part = data.part("train")
    keys = keys_of(part, "train")
    view = data.augment if hasattr(data.augment, "cut") else None
    limit = read = megabytes = None
    if hasattr(part, "fields"):
        say("decoding, with the bytes in memory")
        held = np.concatenate(list(itertools.islice(_batches(data), -(-HELD // data.batch))))[:HELD]
        limit = _rate(_decoded(part, keys, held, view, data.seed), seconds)
        say("reading")
        sizes: list[int] = []
        read = _rate(_read(part, _batches(data), sizes), seconds)
        megabytes = read * float(np.mean(sizes)) / 1e6
    say("reading and decoding, in one process")
    whole = _rate(_loaded(data, 0), seconds)
    loader = {}
    for count in workers:
        say(f"the loader with {count} worker(s)")
        loader[count] = _rate(_loaded(data, count), seconds, warm=2 * max(1, count))
    return Rates(limit, read, megabytes, whole, loader, len(os.sched_getaffinity(0)))


def _rate(done: Iterator[int], seconds: float, warm: int = 1) -> float:
    """Samples per second of an iterator that tells how many each turn made, after some turns that do not count."""
    for _ in itertools.islice(done, warm):
        pass
    count, began = 0, time.perf_counter()
    for number in done:
        count += number
        if time.perf_counter() - began >= seconds:
            break
    took = time.perf_counter() - began
    close = getattr(done, "close", None)
    if close is not None:
        close()
    return count / took


def _batches(data: DataModule) -> Iterator[Numbers]:
    """The sample numbers of the run's global batches, without end."""
    for step in itertools.count():
        epoch, number = data.plan.locate(step)
        yield data.plan.samples(epoch, np.arange(*data.plan.bounds(epoch, number)))


def _decoded(part: Any, keys: Sequence[str], numbers: Numbers, view: Any, seed: int) -> Iterator[int]:
    """Cut the pictures of samples whose bytes are in memory, again and again."""
    pictures = [part.picture(part.fields(number)) for number in numbers.tolist()]
    hashes = hash_keys([keys[number] for number in numbers.tolist()])
    drawn = uniforms(seed, 0, hashes, getattr(view, "uniforms", 0))
    for start in itertools.cycle(range(0, len(pictures), CHUNK)):
        chunk = slice(start, start + CHUNK)
        for picture, row in zip(pictures[chunk], drawn[chunk], strict=True):
            part.cut(picture, view, row)
        yield len(pictures[chunk])


def _read(part: Any, batches: Iterator[Numbers], sizes: list[int]) -> Iterator[int]:
    for numbers in batches:
        for number in numbers.tolist():
            sizes.append(sum(len(value) for value in part.fields(number).values()))
        yield len(numbers)


def _loaded(data: DataModule, workers: int) -> Iterator[int]:
    """Batches through the whole training loader."""
    loader: TrainLoader = data.train_loader(workers)
    try:
        for batch in loader:
            yield len(batch["weight"])
    finally:
        loader.close()
