"""The order of samples: which sample stands at which place of an epoch, and which places make a batch.

It is a pure function of (seed, epoch), the shards' sizes and the number of lanes. Ranks, workers, prefetching and
restarts do not enter, so the position in the data is one number: the global batches consumed.

Per epoch the shards are permuted and their samples laid end to end. That line is cut into lanes whose lengths differ by
at most one. Within a lane, samples are permuted in windows. Place k of the epoch is sample k // L of lane k % L.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from dltk.errors import DataError

# Letters: N samples in all, S shards, G samples of a global batch, L lanes, W ranks, A passes that make one step.

Numbers = NDArray[np.int64]
Value = TypeVar("Value")

WINDOW = 4096  # samples permuted together where there are several shards


class Order:
    """The order of one data set's samples, epoch by epoch.

    Args:
        shards: number of samples of each shard; data in memory are one shard.
        seed: of every permutation.
        lanes: shards read at the same time (L).
        window: samples permuted together inside a lane; default: a single shard whole, 4,096 of several.
        shuffle: False keeps the shards' order, lane by lane.
    """

    def __init__(
        self,
        shards: Sequence[int] | Numbers,
        *,
        seed: int,
        lanes: int = 1,
        window: int | None = None,
        shuffle: bool = True,
    ) -> None:
        self.sizes = np.asarray(shards, dtype=np.int64)  # (S,) samples of each shard
        assert (self.sizes >= 0).all(), "a shard has a negative number of samples"
        assert lanes >= 1, f"{lanes} lanes"
        assert window is None or window >= 1, f"a window of {window} samples"
        self.total = int(self.sizes.sum())
        self.seed, self.lanes, self.shuffle = seed, lanes, shuffle
        self.window = window or (WINDOW if len(self.sizes) > 1 else max(1, self.total))
        self._bases = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])  # first sample number of each shard
        self._lines: Recent[tuple[Numbers, Numbers]] = Recent(2)
        self._windows: Recent[Numbers] = Recent(2 * lanes + 2)

    def samples(self, epoch: int, places: Numbers) -> Numbers:
        """The sample numbers (0 to N - 1, shard after shard) at places (n,) of an epoch, which go on round from N."""
        places = np.asarray(places, dtype=np.int64) % self.total
        lane, within = places % self.lanes, places // self.lanes
        line = self._lane_start(lane) + self._permuted(epoch, lane, within)  # positions on the epoch's line
        ends, shifts = self._lines.get((epoch,), lambda: self._lay(epoch))
        return line + shifts[np.searchsorted(ends, line, side="right")]

    def _lay(self, epoch: int) -> tuple[Numbers, Numbers]:
        """Where each shard ends on the epoch's line, and what makes a position on it a sample number; each (S,)."""
        count = len(self.sizes)
        order = permutation(count, self.seed, epoch, "shards") if self.shuffle else np.arange(count)
        ends = np.cumsum(self.sizes[order])
        return ends, self._bases[order] - (ends - self.sizes[order])

    def _lane_start(self, lane: Numbers) -> Numbers:
        return lane * (self.total // self.lanes) + np.minimum(lane, self.total % self.lanes)

    def _permuted(self, epoch: int, lane: Numbers, within: Numbers) -> Numbers:
        """Where the samples `within` (n,) of their lanes (n,) stand before the permutation of their windows."""
        if not self.shuffle:
            return within
        block = within // self.window
        result = np.empty_like(within)
        blocks = int(block.max(initial=0)) + 1
        pairs, owner = np.unique(lane * blocks + block, return_inverse=True)
        for number, pair in enumerate(pairs.tolist()):
            one_lane, one_block = divmod(pair, blocks)
            mine = owner == number
            begin = one_block * self.window
            order = self._window(epoch, one_lane, one_block)
            result[mine] = begin + order[within[mine] - begin]
        return result

    def _window(self, epoch: int, lane: int, block: int) -> Numbers:
        """The permutation of one window, the lane's last of which may be shorter."""
        length = self.total // self.lanes + (lane < self.total % self.lanes)
        size = min(self.window, length - block * self.window)
        return self._windows.get(
            (epoch, lane, block), lambda: permutation(size, self.seed, epoch, "window", lane, block)
        )


class Plan(Order):
    """An order cut into global batches of one size.

    Args:
        shards: number of samples of each shard; data in memory are one shard.
        seed: of every permutation.
        batch: samples of a global batch (G).
        lanes: shards read at the same time (L).
        window: samples permuted together inside a lane; default: a single shard whole, 4,096 of several.
        shuffle: False keeps the shards' order, lane by lane.
        last: what becomes of the N % G samples over: left out, filled up from the epoch's beginning, or a small batch.

    Raises:
        DataError: there are no samples, or not enough for one batch.
    """

    def __init__(
        self,
        shards: Sequence[int] | Numbers,
        *,
        seed: int,
        batch: int,
        lanes: int = 1,
        window: int | None = None,
        shuffle: bool = True,
        last: Literal["drop", "wrap", "keep"] = "drop",
    ) -> None:
        super().__init__(shards, seed=seed, lanes=lanes, window=window, shuffle=shuffle)
        assert batch >= 1, f"a batch of {batch} samples"
        self.batch, self.last = batch, last
        self._steps = self.total // batch if last == "drop" else -(-self.total // batch)
        if self._steps == 0:
            raise DataError(
                "",
                "batch.global",
                f"{batch} samples make a batch, but the training part has {self.total}",
                "Lower batch.global, or set data.last to wrap.",
            )
        left = self.total - self.total // batch * batch
        self.dropped = left if last == "drop" else 0  # samples an epoch leaves out
        self.wrapped = self._steps * batch - self.total if last == "wrap" else 0  # samples an epoch takes twice
        self.smallest = left if last == "keep" and left else batch  # samples of the smallest batch

    def steps(self, epoch: int) -> int:
        """The number of global batches of an epoch."""
        return self._steps

    def bounds(self, epoch: int, number: int) -> tuple[int, int]:
        """The places [start, stop) of an epoch's global batch; from N on those that `last="wrap"` takes again."""
        assert 0 <= number < self._steps, f"epoch {epoch} has no batch {number}"
        start = number * self.batch
        return start, min(start + self.batch, self.total + self.wrapped)

    def first_step(self, epoch: int) -> int:
        """The number of global batches before an epoch."""
        return epoch * self._steps

    def locate(self, step: int) -> tuple[int, int]:
        """The epoch of a run's global batch, and its number in that epoch."""
        return divmod(step, self._steps)

    def planned(self, epoch: int, number: int) -> float:
        """What an epoch's global batch weighs."""
        start, stop = self.bounds(epoch, number)
        return float(stop - start)

    def weights(self, numbers: Numbers) -> NDArray[np.float64]:
        """What each sample (n,) weighs in the mean loss of its batch: one."""
        return np.ones(len(numbers))


def share(start: int, stop: int, *, rank: int, world: int, micro: int = 0, accumulate: int = 1) -> Numbers:
    """The places of one rank's micro-batch: position i of the batch with i % W == rank and (i // W) % A == micro."""
    return np.arange(start + rank + world * micro, stop, world * accumulate, dtype=np.int64)


def permutation(size: int, *what: object) -> Numbers:
    """A permutation of `size` numbers keyed by `what`: the order of as many raw words of Philox.

    numpy promises its bit generators' raw words for ever, but not `Generator.permutation`.
    """
    key = hashlib.blake2b("/".join(str(part) for part in what).encode(), digest_size=16).digest()
    words = np.random.Philox(key=int.from_bytes(key, "little")).random_raw(size)
    return np.argsort(words, kind="stable")


class Recent(Generic[Value]):
    """The last few values computed.

    Args:
        size: how many are kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[tuple[int, ...], Value] = OrderedDict()

    def get(self, key: tuple[int, ...], make: Callable[[], Value]) -> Value:
        """The value kept under a key, or the one that `make` computes."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = self._values[key] = make()
        if len(self._values) > self._size:
            self._values.popitem(last=False)
        return value
