"""Many small pictures side by side in one, for drawings."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Shapes: h rows, w columns of a picture; grey pictures are (h, w), coloured ones (h, w, 3), from 0 to 1.

Picture = NDArray[np.floating[Any]]

SIDE = 64  # pixels that a picture is enlarged to at least, so that its own pixels keep sharp edges
BLUE = (0.62, 0.71, 0.83)  # neither the black nor the white of a picture


def scaled(values: Picture) -> Picture:
    """Values to 0 to 1, the least black and the greatest white; all 0 where they are equal."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def tiled(pictures: Sequence[Picture], across: int, ground: Sequence[float] = BLUE) -> Picture:
    """Pictures of one shape, in lines of `across`, as one coloured picture; the ground shows between and around."""
    h, w = pictures[0].shape[:2]
    factor = max(1, -(-SIDE // max(h, w)))
    gap = max(1, round(0.04 * factor * max(h, w)))
    down, right = factor * h + gap, factor * w + gap
    sheet = np.full((-(-len(pictures) // across) * down + gap, across * right + gap, 3), ground, np.float32)
    for number, picture in enumerate(pictures):
        y, x = number // across * down + gap, number % across * right + gap
        coloured = picture if picture.ndim == 3 else picture[..., None]
        sheet[y : y + down - gap, x : x + right - gap] = coloured.repeat(factor, 0).repeat(factor, 1)
    return sheet
