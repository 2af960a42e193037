"""Where a translator looked while it wrote: Bahdanau, Cho, Bengio (2015), figure 3, for one sentence.

A column is a token of the source, a row one of the translation; the lighter a square, the more the row's token owes to
the column's. Each row sums to 1.
"""

from matplotlib.figure import Figure

from dltk.cli.figures import figure
from dltk.launch.aligned import Aligned

SQUARE, LARGEST = 0.3, 24.0  # inches: of a square at most, of all of them
LETTER = 0.085  # inches that a letter of a label takes


def draw_alignment(aligned: Aligned, title: str) -> Figure:
    """The sheet: the source from left to right, the translation from top to bottom, white where a weight is 1."""
    t, s = aligned.weights.shape
    side = min(SQUARE, LARGEST / max(t, s))
    left, top = (LETTER * max(map(len, words)) + 0.2 for words in (aligned.target, aligned.source))
    sheet = figure(max(left + s * side, LETTER * len(title)) + 0.4, top + t * side + 0.6)
    axes = sheet.add_subplot()
    axes.imshow(aligned.weights, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    size = min(9.0, 60 * side)
    axes.set_xticks(range(s), aligned.source, rotation=90, fontsize=size, parse_math=False)
    axes.set_yticks(range(t), aligned.target, fontsize=size, parse_math=False)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    sheet.suptitle(title, fontsize=9, parse_math=False)
    return sheet
