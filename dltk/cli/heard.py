"""When each label of a transcript is heard: Graves, Fernández, Gomez, Schmidhuber (2006), figure 1.

A row is a label, a column a frame; the darker a square, the surer the label is heard then, or written then by a
transducer.
"""

from matplotlib.figure import Figure

from dltk.cli.figures import figure
from dltk.launch.heard import Heard

LABEL, FRAME, WIDEST = 0.16, 0.05, 24.0  # inches: of a row, of a column at most, and of all columns


def draw_heard(heard: Heard, title: str) -> Figure:
    """The sheet: time from left to right, the transcript from top to bottom."""
    u, t = heard.weights.shape
    sheet = figure(max(4.0, min(WIDEST, FRAME * t)) + 1.0, LABEL * u + 1.0)
    axes = sheet.add_subplot()
    axes.imshow(heard.weights, cmap="gray_r", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(u), ["␣" if name == " " else name for name in heard.labels], fontsize=7, parse_math=False)
    axes.set_xlabel("frame", fontsize=8)
    axes.tick_params(length=0, labelsize=7)
    sheet.suptitle(f"{title}\n{heard.text}", fontsize=9, parse_math=False)
    return sheet
