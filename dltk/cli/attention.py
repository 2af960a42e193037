"""Where a network looked in a picture for each word that it wrote about it: figure 3 of the article.

A panel for each word: the whiter a place, the more the word owes to it. The weights of the grid are laid over the
picture as Xu et al. (2015), figure 2, do it: enlarged to its size, smoothed, and white.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from dltk.cli.figures import figure
from dltk.launch.described import Described

ACROSS = 6  # panels of a line
PANEL, TITLE = 1.5, 0.35  # inches: of a side, and of the word above
WHITE = 0.5  # of a panel, where most was looked at


def draw_attention(described: Described, image: Tensor, title: str) -> Figure:
    """The sheet: the picture (c, h, w), bytes, and behind it one panel for each word, in lines of six."""
    _, h, w = image.shape
    picture = image.permute(1, 2, 0).numpy().astype(np.float32) / 255  # (h, w, c)
    picture = picture.repeat(3, 2) if picture.shape[2] == 1 else picture
    panels: list[tuple[str, Any]] = [("", picture)]
    for word, weights in zip(described.words, described.weights, strict=True):
        light = _enlarged(torch.from_numpy(weights), h, w)
        panels.append((word, (1 - WHITE) * picture + WHITE * light[:, :, None]))
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    sheet = figure(max(across * PANEL, 0.075 * len(title)) + 0.2, down * (PANEL * h / w + TITLE) + 0.4)
    for axes in sheet.subplots(down, across, squeeze=False).flat:
        axes.set_axis_off()
    for axes, (word, panel) in zip(sheet.axes, panels, strict=False):
        axes.imshow(panel, interpolation="nearest", vmin=0, vmax=1)
        axes.set_title(word, fontsize=9, parse_math=False)
    sheet.suptitle(title, fontsize=9, parse_math=False)
    return sheet


def _enlarged(weights: Tensor, h: int, w: int) -> Any:
    """Weights (rows, columns) as light from 0 to 1 over the picture (h, w), the heaviest place being 1."""
    light = F.interpolate(weights[None, None], (h, w), mode="bilinear", align_corners=False)[0, 0]
    return (light / light.max()).numpy()
