"""Two arches, one above the other, that no straight line tells apart: the red and the blue line of figure 1a.

LeCun, Bengio, Hinton, "Deep learning", Nature 521 (2015), figure 1a, after C. Olah. Made by rule; nothing is read.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dltk.data.splits import SPLITS, split
from dltk.errors import DataError

# Shapes: n points.


class Curves:
    """One split of points along two curves, 70/10/20 of each by key.

    An image has one row of two numbers, x and y in [-1, 1], kept from 0 to 255 like pixels but not rounded:
    `task: {mean: [0.5], std: [0.5]}` gives x and y back.

    Args:
        split: train, val or test.
        data_dir: not needed; the points are made.
        points: points on each curve.
        noise: how far points stray from their curve (standard deviation).
        seed: of the noise.

    Raises:
        DataError: there are too few points to split.
    """

    in_memory = True
    classes = ("upper", "lower")

    def __init__(
        self, split: str, data_dir: str | None = None, *, points: int = 500, noise: float = 0.0, seed: int = 0
    ) -> None:
        if points < 10:
            raise DataError("", "data.points", f"{points} are too few to split", "Set at least 10.")
        places, targets = make_points(points, noise, seed)
        names = [f"curves/{self.classes[target]}/{i % points:05d}" for i, target in enumerate(targets.tolist())]
        chosen = _part(names, targets, split)
        self.keys = [names[i] for i in chosen]
        self.targets = torch.from_numpy(targets[chosen])  # (n,)
        scaled = (places[chosen] + 1) * 127.5  # (n, 2)
        self.images = torch.from_numpy(scaled).float().view(-1, 1, 1, 2)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> dict[str, Tensor | int]:
        """One sample: `image` float32 (1, 1, 2) from 0 to 255, `target` int."""
        return {"image": self.images[number], "target": int(self.targets[number])}

    def batch(self, numbers: NDArray[np.int64]) -> dict[str, Tensor]:
        """Many samples at once: `image` float32 (b, 1, 1, 2), `target` int64 (b,)."""
        chosen = torch.from_numpy(numbers)
        return {"image": self.images[chosen], "target": self.targets[chosen]}


def make_points(points: int, noise: float, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points (2 · points, 2) in [-1, 1]² and their curves (2 · points,): 0 the upper arch, 1 the lower."""
    x = np.linspace(-0.9, 0.9, points)
    # The lower curve's crest lies above the upper one's feet, so any straight line cuts both.
    upper = np.stack([x, 0.55 * np.cos(np.pi * x) + 0.28], 1)
    lower = np.stack([x, 0.55 * np.cos(np.pi * x) - 0.28], 1)
    places = np.concatenate([upper, lower])
    stray = np.random.Generator(np.random.Philox(seed)).normal(0.0, 1.0, places.shape)
    return (places + noise * stray).clip(-1, 1), np.repeat([0, 1], points)


def _part(names: list[str], targets: NDArray[np.int64], wanted: str) -> NDArray[np.int64]:
    return dict(zip(SPLITS, split(names, targets), strict=True))[wanted]
