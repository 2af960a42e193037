"""Elastic distortions: each pixel of a training image moves its own way, and neighbours move alike.

Simard, Steinkraus, Platt, "Best practices for convolutional neural networks applied to visual document analysis", ICDAR
(2003), section 2. Each pixel's displacement, across and down, is drawn from U(-1, 1), smoothed by a Gaussian and
multiplied by a factor; for 29 x 29 pixels they advise a standard deviation of 4 pixels and a factor of 34.

The smoothed field is not brought to a norm of its own, so that the displacements' root mean square follows from the
two: factor / (standard deviation x sqrt(12 pi)), 1.38 pixels with theirs. The field goes on at the opposite side, so
that it is as large at the border as in the middle.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dltk.data.transforms import Affine, affine_places, resampled

REACH = 4  # standard deviations after which the Gaussian ends

# Shapes: b images, c channels, h rows, w columns.


class Elastic(Affine):
    """Moves each pixel by its own amount, after an affine change of the whole image.

    Args:
        alpha: factor of the displacements, in pixels.
        sigma: standard deviation of the Gaussian that makes neighbours alike, in pixels.
        degrees: as of `affine`; so are the others.
        translate: likewise.
        scale: likewise.
        shear: likewise.
        fill: likewise.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        alpha: float = 34.0,
        sigma: float = 4.0,
        degrees: float = 0.0,
        translate: float = 0.0,
        scale: float = 0.0,
        shear: float = 0.0,
        fill: int = 0,
    ) -> None:
        super().__init__(degrees=degrees, translate=translate, scale=scale, shear=shear, fill=fill)
        if alpha < 0:
            raise ValueError(f"alpha is {alpha}; it must be 0 or more pixels")
        if sigma <= 0:
            raise ValueError(f"sigma is {sigma}; it must be more than 0 pixels")
        self.alpha, self.sigma = alpha, sigma

    def draws(self, height: int, width: int) -> int:
        """Numbers drawn for each image of that size."""
        return super().draws(height, width) + 2 * height * width

    def apply(self, images: Tensor, parameters: NDArray[np.float64]) -> Tensor:
        """Images (b, c, h, w) uint8, resampled as their numbers (b, 5 + 2 h w) say, from 0 to 1; uint8."""
        height, width = images.shape[2:]
        whole = super().draws(height, width)
        field = torch.from_numpy(2 * parameters[:, whole:] - 1).float().view(len(images), 2, height, width)
        places = affine_places(super().parameters(parameters[:, :whole]), height, width)  # (b, 2, h, w)
        return resampled(images, places + self.displacements(field) * (2 / max(height, width)), self.fill)

    def parameters(self, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        """What is drawn, as it is."""
        return drawn

    def displacements(self, field: Tensor) -> Tensor:
        """Numbers from -1 to 1, across and down (b, 2, h, w), to displacements in pixels (b, 2, h, w)."""
        return self.alpha * _smoothed(_smoothed(field, 2, self.sigma), 3, self.sigma)


def _smoothed(field: Tensor, axis: int, sigma: float) -> Tensor:
    """Convolve with a Gaussian whose values have a sum of 1, along one axis and around it.

    By sums of shifted fields: a matrix product may round differently in batches of another size.
    """
    reach = math.ceil(REACH * sigma)
    weights = [math.exp(-0.5 * (at / sigma) ** 2) for at in range(-reach, reach + 1)]
    period = field.shape[axis]
    around = [0.0] * period  # a Gaussian that is wider than the image meets itself
    for at, weight in zip(range(-reach, reach + 1), weights, strict=True):
        around[at % period] += weight / sum(weights)
    smoothed = torch.zeros_like(field)
    for shift, weight in enumerate(around):
        if weight:
            smoothed += weight * field.roll(shift, axis)
    return smoothed
