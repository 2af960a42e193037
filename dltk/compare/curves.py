"""Curves of groups of runs side by side: aligned on an axis, with mean and range over the runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dltk.compare.brief import Curve
from dltk.compare.columns import Array
from dltk.compare.groups import Group

GRID = 200  # points of an aligned curve

# Shapes: g points of the grid.


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """A metric of a group over an axis (g,): mean, least and greatest value of its runs (g,), their number, their end.

    Where a group has several runs, their mean goes as far as the shortest of them; NaN where there is nothing.
    """

    group: str
    metric: str
    at: Array
    mean: Array
    low: Array
    high: Array
    runs: int
    end: float

    def where(self, place: float) -> float | None:
        """The mean at a place of the axis; None where it lies outside."""
        known = np.isfinite(self.mean)
        if not known.any() or not self.at[known][0] <= place <= max(self.end, self.at[known][-1]):
            return None
        return float(np.interp(place, self.at[known], self.mean[known]))


def aligned(groups: Sequence[Group], metric: str, axis: str, points: int = GRID) -> list[Aligned]:
    """The curves of groups on one grid, from the first to the last place that any run has; groups without are left out.

    Args:
        groups: which.
        metric: whose curve.
        axis: `step`, `samples`, `epoch` or `hours`.
        points: of the grid.
    """
    curves = {group.name: _of(group, metric, axis) for group in groups}
    ends = [(xs[0], xs[-1]) for some in curves.values() for xs, _ in some]
    if not ends:
        return []
    grid = np.linspace(min(low for low, _ in ends), max(high for _, high in ends), points)
    found = []
    for group in groups:
        lines = [_on(grid, xs, ys) for xs, ys in curves[group.name]]
        if not lines:
            continue
        whole = np.array(lines)
        with np.errstate(invalid="ignore"):
            found.append(
                Aligned(
                    group=group.name,
                    metric=metric,
                    at=grid,
                    mean=whole.mean(0),
                    low=whole.min(0),
                    high=whole.max(0),
                    runs=len(lines),
                    end=float(min(xs[-1] for xs, _ in curves[group.name])),
                )
            )
    return found


def common_end(lines: Sequence[Aligned]) -> float | None:
    """The last place of the axis that all curves have; None where there is none."""
    return min((line.end for line in lines), default=None)


def _of(group: Group, metric: str, axis: str) -> list[tuple[Array, Array]]:
    found = [_clean(run.curves[metric], axis) for run in group.runs if metric in run.curves]
    return [(xs, ys) for xs, ys in found if len(xs)]


def _clean(curve: Curve, axis: str) -> tuple[Array, Array]:
    """A curve's places and values, without those that are not finite."""
    xs = curve.along.get(axis)
    if xs is None:
        return np.empty(0), np.empty(0)
    known = np.isfinite(xs) & np.isfinite(curve.values)
    return xs[known], curve.values[known]


def _on(grid: Array, xs: Array, ys: Array) -> Array:
    """A curve on the grid; NaN before it begins and after it ends, but for half a step of the grid."""
    slack = (grid[1] - grid[0]) / 2 if len(grid) > 1 else 0.0
    inside = (grid >= xs[0] - slack) & (grid <= xs[-1] + slack)
    return np.where(inside, np.interp(grid, xs, ys), np.nan)
