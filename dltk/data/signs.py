"""Traffic signs made by rule: ten kinds, seen from the side, out of focus, in the dark and through fog.

In place of photographs of signs, on which Ciresan, Meier, Masci and Schmidhuber (Neural Networks 32, 2012) trained
columns that look at differently prepared images. Sample k of a split is a function of (seed, split, k).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dltk.data.dataset import ArrayDataset
from dltk.data.hashing import mix, uniforms
from dltk.data.splits import SPLITS
from dltk.errors import DataError

# Shapes: n signs, s rows and columns of an image.

Numbers = NDArray[np.floating[Any]]
Distance = Callable[[Numbers, Numbers], Numbers]  # of places x, y (n, s, s) from an edge, below 0 inside

SIZE = 48  # rows and columns
CHUNK = 256  # signs that are drawn together
DRAWN = 22  # random numbers of a sign, but for its noise
RED, BLUE, WHITE, BLACK = (0.75, 0.05, 0.08), (0.05, 0.2, 0.65), (0.9, 0.9, 0.88), (0.06, 0.06, 0.07)


def _circle(x: Numbers, y: Numbers) -> Numbers:
    return np.hypot(x, y) - 1


def _within(*normals: tuple[float, float]) -> Distance:
    """The inside of straight edges at distance 1, by the angle's cosine and sine of each."""

    def distance(x: Numbers, y: Numbers) -> Numbers:
        return np.maximum.reduce([across * x + down * y - 1 for across, down in normals])

    return distance


def _turned(degrees: float, count: int) -> list[tuple[float, float]]:
    angles = np.radians(degrees + 360 / count * np.arange(count))
    return [(float(np.cos(angle)), float(np.sin(angle))) for angle in angles]


_octagon = _within(*_turned(0, 8))


def _triangle(x: Numbers, y: Numbers) -> Numbers:
    return _within(*_turned(90, 3))(x / 0.62, (y - 0.25) / 0.62) * 0.62


def _turned_triangle(x: Numbers, y: Numbers) -> Numbers:
    return _triangle(x, -y)


def _box(left: float, top: float, right: float, bottom: float) -> Distance:
    def distance(x: Numbers, y: Numbers) -> Numbers:
        return np.maximum.reduce([left - x, x - right, top - y, y - bottom])

    return distance


def _leaning(slope: float) -> Distance:
    return lambda x, y: _box(-0.55, -0.13, 0.55, 0.13)((x + slope * y) / 2**0.5, (y - slope * x) / 2**0.5)


def _upwards(x: Numbers, y: Numbers) -> Numbers:
    """An arrow: a shaft, and a head of three edges."""
    head = np.maximum.reduce([y + 0.1, (np.abs(x) - y - 0.6) / 2**0.5])
    return np.minimum(_box(-0.12, -0.2, 0.12, 0.6)(x, y), head)


def _dot(x: Numbers, y: Numbers) -> Numbers:
    return np.hypot(x, y - 0.2) - 0.2


def _nothing(x: Numbers, y: Numbers) -> Numbers:
    return np.ones_like(x)


_bar = _box(-0.55, -0.14, 0.55, 0.14)
# Name, shape, colours of rim, field and mark, and the mark.
KINDS: tuple[tuple[str, Distance, tuple[tuple[float, ...], ...], Distance], ...] = (
    ("stop", _octagon, (WHITE, RED, WHITE), _bar),
    ("red circle, bar", _circle, (RED, WHITE, BLACK), _bar),
    ("red circle, rising stroke", _circle, (RED, WHITE, BLACK), _leaning(-1)),
    ("red circle, falling stroke", _circle, (RED, WHITE, BLACK), _leaning(1)),
    ("blue circle, arrow ahead", _circle, (BLUE, BLUE, WHITE), _upwards),
    ("blue circle, arrow to the left", _circle, (BLUE, BLUE, WHITE), lambda x, y: _upwards(y, x)),
    ("blue circle, arrow to the right", _circle, (BLUE, BLUE, WHITE), lambda x, y: _upwards(y, -x)),
    ("triangle, upright bar", _triangle, (RED, WHITE, BLACK), _box(-0.1, -0.3, 0.1, 0.4)),
    ("triangle, dot", _triangle, (RED, WHITE, BLACK), _dot),
    ("triangle upside down", _turned_triangle, (RED, WHITE, BLACK), _nothing),
)


class DrawnSigns(ArrayDataset):
    """One split of signs, in each as many of every kind as of the others, to one.

    Args:
        split: train, val or test.
        data_dir: not needed; the signs are made.
        signs: of the training part.
        held_out: of validation, and of the test.
        seed: of what is random.

    Raises:
        DataError: there are not ten signs in each part.
    """

    def __init__(
        self, split: str, data_dir: str | None = None, *, signs: int = 2000, held_out: int = 1000, seed: int = 0
    ) -> None:
        for key, count in (("signs", signs), ("held_out", held_out)):
            if count < len(KINDS):
                what = f"{count} are not one of each of {len(KINDS)} kinds"
                raise DataError("", f"data.{key}", what, f"Set at least {len(KINDS)}.")
        numbers = np.arange(signs if split == "train" else held_out)
        pixels = np.concatenate(
            [draw(seed, split, numbers[start : start + CHUNK]) for start in range(0, len(numbers), CHUNK)]
        )
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2)  # (n, 3, s, s)
        keys = [f"signs/{split}/{number:05d}" for number in numbers.tolist()]
        super().__init__(images, torch.from_numpy(numbers % len(KINDS)), keys, [name for name, *_ in KINDS])


def draw(seed: int, split: str, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Signs of a split by number (n,), each of the kind that is the rest of its number by ten; bytes (n, s, s, 3)."""
    words = numbers.astype(np.uint64)
    random = uniforms(seed, SPLITS.index(split), words, DRAWN).astype(np.float32)
    take = iter(random.T[:, :, None, None])  # each (n, 1, 1)
    between = lambda low, high: low + (high - low) * next(take)  # noqa: E731 - the next random number
    x, y = _places(between)
    softness = between(0.02, 0.12)  # of edges, as a share of the sign's radius: focus
    picture = _scene(between)
    for kind in np.unique(numbers % len(KINDS)):
        chosen = numbers % len(KINDS) == kind
        _, shape, colours, mark = KINDS[kind]
        at = (x[chosen], y[chosen])
        edges = (shape(*at), shape(*at) + 0.2, np.maximum(mark(*at), shape(*at) + 0.2))
        for edge, colour in zip(edges, colours, strict=True):
            share = (1 / (1 + np.exp(np.clip(edge / softness[chosen], -30, 30))))[..., None]
            picture[chosen] += share * (np.array(colour, np.float32) - picture[chosen])
    picture = _lit(picture, between)
    grain = [
        np.random.Generator(np.random.Philox(key=int(word))).standard_normal((SIZE, SIZE, 3), np.float32)
        for word in mix(seed, SPLITS.index(split), words)
    ]
    picture += between(0.01, 0.1)[..., None] * np.stack(grain)
    return (255 * picture).clip(0, 255).round().astype(np.uint8)


def _places(between: Callable[[float, float], Numbers]) -> tuple[Numbers, Numbers]:
    """Where each pixel lies as seen from the sign's middle, its radius 1: x to the right and y down, (n, s, s)."""
    pixels = np.arange(SIZE, dtype=np.float32) + 0.5 - SIZE / 2
    across = pixels[None, None, :] - between(-3, 3)
    down = pixels[None, :, None] - between(-3, 3)
    angle, radius = np.radians(between(-10, 10)), between(13, 20)
    cos, sin = np.cos(angle), np.sin(angle)
    x, y = cos * across + sin * down, cos * down - sin * across
    return x / (radius * between(0.75, 1.0)), y / radius  # narrower when seen from the side


def _scene(between: Callable[[float, float], Numbers]) -> Numbers:
    """What lies behind: waves from one colour to another, (n, s, s, 3)."""
    pixels = np.arange(SIZE, dtype=np.float32) / SIZE
    across, down, phase = between(-12, 12), between(-12, 12), between(0, 6.3)
    wave = 0.5 + 0.5 * np.sin(across * pixels[None, None, :] + down * pixels[None, :, None] + phase)
    one, other = (np.concatenate([between(0, 0.9) for _ in range(3)], axis=2) for _ in range(2))  # (n, 1, 3)
    return one[:, :, None] + wave[..., None] * (other - one)[:, :, None]


def _lit(picture: Numbers, between: Callable[[float, float], Numbers]) -> Numbers:
    """The scene in its light: bright or dark, clear or through fog, one side in shade, of a tint."""
    light, fog, shade, tint = between(0.08, 1.0), between(0.0, 0.7), between(-0.5, 0.5), between(-0.15, 0.15)
    pixels = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE - 0.5
    falling = light * (1 + shade * pixels[None, None, :])  # (n, 1, s)
    hazy = (1 - fog[..., None]) * picture + 0.7 * fog[..., None]
    colours = np.concatenate([1 + tint, np.ones_like(tint), 1 - tint], axis=2)[:, :, None]  # (n, 1, 1, 3)
    return falling[..., None] * hazy * colours
