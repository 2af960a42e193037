"""What groups of runs measured: of which metric, which checkpoint, how, over how many seeds, with which interval."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal

from dltk.compare.brief import Value
from dltk.compare.groups import Group, nearest
from dltk.compare.seen import Seen
from dltk.errors import LaunchError
from dltk.run.claim import lower_is_better
from dltk.run.statistics import binomial_interval, mean_interval

Of = Literal["reported", "best", "final"]
_MERELY = ("lr", "time/", "memory/", "data/")  # how a training goes, not what comes out
_FLAT = 1e-4  # how far a count of samples, from a share of them in per cent, may be from a whole number


@dataclass(frozen=True)
class Quantity:
    """What is compared.

    Args:
        metric: its name, such as `test/top1_error`.
        of: `reported` by the evaluation at a run's end, at the `best` step of the validation, or `final`, the log's
            last.
        protocol: how an evaluation saw the samples; empty for the others.
        checkpoint: which one an evaluation was of, `best` or `last`; empty for the others.
        selecting: the metric, or the part of the data, chose the weights that it is of: better than it would be else.
    """

    metric: str
    of: Of
    protocol: str = ""
    checkpoint: str = ""
    selecting: bool = False

    @property
    def lower_is_better(self) -> bool:
        """Whether it should fall."""
        return lower_is_better(self.metric)

    @property
    def where(self) -> str:
        """In a few words of which weights it is, and how it was measured."""
        if self.of == "reported":
            return f"{self.checkpoint} checkpoint, {self.protocol}"
        return "best validation" if self.of == "best" else "end of the log"

    def of_run(self, run: Seen) -> Value | None:
        """Its value in a run; None where the run has none."""
        if self.of == "reported":
            return next((value for quantity, value in _reported(run) if quantity == self), None)
        return (run.best if self.of == "best" else run.final).get(self.metric)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one group measured of one quantity.

    Args:
        values: by run's name.
        steps: of the checkpoints, by run's name.
        mean: over the runs; None without any, or where one of them is not finite.
        low: 95 % interval of the mean over the runs; None with fewer than two.
        high: its other end.
        sampling: 95 % interval that a test part of `samples` leaves for a share as large as the mean; None where the
            metric is no share of samples.
        samples: of the test part.
    """

    values: dict[str, float]
    steps: dict[str, int | None]
    mean: float | None
    low: float | None
    high: float | None
    sampling: tuple[float, float] | None
    samples: int | None

    @property
    def half(self) -> float | None:
        """Half the width of the interval over the runs."""
        return None if self.high is None or self.mean is None else self.high - self.mean

    @property
    def wild(self) -> int:
        """Runs whose value is no finite number."""
        return sum(not math.isfinite(value) for value in self.values.values())


def quantities(groups: Sequence[Group], metrics: Sequence[str] = ()) -> list[Quantity]:
    """What to compare: what is asked for, else what evaluations reported, the monitored metric, the training's loss.

    Raises:
        LaunchError: no run has a metric that is asked for.
    """
    runs = [run for group in groups for run in group.runs]
    known = list(dict.fromkeys(every(runs)))
    if not metrics:
        chosen = [one for one in known if _by_default(one, runs)]
        # Of other projects nothing says what is monitored: what does not merely say how the training goes.
        return chosen or [one for one in known if _tells(one.metric) and not one.metric.startswith(_MERELY)]
    found: list[Quantity] = []
    names = list(dict.fromkeys(one.metric for one in known))
    for metric in metrics:
        same = [one for one in known if one.metric == metric]
        if not same:
            ends = {name.rpartition("/")[2]: name for name in reversed(names)}
            close = get_close_matches(metric, ends, 1, 0.6)  # top1_error is meant of some part
            meant = f"Did you mean '{ends[close[0]]}'?" if close and "/" not in metric else nearest(metric, names)
            raise LaunchError("", "--metric", f"no run has a metric '{metric}'", meant)
        found += [one for one in same if one not in found]
    return found


def every(runs: Iterable[Seen]) -> Iterable[Quantity]:
    """All quantities that runs have, reported ones first."""
    seen = list(runs)
    for run in seen:
        yield from (quantity for quantity, _ in _reported(run))
    monitors = {run.monitor for run in seen}
    for run in seen:
        for metric in run.best:
            yield Quantity(metric, "best", selecting=metric in monitors)
    for run in seen:
        for metric in run.final:
            yield Quantity(metric, "final")


def cell(group: Group, quantity: Quantity) -> Cell:
    """What a group measured of a quantity."""
    found = {run.name: value for run in group.runs if (value := quantity.of_run(run)) is not None}
    values = {name: value.value for name, value in found.items()}
    finite = all(math.isfinite(value) for value in values.values())
    mean, low, high = mean_interval(list(values.values())) if values and finite else (None, None, None)
    samples = _samples(group) if quantity.of == "reported" else None
    return Cell(
        values=values,
        steps={name: value.step for name, value in found.items()},
        mean=mean,
        low=low,
        high=high,
        sampling=None if mean is None or not samples else _sampling(list(values.values()), mean, samples),
        samples=samples,
    )


def common(groups: Sequence[Group], found: Sequence[Quantity]) -> Quantity | None:
    """The quantity by which groups are compared first: the claim's metric, else the first that two groups have."""
    shared = [one for one in found if sum(bool(cell(group, one).values) for group in groups) > 1]
    claims = [run.claim for group in groups for run in group.runs]
    claimed = next((claim.metric for claim in claims if claim is not None), None)
    return next((one for one in shared if one.of == "reported" and one.metric == claimed), next(iter(shared), None))


def _reported(run: Seen) -> list[tuple[Quantity, Value]]:
    said = run.evaluation
    metrics, step = said.get("metrics"), said.get("checkpoint")
    if not isinstance(metrics, dict):
        return []
    how = str(said.get("protocol", "")), run.chosen, run.selecting
    return [
        (Quantity(name, "reported", *how), Value(float(value), step if isinstance(step, int) else None))
        for name, value in metrics.items()
        if isinstance(value, int | float)
    ]


def _by_default(one: Quantity, runs: Sequence[Seen]) -> bool:
    """Losses and sizes say little beside errors, and the course of the training stands in the curves."""
    if one.of == "reported":
        return _tells(one.metric) or not any(map(_tells, (name for run in runs for name in _measured(run))))
    return one.selecting if one.of == "best" else one.metric == "train/loss"


def _tells(metric: str) -> bool:
    return not metric.endswith(("loss", "_tokens"))


def _measured(run: Seen) -> Iterable[str]:
    return (quantity.metric for quantity, _ in _reported(run))


def _samples(group: Group) -> int | None:
    """Samples that every run of a group was measured on."""
    counts: set[Any] = {run.evaluation.get("samples") for run in group.runs if run.evaluation}
    one = counts.pop() if len(counts) == 1 else None
    return one if isinstance(one, int) else None


def _sampling(values: Sequence[float], mean: float, samples: int) -> tuple[float, float] | None:
    """The interval of a share in per cent; None where the values are no counts of samples."""
    counts = [value * samples / 100 for value in values]
    if any(not -_FLAT <= count <= samples + _FLAT or abs(count - round(count)) > _FLAT for count in counts):
        return None
    low, high = binomial_interval(round(mean * samples / 100), samples)
    return 100 * low, 100 * high
