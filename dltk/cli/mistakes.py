"""The worst mistakes side by side, each picture above what was said of it and what is right."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dltk.cli.figures import figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 8
CELL, CAPTION, GAP = 128, 52, 8  # pixels of a picture, of the lines below it, and between two
LONGEST = 24  # characters of a line
INK, RIGHT, FAINT = "#b3261e", "#2563a8", "#808080"


def draw_mistakes(
    images: Sequence[NDArray[Any]], captions: Sequence[tuple[str, str, str]], wrong: int, total: int, title: str
) -> "Figure":
    """The sheet.

    Args:
        images: (c, h, w) each.
        captions: for each what was said, what is right, its key.
        wrong: number of mistakes, of which these are the worst.
        total: number of samples.
        title: above it.
    """
    columns = min(COLUMNS, max(4, len(images)))
    rows = max(1, math.ceil(len(images) / columns))
    width, height = columns * (CELL + GAP) + GAP, rows * (CELL + CAPTION + GAP) + GAP
    ground = np.full((height, width, 3), 255, np.uint8)
    sheet = figure(width / 100, height / 100 + 0.5)
    axes = sheet.subplots()
    for number, (image, (said, right, key)) in enumerate(zip(images, captions, strict=True)):
        top = GAP + number // columns * (CELL + CAPTION + GAP)
        left = GAP + number % columns * (CELL + GAP)
        ground[top : top + CELL, left : left + CELL] = _square(image)
        for line, (text, colour) in enumerate(((f"said {said}", INK), (f"is {right}", RIGHT), (key, FAINT))):
            place = (left, top + CELL + 14 + 14 * line)
            axes.text(*place, _short(text, line == 2), fontsize=6.2, color=colour, parse_math=False)
    axes.imshow(ground, interpolation="nearest")
    axes.set_axis_off()
    which = "all" if wrong == len(images) else f"the {len(images)} worst of"
    shown = f"{which} {wrong:,} mistakes in {total:,} samples" if images else f"no mistake in {total:,} samples"
    axes.set_title(f"{title}: {shown}", fontsize=8, parse_math=False)
    return sheet


def _square(image: NDArray[Any]) -> NDArray[np.uint8]:
    """An image (c, h, w) in a white square of the cell's size, its pixels kept sharp where it is enlarged."""
    pixels = np.moveaxis(image if image.shape[0] in (1, 3) else image[:1], 0, 2)  # (h, w, c)
    if pixels.dtype != np.uint8:
        span = float(pixels.max() - pixels.min()) or 1.0
        pixels = (255 * (pixels - pixels.min()) / span).astype(np.uint8)
    picture = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).convert("RGB")
    scale = CELL / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    fitted = picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)
    square = Image.new("RGB", (CELL, CELL), "white")
    square.paste(fitted, ((CELL - fitted.width) // 2, (CELL - fitted.height) // 2))
    return np.asarray(square)


def _short(text: str, end: bool) -> str:
    """A line that fits: of a key the end tells more."""
    if len(text) <= LONGEST:
        return text
    return f"…{text[1 - LONGEST :]}" if end else f"{text[: LONGEST - 1]}…"
