"""A comparison as one picture: the curves of each metric, and what came out with its intervals."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from dltk.cli.compared import heading
from dltk.cli.figures import figure
from dltk.compare.comparison import Comparison
from dltk.compare.curves import Aligned

COLUMNS = 2
NAMED = 12  # groups that a legend has room for


def draw_comparison(found: Comparison) -> Figure:
    """The sheet."""
    panels = len(found.curves) + bool(_shown(found))
    rows = max(1, math.ceil(panels / COLUMNS))
    names = [group.name for group in found.groups]
    sheet = figure(12, 3.6 * rows + 0.25 * min(len(names), NAMED) / 3)
    axes = list(sheet.subplots(rows, COLUMNS, squeeze=False).flat)
    colours = {name: f"C{at % 10}" for at, name in enumerate(names)}
    for one, (metric, lines) in zip(axes, found.curves.items(), strict=False):
        _curves(one, metric, lines, found.axis, colours)
    if _shown(found):
        _intervals(axes[len(found.curves)], found, colours)
    for one in axes[panels:]:
        one.set_axis_off()
    handles = [axes[0].plot([], [], color=colours[name])[0] for name in names[:NAMED]]
    if len(names) > 1:
        legend = sheet.legend(handles, names[:NAMED], loc="outside lower center", ncols=3, fontsize=8, frameon=False)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return sheet


def _shown(found: Comparison) -> bool:
    return found.primary is not None or (bool(found.quantities) and len(found.groups) == 1)


def _curves(axes: Any, metric: str, lines: Sequence[Aligned], axis: str, colours: dict[str, str]) -> None:
    """Means as lines, least and greatest values as bands."""
    for line in lines:
        axes.plot(line.at, line.mean, color=colours[line.group], linewidth=1.3)
        if line.runs > 1:
            axes.fill_between(line.at, line.low, line.high, color=colours[line.group], alpha=0.15, linewidth=0)
    axes.set(xlabel=axis)
    axes.set_title(f"{metric}: mean and range of the runs", fontsize=9, parse_math=False)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _intervals(axes: Any, found: Comparison, colours: dict[str, str]) -> None:
    """Each group's mean with its interval, and its runs as dots."""
    quantity = found.primary or found.quantities[0]
    column = found.quantities.index(quantity)
    for at, group in enumerate(found.groups):
        one = found.cells[at][column]
        finite = [value for value in one.values.values() if math.isfinite(value)]
        axes.plot(finite, [at] * len(finite), ".", color=colours[group.name], alpha=0.5)
        if one.mean is not None:
            axes.errorbar(one.mean, at, xerr=one.half, fmt="o", color=colours[group.name], capsize=3, markersize=4)
    axes.set_yticks(range(len(found.groups)), [group.name for group in found.groups], fontsize=8, parse_math=False)
    axes.set_ylim(len(found.groups) - 0.5, -0.5)
    axes.set_title(f"{heading(quantity)} ({quantity.where}), 95 % intervals", fontsize=9, parse_math=False)
    axes.grid(alpha=0.25, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
