"""BLEU by the length of the source, as the translators' papers draw it: Bahdanau, Cho, Bengio (2015), figure 2."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from dltk.cli.figures import figure

Rows = Sequence[Mapping[str, Any]]  # from, to, samples, bleu, exact_match


def draw_lengths(runs: Mapping[str, Rows], title: str) -> Figure:
    """The sheet: a line of BLEU for each run, a point for each range of lengths; below it its sentences' number.

    Args:
        runs: ranges of lengths of each run, by its name.
        title: above it.
    """
    sheet = figure(6.4, 5)
    above, below = sheet.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    top = 0.0
    for name, rows in runs.items():
        scored = [row for row in rows if row["bleu"] is not None]
        middles, values = [(row["from"] + row["to"]) / 2 for row in scored], [row["bleu"] for row in scored]
        above.plot(middles, values, marker="o", markersize=4, label=name)
        top = max([top, *values])
    above.set(ylim=(0, min(104, max(10, 1.15 * top))), ylabel="BLEU")
    above.set_title(title, fontsize=9, parse_math=False)
    if len(runs) > 1:
        for text in above.legend(fontsize=8, loc="best").get_texts():
            text.set_parse_math(False)
    _counts(below, list(runs.values()))
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    return sheet


def _counts(axes: Any, runs: Sequence[Rows]) -> None:
    """A bar for each range, as high as it holds sentences, with their number; none where the runs' ranges differ."""
    axes.set(xlabel="tokens of the source", ylabel="sentences", yticks=[])
    bounds = [[(row["from"], row["to"], row["samples"]) for row in rows] for rows in runs]
    if any(one != bounds[0] for one in bounds[1:]):
        axes.text(0.5, 0.5, "the runs' vocabularies differ", transform=axes.transAxes, ha="center", fontsize=8)
        return
    middles = [(low + high) / 2 for low, high, _ in bounds[0]]
    widths = [high - low + 0.9 for low, high, _ in bounds[0]]
    counts = [count for *_, count in bounds[0]]
    bars = axes.bar(middles, counts, widths, color="#d5d5d5")
    axes.bar_label(bars, [f"{count:,}" for count in counts], fontsize=8, color="#555555", padding=1)
    axes.set(ylim=(0, 1.3 * max(counts)))
