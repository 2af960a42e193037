"""Random changes of training images, drawn from (seed, epoch, key): the same on any number of ranks and workers."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dltk.data.hashing import Words, mix, uniforms

# Shapes: b images, c channels, h rows, w columns.

Transform = Any  # an Affine, or any callable (image uint8 (c, h, w), numpy Generator) -> image


class Affine:
    """Turns, shifts, scales and shears each image by its own random amounts, with bilinear interpolation.

    Args:
        degrees: bound of the turn, either way.
        translate: bound of the shift, as a fraction of the image's width and height.
        scale: bound of the change of size: 0.1 gives factors from 1/1.1 to 1.1, even on a logarithmic scale.
        shear: bound of the shear along the rows, in degrees.
        fill: grey level of what comes in from outside, 0 to 255.
    """

    def __init__(
        self,
        *,
        degrees: float = 10.0,
        translate: float = 0.06,
        scale: float = 0.1,
        shear: float = 10.0,
        fill: int = 0,
    ) -> None:
        for name, value in (("degrees", degrees), ("translate", translate), ("scale", scale), ("shear", shear)):
            if value < 0:
                raise ValueError(f"{name} is a bound, and {value} is negative")
        if shear >= 90:
            raise ValueError(f"shear is {shear} degrees; it must be below 90")
        if not 0 <= fill <= 255:
            raise ValueError(f"fill is {fill}; a grey level is 0 to 255")
        self.degrees, self.translate, self.scale, self.shear, self.fill = degrees, translate, scale, shear, fill

    def draws(self, height: int, width: int) -> int:
        """Numbers drawn for each image of that size."""
        return 5

    def parameters(self, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        """Matrices (b, 2, 3) from uniform numbers (b, 5): output to input coordinates, the image spanning -1 to 1."""
        turn, across, down, size, slant = (2 * drawn - 1).T  # each (b,), -1 to 1
        angle = np.radians(self.degrees) * turn
        factor = np.exp(-math.log1p(self.scale) * size)  # inverse: a smaller step in the input enlarges
        shear = np.tan(np.radians(self.shear) * slant)
        cos, sin = np.cos(angle) * factor, np.sin(angle) * factor
        # Turn and size times [[1, shear], [0, 1]].
        rows = [
            [cos, cos * shear - sin, 2 * self.translate * across],
            [sin, sin * shear + cos, 2 * self.translate * down],
        ]
        return np.stack([np.stack(row, axis=-1) for row in rows], axis=1)

    def apply(self, images: Tensor, parameters: NDArray[np.float64]) -> Tensor:
        """Images (b, c, h, w) uint8, each resampled by its matrix (2, 3); uint8."""
        return resampled(images, affine_places(parameters, *images.shape[2:]), self.fill)


def affine_places(matrices: NDArray[np.float64], height: int, width: int) -> Tensor:
    """Matrices (b, 2, 3) to where each pixel is read, x and y (b, 2, h, w), the image's longer side from -1 to 1."""
    longer = max(height, width)
    # Pixel centres; a turn must not squash an image that isn't square.
    x = (2 * torch.arange(width) + 1 - width) / longer  # (w,)
    y = (2 * torch.arange(height) + 1 - height) / longer  # (h,)
    matrix = torch.from_numpy(matrices).float()[:, :, :, None, None]  # (b, 2, 3, 1, 1)
    # Not affine_grid: its matrix product may round differently in batches of another size.
    return matrix[:, :, 0] * x + matrix[:, :, 1] * y[:, None] + matrix[:, :, 2]


def resampled(images: Tensor, places: Tensor, fill: int) -> Tensor:
    """Images (b, c, h, w) uint8, read at places (b, 2, h, w) with bilinear interpolation; uint8.

    Args:
        images: the images.
        places: as `affine_places` gives them.
        fill: grey level outside of them.
    """
    assert images.dtype == torch.uint8, f"the images are {images.dtype}, not uint8"
    height, width = images.shape[2:]
    longer = max(height, width)
    grid = places.permute(0, 2, 3, 1) * torch.tensor([longer / width, longer / height])
    # Zeros come in from outside, so the background is made zero meanwhile.
    moved = functional.grid_sample(
        images.float() - fill, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return (moved + fill).round_().clamp_(0, 255).to(torch.uint8)


def augmented(transform: Transform, images: Tensor, hashes: Words, seed: int, epoch: int) -> Tensor:
    """Images (b, c, h, w), each changed by `transform` as (seed, epoch, the hash of its key (b,)) say."""
    if hasattr(transform, "draws"):
        drawn = uniforms(seed, epoch, hashes, transform.draws(*images.shape[2:]))
        return transform.apply(images, transform.parameters(drawn))
    return torch.stack(
        [_one(transform, image, int(word)) for image, word in zip(images, mix(seed, epoch, hashes), strict=True)]
    )


def _one(transform: Callable[..., Any], image: Tensor, word: int) -> Tensor:
    return torch.as_tensor(transform(image, np.random.Generator(np.random.Philox(key=word))))
