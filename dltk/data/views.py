"""How a picture becomes what a network reads: cut, mirrored and resized, in bytes; floats are made on the device.

A view draws `uniforms` numbers for each sample, a function of (seed, epoch, key), and nothing else is random. Its crop
is chosen in the coordinates of the whole picture; a JPEG from which more than is needed would be decoded is decoded
smaller, and the crop scaled with it.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dltk.data.decode import MAX_PIXELS, Pixels, decode, shape
from dltk.errors import DataError

# Shapes: b samples, c channels, h rows and w columns of a picture, s rows and columns of what the network reads.

Drawn = NDArray[np.float64]  # (uniforms,) numbers from [0, 1)
TRIES = 10  # of RandomResizedCrop, as torchvision has it

# Principal components of the RGB values of ImageNet's training images, as fb.resnet.torch and most who came after print
# them (pixels from 0 to 1); Krizhevsky, Sutskever and Hinton (2012, section 4.1) give the scheme without the numbers.
IMAGENET_VALUES = (0.2175, 0.0188, 0.0045)
IMAGENET_VECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)  # rows red, green, blue; a column is a component


class Frame(NamedTuple):
    """What a network reads of a picture."""

    size: int  # rows and columns (s)
    resize: int  # the shorter side in evaluation
    channels: int = 3
    max_pixels: int = MAX_PIXELS
    background: str = "white"  # what shines through transparent pixels


def require_sides(image_size: int, resize: int) -> None:
    """See that a square of one side can be cut from a picture whose shorter side is the other.

    Raises:
        DataError: it cannot.
    """
    if image_size < 1:
        raise DataError("", "data.image_size", f"{image_size} is no size", "Set at least 1.")
    if resize < image_size:
        raise DataError("", "data.resize", f"{resize} is less than image_size {image_size}", "Set at least that.")


class Box(NamedTuple):
    """A rectangle of a picture, in pixels of the whole one."""

    top: float
    left: float
    height: float
    width: float


class View(Protocol):
    """What the data settings' `augment` may be for pictures that are decoded for each sample.

    Those of evaluations draw no numbers, and may give pictures of other sizes, or several of each.
    """

    uniforms: int

    def cut(self, data: bytes, frame: Frame, drawn: Drawn) -> Tensor | list[Tensor]:
        """A file's bytes to uint8 (c, s, s).

        Raises:
            DataError: the picture is damaged or too large.
        """


class CentreCrop:
    """The shorter side resized, and the middle square of it: how networks are evaluated."""

    uniforms = 0

    def cut(self, data: bytes, frame: Frame, drawn: Drawn) -> Tensor:
        """A file's bytes to uint8 (c, s, s)."""
        height, width = shape(data, frame.max_pixels)
        return taken(data, centre(height, width, frame.size / frame.resize), frame)


class RandomResizedCrop:
    """A part of random area and aspect, resized (Szegedy et al. 2015, section 6); mirrored half of the time.

    Args:
        scale: bounds of the part's share of the area.
        ratio: bounds of its width over its height, even on a logarithmic scale.
        flip: how often it is mirrored.
    """

    uniforms = 4 * TRIES + 1

    def __init__(
        self,
        *,
        scale: list[float] = [0.08, 1.0],  # noqa: B006 - read only; the signature is the schema
        ratio: list[float] = [0.75, 4 / 3],  # noqa: B006
        flip: float = 0.5,
    ) -> None:
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"scale is {list(scale)}, a share of the area. Set two rising numbers up to 1")
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"ratio is {list(ratio)}, width over height. Set two rising numbers above 0")
        self.scale, self.ratio, self.flip = scale, ratio, _share("flip", flip)

    def box(self, height: int, width: int, drawn: Drawn) -> Box:
        """The part of a picture that the numbers (41,) choose."""
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for area, aspect, down, right in drawn[: 4 * TRIES].reshape(TRIES, 4).tolist():
            wanted = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
            ratio = math.exp(low + aspect * (high - low))
            w, h = round(math.sqrt(wanted * ratio)), round(math.sqrt(wanted / ratio))
            if 0 < w <= width and 0 < h <= height:
                return Box(int(down * (height - h + 1)), int(right * (width - w + 1)), h, w)
        w = min(width, round(height * self.ratio[1]))  # no try fitted: the middle, as near to the bounds as it goes
        h = min(height, round(width / self.ratio[0]))
        return Box((height - h) // 2, (width - w) // 2, h, w)

    def cut(self, data: bytes, frame: Frame, drawn: Drawn) -> Tensor:
        """A file's bytes to uint8 (c, s, s)."""
        box = self.box(*shape(data, frame.max_pixels), drawn)
        return taken(data, box, frame, mirrored=drawn[-1] < self.flip)


class Crop2012:
    """The deformed examples of Krizhevsky, Sutskever and Hinton (2012, section 4.1).

    The shorter side is resized to `resize` and its middle square taken; from that a random square, mirrored half of the
    time. Then each picture's colours move along the principal components of ImageNet's, by Gaussian amounts: the shift
    is added on the device (`beside`), where pixels are no bytes.

    Args:
        flip: how often it is mirrored.
        colour: standard deviation of the shift along each component, in units of its eigenvalue; 0 leaves it out.
        components: three rows of eigenvalue, red, green, blue (of pixels from 0 to 1), as `dltk data colours` computes
            them of a set; default: ImageNet's.
    """

    uniforms = 9

    def __init__(self, *, flip: float = 0.5, colour: float = 0.1, components: list[list[float]] | None = None) -> None:
        if colour < 0:
            raise ValueError(f"colour is {colour}, a standard deviation. Set at least 0")
        self.flip, self.colour = _share("flip", flip), colour
        self._values, self._vectors = np.asarray(IMAGENET_VALUES), np.asarray(IMAGENET_VECTORS)  # (3,), (3, 3)
        if components is not None:
            if [len(row) for row in components] != [4, 4, 4]:
                raise ValueError(f"components are {components}. Set three rows of eigenvalue, red, green, blue")
            rows = np.asarray(components)
            self._values, self._vectors = rows[:, 0], rows[:, 1:].T

    def cut(self, data: bytes, frame: Frame, drawn: Drawn) -> Tensor:
        """A file's bytes to uint8 (c, s, s)."""
        height, width = shape(data, frame.max_pixels)
        square = centre(height, width, 1.0)
        unit = square.height / frame.resize  # a pixel of the resized picture, in pixels of the whole one
        free = frame.resize - frame.size + 1
        top, left = square.top + int(drawn[0] * free) * unit, square.left + int(drawn[1] * free) * unit
        side = frame.size * unit
        return taken(data, Box(top, left, side, side), frame, mirrored=drawn[2] < self.flip)

    def beside(self, drawn: NDArray[np.float64]) -> dict[str, Tensor]:
        """`colour` (b, 3): what is added to the red, green and blue (0 to 255) of each picture."""
        return {"colour": _shift(drawn[:, 3:], self.colour * self._values, self._vectors)} if self.colour else {}


class ScaleJitter:
    """A random square of the picture resized to a random scale, mirrored half of the time, its colours shifted.

    Simonyan and Zisserman (2015, section 3.1): the shorter side is drawn from [low, high]; equal bounds train at one.
    Colours move as in `crop2012`, along the components of ImageNet's.

    Args:
        low: least length of the shorter side.
        high: greatest.
        flip: how often it is mirrored.
        colour: standard deviation of the shift along each component, in units of its eigenvalue; 0 leaves it out.
    """

    uniforms = 10

    def __init__(self, *, low: int = 256, high: int = 512, flip: float = 0.5, colour: float = 0.1) -> None:
        if not 0 < low <= high:
            raise ValueError(f"low is {low} and high {high}. Set two rising sizes")
        if colour < 0:
            raise ValueError(f"colour is {colour}, a standard deviation. Set at least 0")
        self.low, self.high, self.flip, self.colour = low, high, _share("flip", flip), colour

    def cut(self, data: bytes, frame: Frame, drawn: Drawn) -> Tensor:
        """A file's bytes to uint8 (c, s, s)."""
        height, width = shape(data, frame.max_pixels)
        shorter = max(frame.size, self.low + int(drawn[0] * (self.high - self.low + 1)))
        unit = min(height, width) / shorter
        side = frame.size * unit
        top = int(drawn[1] * (round(height / unit) - frame.size + 1)) * unit
        left = int(drawn[2] * (round(width / unit) - frame.size + 1)) * unit
        box = Box(min(top, height - side), min(left, width - side), side, side)
        return taken(data, box, frame, mirrored=drawn[3] < self.flip)

    def beside(self, drawn: NDArray[np.float64]) -> dict[str, Tensor]:
        """`colour` (b, 3): what is added to the red, green and blue (0 to 255) of each picture."""
        if not self.colour:
            return {}
        values = self.colour * np.asarray(IMAGENET_VALUES)  # (3,)
        return {"colour": _shift(drawn[:, 4:], values, np.asarray(IMAGENET_VECTORS))}


def _shift(drawn: NDArray[np.float64], deviations: NDArray[np.float64], vectors: NDArray[np.float64]) -> Tensor:
    """Even numbers (b, 6) to shifts of red, green and blue (b, 3), Gaussian along the components (columns)."""
    # Box and Muller: two even numbers make a Gaussian one.
    amounts = np.sqrt(-2 * np.log1p(-drawn[:, :3])) * np.cos(2 * np.pi * drawn[:, 3:6])  # (b, 3)
    return torch.from_numpy(255 * (amounts * deviations) @ vectors.T).float()


def centre(height: int, width: int, share: float) -> Box:
    """The middle square of a picture, its side a share of the shorter one."""
    side = min(height, width) * share
    return Box((height - side) / 2, (width - side) / 2, side, side)


def taken(data: bytes, box: Box, frame: Frame, mirrored: bool = False) -> Tensor:
    """A box of a picture, resized to uint8 (c, s, s).

    Raises:
        DataError: the picture is damaged or too large.
    """
    height, width = shape(data, frame.max_pixels)
    # Decoded as small as leaves the box no fewer pixels than are wanted, or else no further than its lower edge.
    needed = math.ceil(height * frame.size / box.height), math.ceil(width * frame.size / box.width)
    smaller = needed[0] * 2 <= height and needed[1] * 2 <= width
    pixels = decode(
        data,
        channels=frame.channels,
        at_least=needed if smaller else None,
        rows=None if smaller else min(height, sum(_whole(box.top, box.height))),
        max_pixels=frame.max_pixels,
        background=frame.background,
    )
    # Of eighths, as JPEGs are decoded; the last row and column may stand for less than a whole one.
    scale = min(8, 8 * pixels.shape[0] // height) / 8 if smaller else 1.0
    (top, rows), (left, columns) = (
        _whole(box.top * scale, box.height * scale),
        _whole(box.left * scale, box.width * scale),
    )
    top, left = min(top, pixels.shape[0] - rows), min(left, pixels.shape[1] - columns)
    return resized(pixels[top : top + rows, left : left + columns], frame.size, frame.size, mirrored)


def _whole(start: float, length: float) -> tuple[int, int]:
    """Where a side of a box begins, and its length, in whole pixels; a square stays one."""
    return round(start), max(1, round(length))


def resized(pixels: Pixels, height: int, width: int, mirrored: bool = False) -> Tensor:
    """Pixels (h, w, c) to uint8 (c, height, width), bilinear with antialiasing; they lie in memory as they came."""
    # Batch first and then the channels to their place: so torch sees that they lie side by side, and need not sort them
    # apart and together again, which takes as long as the resizing does.
    image = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)  # (1, c, h, w)
    if image.shape[2:] != (height, width):
        image = functional.interpolate(image, (height, width), mode="bilinear", antialias=True)
    return (image.flip(3) if mirrored else image)[0]


class Middle:
    """The middle square of a picture whose shorter side is resized to other than the data's sizes, in evaluation.

    Args:
        size: rows and columns of the square.
        resize: length of the shorter side.
    """

    uniforms = 0

    def __init__(self, size: int, resize: int) -> None:
        assert size <= resize, f"a square of {size} in {resize}"
        self.size, self.resize = size, resize

    def cut(self, data: bytes, frame: Frame, drawn: Drawn) -> Tensor:
        """A file's bytes to uint8 (c, size, size)."""
        return CentreCrop().cut(data, frame._replace(size=self.size, resize=self.resize), drawn)

    @property
    def pixels(self) -> int:
        """How many pixels are read of a picture."""
        return self.size**2


class Whole:
    """Whole pictures, resized to one or several scales, in evaluation.

    Args:
        scales: lengths of the shorter side.
    """

    uniforms = 0

    def __init__(self, scales: Sequence[int]) -> None:
        self.scales = tuple(scales)

    def cut(self, data: bytes, frame: Frame, drawn: Drawn) -> list[Tensor]:
        """A file's bytes to one uint8 (c, h, w) for each scale."""
        return [
            rescaled(data, scale, channels=frame.channels, max_pixels=frame.max_pixels, background=frame.background)
            for scale in self.scales
        ]

    @property
    def pixels(self) -> int:
        """How many pixels are read of a picture of 4 by 3."""
        return sum(scale**2 * 4 // 3 for scale in self.scales)


def rescaled(
    data: bytes, shorter: int, *, channels: int = 3, max_pixels: int = MAX_PIXELS, background: str = "white"
) -> Tensor:
    """A whole picture, its shorter side resized, as uint8 (c, h, w)."""
    height, width = shape(data, max_pixels)
    unit = shorter / min(height, width)
    size = round(height * unit), round(width * unit)
    at_least = size if size[0] * 2 <= height and size[1] * 2 <= width else None
    pixels = decode(data, channels=channels, at_least=at_least, max_pixels=max_pixels, background=background)
    return resized(pixels, *size)


def ten_crops(images: Tensor, size: int) -> Tensor:
    """The four corners and the middle of images (b, c, h, w), and their mirror images: (b, 10, c, size, size).

    Krizhevsky, Sutskever and Hinton (2012, section 4.1).
    """
    height, width = images.shape[2:]
    assert min(height, width) >= size, f"images of {height} × {width} have no crop of {size}"
    down, right = height - size, width - size
    corners = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    crops = torch.stack([images[:, :, y : y + size, x : x + size] for y, x in corners], dim=1)  # (b, 5, c, s, s)
    return torch.cat([crops, crops.flip(4)], dim=1)


def colour_components(images: Iterable[Pixels]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues (3,), falling, and eigenvectors (3, 3) of the RGB values (0 to 1) of pictures (h, w, 3)."""
    count, total, products = 0, np.zeros(3), np.zeros((3, 3))
    for image in images:
        values = image.reshape(-1, 3).astype(np.float64) / 255  # (pixels, 3)
        count, total, products = count + len(values), total + values.sum(0), products + values.T @ values
    mean = total / count
    values, vectors = np.linalg.eigh(products / count - np.outer(mean, mean))
    return values[::-1], vectors[:, ::-1]


def _share(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}, a probability. Set it between 0 and 1")
    return value
