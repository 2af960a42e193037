"""Where a network looked in a picture for each word that it wrote about it: figure 3 of the article."""

from matplotlib.figure import Figure
from torch import Tensor

from dltk.cli.figures import figure
from dltk.launch.described import Described

ACROSS = 6  # panels of a line
PANEL, TITLE = 1.5, 0.35  # inches: of a side, and of the word above


def draw_attention(described: Described, image: Tensor, title: str) -> Figure:
    """The sheet: the picture (c, h, w), bytes, and behind it one panel for each word, in lines of six."""
    _, h, w = image.shape
    panels = described.panels(image)
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    sheet = figure(max(across * PANEL, 0.075 * len(title)) + 0.2, down * (PANEL * h / w + TITLE) + 0.4)
    for axes in sheet.subplots(down, across, squeeze=False).flat:
        axes.set_axis_off()
    for axes, word, panel in zip(sheet.axes, ("", *described.words), panels, strict=False):
        axes.imshow(panel, interpolation="nearest", vmin=0, vmax=1)
        axes.set_title(word, fontsize=9, parse_math=False)
    sheet.suptitle(title, fontsize=9, parse_math=False)
    return sheet
