"""Short videos made by rule whose class is how a shape moves: to a side, up, down, or turning either way.

One frame tells nothing of it. A shape is anywhere, turned by any angle; what leaves at one edge comes in at the other;
so each frame by itself is drawn alike in all classes. Clip k of a split is a function of (seed, split, k).
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dltk.data.dataset import ArrayDataset
from dltk.data.hashing import mix, uniforms
from dltk.data.splits import SPLITS
from dltk.errors import DataError

# Shapes: n clips, t frames, s rows and columns.

Numbers = NDArray[np.floating[Any]]

# Across, down (in pixels of a frame) and turn (clockwise), as signs.
MOTIONS = {
    "to the right": (1, 0, 0),
    "to the left": (-1, 0, 0),
    "down": (0, 1, 0),
    "up": (0, -1, 0),
    "turning clockwise": (0, 0, 1),
    "turning anticlockwise": (0, 0, -1),
}
SPEED, TURN = (1.0, 2.5), (15.0, 30.0)  # pixels and degrees from one frame to the next
RADIUS = (5.0, 8.0)
NOISE = 0.1  # standard deviation, of a range of light from 0 to 1
DRAWN, CHUNK, LEAST = 9, 256, 16


class MovingShapes(ArrayDataset):
    """One split of clips, in each as many of every motion as of the others, to one.

    A clip is an image whose channels are its frames.

    Args:
        split: train, val or test.
        data_dir: not needed; the clips are made.
        clips: of the training part.
        held_out: of validation, and of the test.
        frames: of a clip.
        image_size: rows and columns.
        noise: standard deviation of what is added to each pixel, black being 0 and white 1.
        seed: of what is random.

    Raises:
        DataError: a part has too few clips for its classes, or a clip nothing to see.
    """

    def __init__(
        self,
        split: str,
        data_dir: str | None = None,
        *,
        clips: int = 3000,
        held_out: int = 600,
        frames: int = 8,
        image_size: int = 24,
        noise: float = NOISE,
        seed: int = 0,
    ) -> None:
        least = {"clips": len(MOTIONS), "held_out": len(MOTIONS), "frames": 1, "image_size": LEAST}
        given = {"clips": clips, "held_out": held_out, "frames": frames, "image_size": image_size}
        for key, value in given.items():
            if value < least[key]:
                raise DataError("", f"data.{key}", f"{value} are too few", f"Set at least {least[key]}.")
        numbers = np.arange(clips if split == "train" else held_out)
        parts = [numbers[start : start + CHUNK] for start in range(0, len(numbers), CHUNK)]
        pixels = np.concatenate([draw(seed, split, part, frames, image_size, noise) for part in parts])
        keys = [f"moving_shapes/{split}/{number:05d}" for number in numbers.tolist()]
        targets = torch.from_numpy(numbers % len(MOTIONS))
        super().__init__(torch.from_numpy(pixels), targets, keys, list(MOTIONS))


def draw(
    seed: int, split: str, numbers: NDArray[np.int64], frames: int, size: int, noise: float = NOISE
) -> NDArray[np.uint8]:
    """Clips of a split by number (n,), each of the motion that is the rest of its number by six; bytes (n, t, s, s)."""
    words = numbers.astype(np.uint64)
    random = uniforms(seed, SPLITS.index(split), words, DRAWN).astype(np.float32)
    x, y, angle, corners, radius, speed, turn, light, ground = random.T[:, :, None, None, None]  # each (n, 1, 1, 1)
    signs = np.array(list(MOTIONS.values()), np.float32)[numbers % len(MOTIONS)]  # (n, 3)
    time = np.arange(frames, dtype=np.float32)[:, None, None]  # (t, 1, 1)
    across, down, turned = (sign * time for sign in signs.T[:, :, None, None, None])  # each (n, t, 1, 1)
    pixels = np.arange(size, dtype=np.float32)
    pace = _between(speed, *SPEED)
    right = _around(pixels - size * x - pace * across, size)  # (n, t, 1, s), from the shape's middle
    below = _around(pixels[:, None] - size * y - pace * down, size)  # (n, t, s, 1)
    angle = 2 * np.pi * angle + np.radians(_between(turn, *TURN)) * turned
    inside = _inside(right, below, angle, corners, _between(radius, *RADIUS))  # (n, t, s, s)
    dark = _between(ground, 0.0, 0.4)
    picture = dark + inside * (_between(light, 0.7, 1.0) - dark)
    grain = [
        np.random.Generator(np.random.Philox(key=int(word))).standard_normal((frames, size, size), np.float32)
        for word in mix(seed, SPLITS.index(split), words)
    ]
    return (255 * (picture + noise * np.stack(grain))).clip(0, 255).round().astype(np.uint8)


def _between(share: Numbers, low: float, high: float) -> Numbers:
    return low + (high - low) * share


def _around(places: Numbers, size: int) -> Numbers:
    """The shortest way, on a ground whose edges meet."""
    return np.mod(places + size / 2, size) - size / 2


def _inside(right: Numbers, below: Numbers, angle: Numbers, corners: Numbers, radius: Numbers) -> Numbers:
    """How much of each pixel a shape covers (n, t, s, s): a bar or a triangle, one half of the clips each."""
    edges = []
    for turn in (0.0, 2 / 3 * np.pi, 4 / 3 * np.pi):
        edges.append(np.cos(angle + turn) * right + np.sin(angle + turn) * below - 0.6 * radius)
    triangle = np.maximum.reduce(edges)
    along, beside = np.cos(angle) * right + np.sin(angle) * below, np.cos(angle) * below - np.sin(angle) * right
    bar = np.maximum(np.abs(along) - radius, np.abs(beside) - 0.3 * radius)
    return np.clip(0.5 - np.where(corners < 0.5, bar, triangle), 0, 1)
