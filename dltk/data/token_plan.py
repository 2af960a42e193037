"""Batches of similar length inside the order of samples: at most so many tokens, or so many samples, or both.

Pool p holds the samples at places [pP, (p + 1)P) of the epoch. It is sorted by (target length, source length, place),
cut greedily into batches while the samples, and samples × longest, stay within their bounds, and its batches are
permuted. So batches too are a pure function of (seed, epoch), the index and the lengths, and the position stays one
number.

Sutskever, Vinyals and Le (2014, section 3.4) batch sentences of about one length for a twofold gain in speed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dltk.data.plan import Numbers, Order, Recent, permutation
from dltk.errors import DataError

# Letters: N samples in all, P samples of a pool, B batches of a pool or an epoch.

POOL = 8192
Lengths = NDArray[np.integer]


class _Pool(NamedTuple):
    numbers: Numbers  # (P,) samples, batch after batch
    ends: Numbers  # (B,) where each batch ends


class TokenPlan(Order):
    """An order cut into global batches of samples of similar length, of bounded size.

    An epoch's places are numbered batch after batch, and none is left out.

    Args:
        shards: number of samples of each shard.
        seed: of every permutation.
        tokens: bound of samples × longest, padding counted, over all ranks; None: there is none.
        lengths: tokens of source and target of each sample (N, 2); for single texts (N, 1).
        lanes: shards read at the same time.
        window: samples permuted together inside a lane.
        pool: samples sorted together (P).
        samples: bound of samples, over all ranks; None: there is none.

    Raises:
        DataError: there are no samples, or one alone is longer than the tokens allowed.
    """

    smallest = None  # a batch may be smaller than the world; ranks without a sample get one that weighs nothing
    dropped = wrapped = 0

    def __init__(
        self,
        shards: Sequence[int] | Numbers,
        *,
        seed: int,
        tokens: int | None,
        lengths: Lengths,
        lanes: int = 1,
        window: int | None = None,
        pool: int = POOL,
        samples: int | None = None,
    ) -> None:
        super().__init__(shards, seed=seed, lanes=lanes, window=window)
        assert len(lengths) == self.total, f"{len(lengths)} lengths of {self.total} samples"
        assert pool >= 1, f"a pool of {pool} samples"
        if self.total == 0:
            raise DataError("", "data.name", "the training part has no samples", "Give it some.")
        assert tokens is not None or samples is not None, "batches have no bound"
        self.tokens, self.lengths, self.pool = tokens, lengths, pool
        self.most = min(samples or pool, pool)  # samples of a batch
        longest = int(lengths.max())
        if tokens is not None and longest > tokens:
            what = f"{tokens} are fewer than the {longest} of sample {int(lengths.max(1).argmax())}"
            raise DataError("", "batch.tokens", what, f"Set at least {longest}, or leave long samples out.")
        self._pools: Recent[_Pool] = Recent(4)
        self._counts: list[Numbers] = []  # by epoch: batches up to the end of each pool
        self._firsts: list[int] = [0]  # batches before each epoch

    def samples(self, epoch: int, places: Numbers) -> Numbers:
        """The sample numbers at places (n,) of an epoch."""
        places = np.asarray(places, dtype=np.int64)
        result = np.empty_like(places)
        pools = places // self.pool
        for number in np.unique(pools).tolist():
            mine = pools == number
            result[mine] = self._pool(epoch, number).numbers[places[mine] - number * self.pool]
        return result

    def steps(self, epoch: int) -> int:
        """The number of global batches of an epoch; epochs differ, since their pools do."""
        return int(self._batches_up_to(epoch)[-1])

    def bounds(self, epoch: int, number: int) -> tuple[int, int]:
        """The places [start, stop) of an epoch's global batch."""
        counts = self._batches_up_to(epoch)
        assert 0 <= number < counts[-1], f"epoch {epoch} has no batch {number}"
        pool = int(np.searchsorted(counts, number, side="right"))
        within = number - (int(counts[pool - 1]) if pool else 0)
        ends = self._pool(epoch, pool).ends
        start = int(ends[within - 1]) if within else 0
        return pool * self.pool + start, pool * self.pool + int(ends[within])

    def first_step(self, epoch: int) -> int:
        """The number of global batches before an epoch."""
        while len(self._firsts) <= epoch:
            self._firsts.append(self._firsts[-1] + self.steps(len(self._firsts) - 1))
        return self._firsts[epoch]

    def locate(self, step: int) -> tuple[int, int]:
        """The epoch of a run's global batch, and its number in that epoch."""
        epoch = 0
        while self.first_step(epoch + 1) <= step:
            epoch += 1
        return epoch, step - self._firsts[epoch]

    def planned(self, epoch: int, number: int) -> float:
        """What an epoch's global batch weighs: its targets' tokens."""
        return float(self.weights(self.samples(epoch, np.arange(*self.bounds(epoch, number)))).sum())

    def weights(self, numbers: Numbers) -> NDArray[np.float64]:
        """What each sample (n,) weighs in the mean loss of its batch: its target's tokens."""
        return np.asarray(self.lengths[numbers, -1], dtype=np.float64)

    def _batches_up_to(self, epoch: int) -> Numbers:
        while len(self._counts) <= epoch:
            at = len(self._counts)
            pools = range(-(-self.total // self.pool))
            self._counts.append(np.cumsum([len(self._cut(at, number)[1]) for number in pools], dtype=np.int64))
        return self._counts[epoch]

    def _pool(self, epoch: int, number: int) -> _Pool:
        return self._pools.get((epoch, number), lambda: self._permute(epoch, number))

    def _permute(self, epoch: int, number: int) -> _Pool:
        """A pool with its batches in their order."""
        numbers, ends = self._cut(epoch, number)
        order = permutation(len(ends), self.seed, epoch, "batches", number)
        starts = np.concatenate([[0], ends[:-1]])
        chosen = [np.arange(starts[batch], ends[batch]) for batch in order.tolist()]
        return _Pool(numbers[np.concatenate(chosen)], np.cumsum([len(batch) for batch in chosen], dtype=np.int64))

    def _cut(self, epoch: int, number: int) -> tuple[Numbers, Numbers]:
        """A pool's samples by length (n,), and where each batch ends (B,)."""
        places = np.arange(number * self.pool, min((number + 1) * self.pool, self.total))
        numbers = super().samples(epoch, places)
        order, ends = cut(np.asarray(self.lengths[numbers]), tokens=self.tokens, samples=self.most)
        return numbers[order], ends


def cut(lengths: Lengths, *, tokens: int | None, samples: int) -> tuple[Numbers, Numbers]:
    """Batches of samples of similar length: an order (n,) of the samples, and where in it each batch ends (B,).

    Args:
        lengths: tokens of source and target of each sample (n, 2); for single texts (n, 1).
        tokens: bound of samples × longest of a batch; a sample that is longer is one alone. None: there is none.
        samples: bound of samples.
    """
    order = np.lexsort((np.arange(len(lengths)), *lengths.T))  # by the last column first: the target
    longest = lengths.max(1)[order]
    ends = [0]
    while ends[-1] < len(order):
        ends.append(ends[-1] + fitting(longest[ends[-1] :], tokens, samples))
    return order, np.asarray(ends[1:], dtype=np.int64)


def fitting(longest: NDArray[np.integer], tokens: int | None, samples: int) -> int:
    """How many of the first samples make a batch, given the tokens of each (n,)."""
    if tokens is None:
        return min(samples, len(longest))
    # More do not fit, whatever follows.
    most = longest[: min(samples, max(1, tokens // max(1, int(longest[0]))))]
    over = np.maximum.accumulate(most) * np.arange(1, len(most) + 1) > tokens
    return max(1, int(over.argmax())) if over.any() else len(most)
