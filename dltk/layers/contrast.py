"""Ways to even out the contrast of colour images before a network reads them.

Ciresan, Meier, Masci, Schmidhuber, "Multi-column deep neural network for traffic sign classification", Neural Networks
32 (2012), section 3.1. All but `conorm` change the lightness of the Lab colours and leave the tints as they are.

- `raw`: nothing.
- `imadjust`: lightness is stretched until 1 % of the pixels are darkest, and 1 % lightest.
- `histeq`: lightness becomes its rank among the image's pixels, so that all lightnesses are about equally frequent.
- `adapthisteq`: the same in each of 8 x 8 tiles by itself, with limited contrast; what the tiles make of a lightness is
  interpolated from tile to tile (Zuiderveld, Graphics Gems IV, 1994).
- `conorm`: a difference of two Gaussians over 5 x 5 pixels, by which edges stand out, in dark images as in light ones.

The paper names the functions of MATLAB, but neither the widths of the Gaussians nor how large their difference is:
here standard deviations of 0.5 and 2 pixels, and a root mean square of a half.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Shapes: b images, h rows, w columns; n pixels of an image, t of a tile.

Preprocessing = Literal["raw", "imadjust", "histeq", "adapthisteq", "conorm"]
SATURATED = 0.01  # of the pixels at either end
TILES, LEVELS = 8, 256  # tiles across and down, and steps of lightness of which a tile's frequencies are counted
LIMIT = 0.01  # of a tile's pixels in one step; what is more counts for all steps
WIDTHS, REACH = (0.5, 2.0), 2  # standard deviations of the Gaussians, and where they end, in pixels
FAINT = 1e-3  # differences with a lesser root mean square are nothing to enlarge

# sRGB to XYZ (IEC 61966-2-1), but for a factor for each row. Numbers, no tensor: whoever imports this may be on "meta".
TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))


class Contrast(nn.Module):
    """Evens out the contrast of images in one of the ways above.

    Args:
        preprocessing: which.
    """

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.preprocessing = preprocessing

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Images (b, 3, h, w), 0 to 1, to as many, 0 to 1; of `conorm` -1 to 1, 0 on even ground."""
        if self.preprocessing == "raw":
            return images
        pixels = images.float()
        if self.preprocessing == "conorm":
            return edges(pixels).to(images.dtype)
        change = {"imadjust": stretched, "histeq": ranked, "adapthisteq": ranked_in_tiles}[self.preprocessing]
        lab = lab_of(pixels)
        lab = torch.cat([100 * change(lab[:, 0] / 100)[:, None], lab[:, 1:]], 1)
        return rgb_of(lab).clamp(0, 1).to(images.dtype)


def stretched(lightness: Tensor) -> Tensor:
    """Lightness (b, h, w) so that the darkest hundredth is 0 and the lightest 1; what has no contrast stays."""
    ordered = lightness.flatten(1).sort(1).values  # (b, n)
    count = ordered.shape[1]
    low, high = (ordered[:, round(share * (count - 1)), None, None] for share in (SATURATED, 1 - SATURATED))
    return torch.where(high > low, (lightness - low) / (high - low).clamp_min(1e-6), lightness).clamp(0, 1)


def ranked(lightness: Tensor) -> Tensor:
    """Lightness (b, h, w) to the share of the image's pixels that are not lighter."""
    pixels = lightness.flatten(1)  # (b, n)
    below = torch.searchsorted(pixels.sort(1).values, pixels, right=True)
    return (below / pixels.shape[1]).to(lightness.dtype).view_as(lightness)


def ranked_in_tiles(lightness: Tensor) -> Tensor:
    """Lightness (b, h, w) to what it ranks at in the four nearest tiles, interpolated.

    Raises:
        ValueError: the image cannot be cut into 8 x 8 equal tiles.
    """
    height, width = lightness.shape[1:]
    if height % TILES or width % TILES:
        raise ValueError(f"images of {height} x {width} cannot be cut into {TILES} x {TILES} tiles. Set another size")
    levels = (lightness * (LEVELS - 1)).round().long().clamp(0, LEVELS - 1)  # (b, h, w)
    tiles = levels.unflatten(2, (TILES, -1)).unflatten(1, (TILES, -1)).transpose(2, 3).flatten(3).flatten(1, 2)
    counts = torch.zeros(*tiles.shape[:2], LEVELS, device=lightness.device)  # (b, tiles, levels)
    counts.scatter_add_(2, tiles, torch.ones_like(tiles, dtype=counts.dtype))
    most = max(1.0, LIMIT * tiles.shape[2])
    excess = (counts - most).clamp_min(0).sum(2, keepdim=True)
    ranks = (counts.clamp_max(most) + excess / LEVELS).cumsum(2) / tiles.shape[2]  # (b, tiles, levels)
    total = torch.zeros_like(lightness)
    for rows, row_share in _nearest(height, lightness.device):
        for columns, column_share in _nearest(width, lightness.device):
            places = (rows[:, None] * TILES + columns) * LEVELS + levels  # (b, h, w)
            found = ranks.flatten(1).gather(1, places.flatten(1)).view_as(lightness)
            total = total + row_share[:, None] * column_share * found
    return total


def _nearest(length: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """For each pixel along a side the two tiles whose middles lie around it, and their shares, each (length,)."""
    at = (torch.arange(length, device=device) + 0.5) * TILES / length - 0.5  # in tiles, from the first one's middle
    at = at.clamp(0, TILES - 1)  # beyond the outer middles the outer tiles alone
    low = at.floor().clamp_max(TILES - 2)
    return [(low.long(), 1 - (at - low)), (low.long() + 1, at - low)]


def edges(images: Tensor) -> Tensor:
    """Images (b, c, h, w) less their surroundings: a narrow Gaussian's mean less a wide one's, scaled, -1 to 1."""
    places = torch.arange(-REACH, REACH + 1, device=images.device)
    narrow, wide = (torch.exp(-0.5 * (places / width) ** 2) for width in WIDTHS)
    narrow, wide = (torch.outer(one, one) / one.sum() ** 2 for one in (narrow, wide))
    each = images.flatten(0, 1)[:, None]  # (b c, 1, h, w)
    around = F.pad(each, [REACH] * 4, mode="replicate")
    differences = F.conv2d(around, (narrow - wide)[None, None]).view_as(images)
    size = differences.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(FAINT)
    return (differences / (2 * size)).clamp(-1, 1)


def lab_of(images: Tensor) -> Tensor:
    """Images (b, 3, h, w) of sRGB, 0 to 1, to lightness from 0 to 100 and two tints (CIE 1976)."""
    linear = torch.where(images > 0.04045, ((images + 0.055) / 1.055).clamp_min(0) ** 2.4, images / 12.92)
    x, y, z = _curved(_mixed(_to_xyz(), linear)).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def rgb_of(lab: Tensor) -> Tensor:
    """What `lab_of` makes (b, 3, h, w), back to sRGB; colours that a screen has not lie outside 0 to 1."""
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    curved = torch.stack([y + a / 500, y, y - b / 200], 1)
    xyz = torch.where(curved > 6 / 29, curved**3, (curved - 4 / 29) * 3 * (6 / 29) ** 2)
    linear = _mixed(torch.linalg.inv(_to_xyz()), xyz)
    return torch.where(linear > 0.0031308, 1.055 * linear.clamp_min(1e-9) ** (1 / 2.4) - 0.055, 12.92 * linear)


def _to_xyz() -> Tensor:
    """The matrix (3, 3) that makes white (1, 1, 1)."""
    matrix = torch.tensor(TO_XYZ, device="cpu")
    return matrix / matrix.sum(1, keepdim=True)


def _mixed(matrix: Tensor, images: Tensor) -> Tensor:
    """A matrix (3, 3) times the colour of each pixel (b, 3, h, w)."""
    matrix = matrix.to(images)
    return (matrix[:, :, None, None] * images[:, None]).sum(2)


def _curved(xyz: Tensor) -> Tensor:
    """The cube root, straight near black."""
    return torch.where(xyz > (6 / 29) ** 3, xyz.clamp_min(1e-9) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
