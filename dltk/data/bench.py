"""How fast this machine reads, decodes and loads a recipe's training samples, part by part.

The limit is what decoding, cutting and resizing allow on one core with the bytes in memory; a loader can only lose
against that. All parts see the same samples, in the plan's order, and are looked at one after the other.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from dltk.data.datamodule import DataModule, cores
from dltk.data.dataset import keys_of
from dltk.data.hashing import hash_keys, uniforms
from dltk.data.loader import TrainLoader
from dltk.data.plan import Numbers
from dltk.errors import DataError

HELD = 512  # samples whose bytes are held in memory, for the limit
CHUNK = 32  # samples between two looks at the clock

READING, DECODING = "reading the bytes", "decoding, cutting and resizing"
REST = "collecting batches and handing them over"
MAKING = "making the samples"  # of a data set whose samples are not encoded pictures


@dataclass(frozen=True)
class Rates:
    """Samples per second of each part; None where the data set has no such part."""

    decode: float | None  # decode, cut and resize, one core, bytes in memory: the limit
    read: float | None  # bytes of the samples, one core
    megabytes: float | None  # of those bytes, per second
    read_decode: float | None  # both, without batches, one core
    loader: dict[int, float]  # the whole, by number of workers; 0: in the process that trains
    cores: int

    @property
    def best(self) -> int:
        """The number of workers under which the loader is fastest."""
        return max(self.loader, key=self.loader.__getitem__)

    def per_core(self, workers: int) -> float:
        """The loader's samples per second and core."""
        return self.loader[workers] / self._at_work(workers)

    def share(self, workers: int) -> float | None:
        """The loader's rate as a share of what decoding alone allows on the cores that its workers have."""
        return None if self.decode is None else self.per_core(workers) / self.decode

    def seconds(self, workers: int) -> dict[str, float]:
        """Where a core's time goes, by part, in seconds a sample."""
        whole = 1 / self.per_core(workers)
        if self.decode is None or self.read is None:
            return {MAKING: whole}
        read, decode = 1 / self.read, 1 / self.decode
        return {READING: read, DECODING: decode, REST: max(0.0, whole - read - decode)}

    @property
    def held_back_by(self) -> str:
        """The part that takes most of the time where the loader is fastest."""
        parts = self.seconds(self.best)
        return max(parts, key=parts.__getitem__)

    def cores_needed(self, samples_per_second: float) -> float:
        """Cores that feed a node which takes so many samples a second, if each gives what one gives now."""
        return samples_per_second / self.per_core(self.best)

    def _at_work(self, workers: int) -> int:
        return min(max(1, workers), self.cores)


def bench(data: DataModule, *, seconds: float, workers: Sequence[int], say: Callable[[str], None]) -> Rates:
    """Measure every part for so many seconds.

    Args:
        data: of a recipe; its run must be long enough.
        seconds: for each part.
        workers: numbers of worker processes to try.
        say: hears what is being measured.

    Raises:
        DataError: the data are missing, or too many of them are damaged.
    """
    part = data.part("train")
    decode = read = megabytes = both = None
    if getattr(part, "decodes", False):
        view = data.augment if hasattr(data.augment, "cut") else None
        say(DECODING)
        held = _held(data, part)
        decode = _rate(_decoded(part, held, view, data.seed), seconds)
        say(READING)
        sizes: list[int] = []
        read = _rate(_read(part, _batches(data), sizes), seconds)
        megabytes = read * float(np.mean(sizes)) / 1e6
        say("both")
        both = _rate(_read_and_decoded(part, _batches(data), view, data.seed), seconds)
    loader = {}
    for count in workers:
        say(f"the whole loader with {count} worker{'' if count == 1 else 's'}")
        loader[count] = _rate(_loaded(data, count), seconds, warm=1 + 6 * count)  # what lies ready at the beginning
    if decode is not None:
        say(f"{DECODING} once more")  # the better counts: what else the machine does is no part of a limit
        decode = max(decode, _rate(_decoded(part, held, view, data.seed), seconds))
    return Rates(decode, read, megabytes, both, loader, cores())


def _rate(done: Iterator[int], seconds: float, warm: int = 1) -> float:
    """Samples per second of an iterator that tells how many each turn made, after some turns that do not count."""
    with closing(done):  # type: ignore[type-var]
        for _ in itertools.islice(done, warm):
            pass
        count, began = 0, time.perf_counter()
        for number in done:
            count += number
            if time.perf_counter() - began >= seconds:
                break
        return count / (time.perf_counter() - began)


def _batches(data: DataModule) -> Iterator[Numbers]:
    """The sample numbers of the run's global batches, without end."""
    for step in itertools.count():
        epoch, number = data.plan.locate(step)
        yield data.plan.samples(epoch, np.arange(*data.plan.bounds(epoch, number)))


def _held(data: DataModule, part: Any) -> list[tuple[str, bytes]]:
    """Keys and encoded pictures of the first samples that are whole."""
    keys, held, reason = keys_of(part, "train"), [], ""
    numbers = np.concatenate(list(itertools.islice(_batches(data), -(-HELD // data.batch))))[:HELD]
    for number in numbers.tolist():
        try:
            part.sample(number)
            held.append((keys[number], part.picture(part.fields(number))))
        except DataError as error:
            reason = str(error)
    if not held:
        raise DataError("", "data", f"none of {len(numbers)} samples can be decoded; the last: {reason}")
    return held


def _drawn(keys: Sequence[str], view: Any, seed: int) -> Any:
    """The view's numbers for samples (b, u)."""
    return uniforms(seed, 0, hash_keys(keys), getattr(view, "uniforms", 0))


def _decoded(part: Any, held: Sequence[tuple[str, bytes]], view: Any, seed: int) -> Iterator[int]:
    """Cut pictures whose bytes are in memory, again and again."""
    drawn = _drawn([key for key, _ in held], view, seed)
    for start in itertools.cycle(range(0, len(held), CHUNK)):
        chunk = held[start : start + CHUNK]
        for (_, picture), row in zip(chunk, drawn[start : start + CHUNK], strict=True):
            part.cut(picture, view, row)
        yield len(chunk)


def _read(part: Any, batches: Iterator[Numbers], sizes: list[int]) -> Iterator[int]:
    """Read the bytes of samples; their numbers go to `sizes`."""
    for numbers in batches:
        for at in part.order(numbers).tolist():
            sizes.append(sum(len(value) for value in part.fields(int(numbers[at])).values()))
        yield len(numbers)


def _read_and_decoded(part: Any, batches: Iterator[Numbers], view: Any, seed: int) -> Iterator[int]:
    """Samples one by one, without making batches of them. One that is damaged costs its time."""
    keys = keys_of(part, "train")
    for numbers in batches:
        drawn = _drawn([keys[number] for number in numbers.tolist()], view, seed)
        for at in part.order(numbers).tolist():
            try:
                part.sample(int(numbers[at]), view, drawn[at])
            except DataError:
                continue
        yield len(numbers)


def _loaded(data: DataModule, workers: int) -> Iterator[int]:
    """Batches through the whole training loader."""
    loader: TrainLoader = data.train_loader(workers)
    try:
        for batch in loader:
            yield len(batch["weight"])
    finally:
        loader.close()
