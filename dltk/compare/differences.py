"""Whether groups of runs differ by more than chance: by seed, by sample, several at once, and what could be seen.

By seed answers for the settings: would other seeds show it too? By sample answers for the networks at hand: would
another test part of this size show it too? The verdict goes by seed where both groups have at least two, else by
sample, and over several groups by p adjusted after Holm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dltk.compare import samples
from dltk.compare.groups import Group
from dltk.compare.results import Quantity
from dltk.compare.seen import Seen
from dltk.errors import DataError
from dltk.run.statistics import LEVEL, Difference, holm, mcnemar, paired_bootstrap, paired_t, smallest, welch

ALPHA = 1 - LEVEL
Verdict = Literal["better", "worse", "not shown", "cannot tell"]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A group beside the one that it is measured against; differences are the group's less that one's.

    Args:
        group: its name.
        baseline: the other's.
        seeds: by seed; None where one of the groups has no value.
        pairs: seeds that both have, where they were paired; 0 where they were not.
        samples: by sample; None where predictions were not kept of the same samples.
        count: of these samples.
        p: of the verdict, as it is; None where nothing can be tested.
        adjusted: the same after Holm, over all groups beside this baseline.
        detectable: the smallest difference that would be found four times in five beside so many groups, p being
            adjusted; None where the test does not tell.
        by: what the verdict goes by, `seed` or `sample`.
        verdict: on the group.
        why: of a verdict that cannot be given, the reason.
    """

    group: str
    baseline: str
    seeds: Difference | None
    pairs: int
    samples: Difference | None
    count: int
    p: float | None = None
    adjusted: float | None = None
    detectable: float | None = None
    by: str = ""
    verdict: Verdict = "cannot tell"
    why: str = ""

    @property
    def tested(self) -> Difference:
        """The difference that the verdict goes by."""
        difference = self.seeds if self.by == "seed" else self.samples
        assert difference is not None, self
        return difference


def compared(groups: Sequence[Group], quantity: Quantity, baseline: int = 0) -> list[Compared]:
    """Every other group beside one of them."""
    base = groups[baseline]
    found = [_pair(base, group, quantity) for group in groups if group is not base]
    tested = [at for at, one in enumerate(found) if one.p is not None]
    adjusted = holm([p for one in found if (p := one.p) is not None])
    for at, p in zip(tested, adjusted, strict=True):
        one, least = found[at], found[at].tested.detectable_among(len(tested))
        found[at] = replace(one, adjusted=p, detectable=least, verdict=_verdict(one, p, quantity))
    return found


def ties(groups: Sequence[Group], quantity: Quantity, means: Sequence[float | None]) -> list[bool]:
    """Which groups are the best, or not shown to be worse than it; none where something could not be tested."""
    known = [(mean if quantity.lower_is_better else -mean, at) for at, mean in enumerate(means) if mean is not None]
    if len(known) < 2:
        return [False] * len(groups)
    best = min(known)[1]
    others = {one.group: one for one in compared(groups, quantity, best)}
    if any(others[groups[at].name].verdict == "cannot tell" for _, at in known if at != best):
        return [False] * len(groups)
    return [
        at == best or (means[at] is not None and others[group.name].verdict == "not shown")
        for at, group in enumerate(groups)
    ]


def _verdict(one: Compared, p: float, quantity: Quantity) -> Verdict:
    if p >= ALPHA:
        return "not shown"
    return "better" if (one.tested.mean < 0) == quantity.lower_is_better else "worse"


def _pair(base: Group, group: Group, quantity: Quantity) -> Compared:
    wild = _wild(base, quantity) or _wild(group, quantity)
    seeds, pairs = (None, 0) if wild else _by_seed(base, group, quantity)
    sampled = quantity.of == "reported" and not wild
    by_sample, count = _by_sample(base, group, quantity) if sampled else (None, 0)
    by = "seed" if seeds is not None and seeds.p is not None else "sample" if by_sample is not None else ""
    chosen = {"seed": seeds, "sample": by_sample}.get(by)
    return Compared(
        group=group.name,
        baseline=base.name,
        seeds=seeds,
        pairs=pairs,
        samples=by_sample,
        count=count,
        p=None if chosen is None else chosen.p,
        by=by,
        why="" if by else wild or _why(base, group, quantity, seeds),
    )


def _why(base: Group, group: Group, quantity: Quantity, seeds: Difference | None) -> str:
    if seeds is None:
        without = next(one.name for one in (group, base) if not _values(one, quantity))
        return f"{without} has no finite {quantity.metric}"
    if min(len(_values(one, quantity)) for one in (base, group)) < 2:
        return "one run, and no predictions kept of the same samples"
    return "all seeds differ by the same"


def _wild(group: Group, quantity: Quantity) -> str:
    """How many runs gave no finite number: what the others gave says nothing of the settings."""
    found = [one for run in group.replicates().values() if (one := quantity.of_run(run)) is not None]
    count = sum(not math.isfinite(one.value) for one in found)
    return f"{count} of the runs of {group.name} ended with no finite {quantity.metric}" if count else ""


# By seed


def _values(group: Group, quantity: Quantity) -> dict[str, float]:
    """The finite values of a group by replicate."""
    found = {label: quantity.of_run(run) for label, run in group.replicates().items()}
    return {label: one.value for label, one in found.items() if one is not None and math.isfinite(one.value)}


def _by_seed(base: Group, group: Group, quantity: Quantity) -> tuple[Difference | None, int]:
    """The difference over seeds, paired where at least two of them are common to both and none stands alone."""
    a, b = _values(base, quantity), _values(group, quantity)
    if not a or not b:
        return None, 0
    shared = [label for label in a if label in b]
    if len(shared) >= 2 and len(shared) == len(a) == len(b):
        return paired_t([a[label] for label in shared], [b[label] for label in shared]), len(shared)
    return welch(list(a.values()), list(b.values())), 0


# By sample


def _by_sample(base: Group, group: Group, quantity: Quantity) -> tuple[Difference | None, int]:
    sides = [[run for run in one.runs if quantity.of_run(run) is not None] for one in (base, group)]
    if not all(sides):
        return None, 0
    if quantity.metric.rpartition("/")[2] in samples.OF_TEXT:
        return _by_text(sides[0], sides[1], quantity.metric)
    kept = [[samples.per_sample(run, quantity.metric) for run in runs] for runs in sides]
    whole = [[one for one in side if one is not None] for side in kept]
    if any(len(some) < len(runs) for some, runs in zip(whole, sides, strict=True)):
        return None, 0
    values = samples.paired(whole[0], whole[1])
    if values is None:
        return None, 0
    a, b = values
    mean, low, high, p = paired_bootstrap(a, b)
    test = "paired bootstrap"
    if all(len(side) == 1 for side in sides) and set(np.unique(np.concatenate([a, b]))) <= {0.0, 100.0}:
        # Right and wrong alone, which are tested exactly; errors and successes are counted alike.
        p, test = mcnemar(int((a > b).sum()), int((b > a).sum())), "McNemar, interval by bootstrap"
    error = float(np.std(b - a, ddof=1)) / math.sqrt(len(a)) if len(a) > 1 else None
    detectable = None if error is None else smallest(error, None)
    return Difference(mean=mean, low=low, high=high, p=p, detectable=detectable, test=test, error=error), len(a)


def _by_text(a: Sequence[Seen], b: Sequence[Seen], metric: str) -> tuple[Difference | None, int]:
    """Of translations one run each, the first that have the same seed, else the first."""
    seeds = {run.seed: run for run in b}
    first = next((run for run in a if run.seed in seeds), a[0])
    second = seeds.get(first.seed, b[0])
    try:
        found = samples.of_text(first, second, metric)
    except (ImportError, DataError):  # the extra `text` is not installed
        return None, 0
    if found is None:
        return None, 0
    mean, p, count = found
    test = f"sacreBLEU's paired bootstrap of {first.path.name} and {second.path.name}"
    return Difference(mean=mean, low=None, high=None, p=p, detectable=None, test=test), count
