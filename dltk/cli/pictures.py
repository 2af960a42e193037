"""A person's pictures in the form of a run's training images: size, channels, ink light or dark, centred or not.

Training images decide: where all of them show light ink on black (digits), a picture is brought to light ink on black,
cut to its ink and put where theirs stands. Other pictures are only resized.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dltk.data.images import read_image
from dltk.errors import DataError

# Shapes: n pictures, c channels, h rows, w columns; grey pictures (h, w) run from 0 to 255.

EMPTY = 24  # grey levels: less contrast than this shows nothing
INK = 0.25  # of the darkest-to-lightest range: what counts as ink


@dataclass(frozen=True)
class Manner:
    """How the training images of a run look."""

    shape: tuple[int, int, int]  # channels, rows, columns
    inked: bool = False  # light ink on a black ground, in all of them
    extent: float = 1.0  # longer side of the ink's box, as a share of the image's
    by_mass: bool = False  # centred by the ink's mass instead of its box
    native: int | None = None  # rows and columns before the data set enlarged them


def learn_manner(images: Tensor, native: int | None = None) -> Manner:
    """How images (n, c, h, w) look, from a few of a run's training images."""
    grey = images.float().mean(1).numpy()  # (n, h, w)
    borders = np.concatenate([grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1]], 1)  # (n, 2h + 2w)
    dark = (np.median(borders, 1) < EMPTY) & (grey.max((1, 2)) > 128)
    shape = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))
    if dark.mean() < 0.95:
        return Manner(shape)
    boxes = np.array([_box(one) for one in grey])  # (n, 4): top, bottom, left, right
    sides = np.maximum(boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2])
    by_box = np.stack([boxes[:, :2].mean(1), boxes[:, 2:].mean(1)], 1)  # (n, 2)
    by_mass = np.array([_mass(one) for one in grey])  # (n, 2)
    return Manner(
        shape, inked=True, extent=float(np.median(sides)) / max(shape[1:]),
        by_mass=bool(by_mass.std(0).sum() < by_box.std(0).sum()), native=native,
    )  # fmt: skip


def prepare(
    path: Path, manner: Manner, invert: Literal["auto", "yes", "no"] = "auto", enlarge: Any = None
) -> tuple[Tensor, list[str]]:
    """A picture file as the network's image (c, h, w), uint8, and what was done to it, in words.

    Args:
        path: the file.
        manner: of the training images.
        invert: swap light and dark; auto: where the ink is dark and the training images' is light.
        enlarge: the data set's own (n, 1, s, s) -> (n, 1, h, w), for data that were enlarged.

    Raises:
        DataError: the file is no picture, or the network reads more than one.
    """
    channels, rows, columns = manner.shape
    if channels not in (1, 3):
        what = f"is one picture, and the network reads {channels} channels, as of several frames"
        raise DataError(path, "", what, "`dltk evaluate` measures it on its data.")
    picture = read_image(path, channels=1 if channels == 1 or manner.inked else 3)  # (c, h, w)
    said = [f"{picture.shape[2]} × {picture.shape[1]} pixels"]
    if not manner.inked:
        if invert == "yes":
            picture = 255 - picture
            said.append("inverted")
        return _resized(picture, channels, rows, columns), [*said, f"middle resized to {columns} × {rows}"]
    grey = picture[0].numpy().astype(np.float64)  # (h, w)
    if invert == "yes" or (invert == "auto" and _ink_is_dark(grey)):
        grey = 255 - grey
        said.append("dark ink on light: inverted" if invert == "auto" else "inverted")
    ink = _stretched(grey)
    if ink is None:
        return torch.zeros(manner.shape, dtype=torch.uint8), [*said, "nothing is drawn on it"]
    said.append("cut to the ink and centred")
    if manner.native is not None and enlarge is not None:
        placed = torch.from_numpy(_placed(ink, manner.native, manner.native, 1.0, manner.by_mass))
        image = enlarge(placed.view(1, 1, manner.native, manner.native), rows)[0]
        said.append(f"{manner.native} × {manner.native}, enlarged like the data")
    else:
        image = torch.from_numpy(_placed(ink, rows, columns, manner.extent, manner.by_mass))[None]
        said.append(f"{columns} × {rows}")
    return image.expand(channels, -1, -1).contiguous(), said


def _resized(picture: Tensor, channels: int, rows: int, columns: int) -> Tensor:
    """The middle of (c, h, w), of the image's proportions, resized."""
    from PIL import ImageOps

    plain = Image.fromarray(picture.permute(1, 2, 0).squeeze(2).numpy())
    fitted = np.array(ImageOps.fit(plain, (columns, rows), Image.Resampling.BILINEAR)).reshape(rows, columns, channels)
    return torch.from_numpy(fitted).permute(2, 0, 1).contiguous()


def _ink_is_dark(grey: np.ndarray) -> bool:
    """Whether the ground, as the border shows it, is lighter than the middle of the range."""
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return bool(np.median(border) > (grey.min() + grey.max()) / 2)


def _stretched(grey: np.ndarray) -> np.ndarray | None:
    """Ground to 0 and ink to 255, paper's shadows gone; None where there is no contrast."""
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    ground, ink = float(np.median(border)), float(np.percentile(grey, 99.9))
    if ink - ground < EMPTY:
        return None
    share = ((grey - ground) / (ink - ground)).clip(0, 1)
    share[share < 0.1] = 0  # grain of the paper
    return share * 255


def _box(grey: np.ndarray) -> tuple[int, int, int, int]:
    """First and last but one row and column of the ink."""
    inked = grey > INK * max(1.0, grey.max())
    rows, columns = np.flatnonzero(inked.any(1)), np.flatnonzero(inked.any(0))
    if not len(rows):
        return 0, grey.shape[0], 0, grey.shape[1]
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _mass(grey: np.ndarray) -> Sequence[float]:
    """Row and column of the ink's centre of mass."""
    total = max(1e-9, float(grey.sum()))
    rows, columns = np.arange(grey.shape[0]) + 0.5, np.arange(grey.shape[1]) + 0.5
    return float(grey.sum(1) @ rows) / total, float(grey.sum(0) @ columns) / total


def _placed(grey: np.ndarray, rows: int, columns: int, extent: float, by_mass: bool) -> np.ndarray:
    """The ink on a black (rows, columns) ground, scaled so that its longer side has the wanted extent; uint8."""
    top, bottom, left, right = _box(grey)
    cut = Image.fromarray(grey[top:bottom, left:right].astype(np.uint8))
    scale = extent * max(rows, columns) / max(cut.width, cut.height)
    width, height = max(1, round(cut.width * scale)), max(1, round(cut.height * scale))
    small = np.asarray(cut.resize((width, height), Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR))
    middle = _mass(small.astype(np.float64)) if by_mass else (height / 2, width / 2)
    ground = np.zeros((rows + 2 * height, columns + 2 * width), np.uint8)  # room for what would stand outside
    y = min(max(0, round(rows / 2 - middle[0]) + height), rows + height)
    x = min(max(0, round(columns / 2 - middle[1]) + width), columns + width)
    ground[y : y + height, x : x + width] = small
    return ground[height : height + rows, width : width + columns].copy()
