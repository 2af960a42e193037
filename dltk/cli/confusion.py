"""Which classes are taken for which, as a picture: the matrix, and the most frequent confusions by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dltk.cli.figures import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED = 32  # classes whose names and numbers have room in the matrix
LISTED = 30  # confusions named beside it
LONGEST = 22  # characters of a name
INK, RIGHT, FAINT = "#b3261e", "#2563a8", "#d8dee6"


@dataclass(frozen=True)
class Confusion:
    """Samples of one class that were taken for another."""

    right: int
    chosen: int
    count: int
    of: int  # samples of the right class

    @property
    def share(self) -> float:
        """Of the class's samples, in per cent."""
        return 100 * self.count / self.of


def confused(matrix: NDArray[np.int64]) -> list[Confusion]:
    """Which classes of a matrix (k, k), right by chosen, are taken for which: the most frequent first, then shares."""
    wrong = matrix * ~np.eye(len(matrix), dtype=bool)
    of = matrix.sum(1)
    found = [Confusion(int(i), int(j), int(wrong[i, j]), int(of[i])) for i, j in zip(*wrong.nonzero(), strict=True)]
    return sorted(found, key=lambda one: (-one.count, -one.share, one.right, one.chosen))


def draw_confusions(
    matrix: NDArray[np.int64], names: Sequence[str], confusions: Sequence[Confusion], title: str
) -> "Figure":
    """The picture.

    Args:
        matrix: samples (k, k) by right class and chosen class.
        names: of the classes.
        confusions: the most frequent first.
        title: above it.
    """
    sheet = figure(13, 7.4)
    left, right = sheet.subplots(1, 2, width_ratios=[1.35, 1])
    total, wrong = int(matrix.sum()), int(matrix.sum() - np.trace(matrix))
    sheet.suptitle(f"{title}: {wrong:,} of {total:,} wrong", fontsize=10, parse_math=False)
    shares = 100 * matrix / np.maximum(1, matrix.sum(1, keepdims=True))  # of the right class's samples
    (_cells if len(names) <= NAMED else _dots)(left, matrix, shares, names)
    left.set(xlabel="chosen class", ylabel="right class")
    _bars(right, confusions[:LISTED], names, len(confusions))
    return sheet


def _cells(axes: Any, matrix: NDArray[np.int64], shares: NDArray[np.float64], names: Sequence[str]) -> None:
    """Few classes: every cell with its number, right ones blue and wrong ones red."""
    from matplotlib.colors import to_rgb

    strength = np.where(matrix > 0, 0.12 + 0.88 * np.sqrt(shares / 100), 0)[..., None]
    colour = np.where(np.eye(len(names), dtype=bool)[..., None], to_rgb(RIGHT), to_rgb(INK))
    axes.imshow(1 - strength * (1 - colour))
    size = max(4.5, min(9, 130 / len(names)))
    for i, j in zip(*matrix.nonzero(), strict=True):
        light = strength[i, j, 0] > 0.55
        axes.text(j, i, matrix[i, j], ha="center", va="center", fontsize=size, color="white" if light else "black")
    shown = [_short(name) for name in names]
    turned = 90 if max(map(len, shown)) > 2 else 0
    axes.set_xticks(range(len(names)), shown, rotation=turned, fontsize=size, parse_math=False)
    axes.set_yticks(range(len(names)), shown, fontsize=size, parse_math=False)


def _dots(axes: Any, matrix: NDArray[np.int64], shares: NDArray[np.float64], names: Sequence[str]) -> None:
    """Many classes: a dot for each confusion, larger for a larger share; single pixels would not be seen."""
    wrong = np.where(np.eye(len(names), dtype=bool), 0, shares)
    rows, columns = wrong.nonzero()
    order = np.argsort(wrong[rows, columns])  # the largest on top
    rows, columns = rows[order], columns[order]
    axes.plot([0, len(names) - 1], [0, len(names) - 1], color=FAINT, linewidth=1)
    dots = axes.scatter(
        columns, rows, s=1 + 0.9 * wrong[rows, columns], c=wrong[rows, columns], cmap="OrRd", vmin=-25, vmax=100,
        linewidths=0,
    )  # fmt: skip
    bar = axes.figure.colorbar(dots, ax=axes, label="per cent of the right class's samples", shrink=0.6)
    bar.ax.set_ylim(0, 100)  # the palest colours below would not be seen
    axes.set(xlim=(-1, len(names)), ylim=(len(names), -1), aspect="equal")


def _bars(axes: Any, confusions: Sequence[Confusion], names: Sequence[str], of: int) -> None:
    """The most frequent confusions by name."""
    if not confusions:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "nothing is confused", ha="center", va="center")
        return
    counts = [one.count for one in confusions]
    bars = axes.barh(range(len(confusions)), counts, color=INK)
    axes.bar_label(bars, [f"{one.count} of {one.of}" for one in confusions], padding=3, fontsize=7)
    labels = [f"{_short(names[one.right])} → {_short(names[one.chosen])}" for one in confusions]
    axes.set_yticks(range(len(confusions)), labels, fontsize=7, parse_math=False)
    axes.set_title(f"the most frequent of {of:,} confusions: right → chosen", fontsize=9, loc="right")
    axes.set(xlim=(0, 1.25 * max(counts)), xticks=[], ylim=(max(len(confusions), 12) - 0.4, -0.6))
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
