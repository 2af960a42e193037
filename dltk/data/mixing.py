"""How well an order mixes: the classes of a batch, and how far samples move from where they lie.

Shards that were packed class by class fill a batch with few classes, unless windows and lanes reach over many of them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dltk.data.plan import Numbers, Plan

BATCHES = 200  # looked at, evenly spaced over the epoch
ENOUGH = 0.95  # of a full shuffle's entropy
WINDOWS = tuple(4096 * 2**power for power in range(1, 11))  # tried in turn, up to four million samples

Targets = NDArray[np.integer]


class Mixing(NamedTuple):
    """What a plan does in one epoch."""

    entropy: float  # of the classes of a batch, in nats, mean over batches
    shuffled: float  # the same under a full shuffle
    displacement: float  # mean distance between a sample's place and where it lies, in samples
    shuffled_displacement: float  # the same under a full shuffle: about a third of the samples

    @property
    def ratio(self) -> float:
        """The share of a full shuffle's entropy that is reached; 1 where there is a single class."""
        return self.entropy / self.shuffled if self.shuffled > 0 else 1.0


def mixing(plan: Plan, epoch: int, targets: Targets | None) -> Mixing:
    """Measure an epoch's order beside a full shuffle.

    Args:
        plan: the order.
        epoch: pass over the data.
        targets: class of each sample (n,); None where samples have none.
    """
    chosen = np.unique(np.linspace(0, plan.steps(epoch) - 1, BATCHES).round().astype(np.int64)).tolist()
    places = [np.arange(*plan.bounds(epoch, number)) for number in chosen]
    numbers = [plan.samples(epoch, one) for one in places]
    # As many samples of a shuffled order, without an array of all of them.
    words = np.random.Philox(key=plan.seed).random_raw(sum(map(len, numbers)))
    anywhere = words % np.uint64(plan.total)
    cuts = np.cumsum([len(one) for one in numbers])[:-1]
    shuffled = np.split(anywhere.astype(np.int64), cuts)
    moved, moved_shuffled = (
        float(np.mean([np.abs(one - place).mean() for one, place in zip(order, places, strict=True)]))
        for order in (numbers, shuffled)
    )
    if targets is None:
        return Mixing(0.0, 0.0, moved, moved_shuffled)
    return Mixing(_entropy(numbers, targets), _entropy(shuffled, targets), moved, moved_shuffled)


def better_window(plan: Plan, epoch: int, targets: Targets) -> int | None:
    """The smallest of the usual windows under which batches are mixed well; None where none of them helps."""
    for window in WINDOWS:
        if window <= plan.window:
            continue
        wider = Plan(plan.sizes, seed=plan.seed, batch=plan.batch, lanes=plan.lanes, window=window, last=plan.last)
        if mixing(wider, epoch, targets).ratio >= ENOUGH:
            return window
        if window * plan.lanes >= plan.total:
            return None
    return None


def _entropy(batches: list[Numbers], targets: Targets) -> float:
    """Mean entropy of the classes of batches, in nats."""
    entropies = []
    for numbers in batches:
        _, counts = np.unique(np.asarray(targets[numbers]), return_counts=True)
        shares = counts / counts.sum()
        entropies.append(float(-(shares * np.log(shares)).sum()))
    return float(np.mean(entropies))
