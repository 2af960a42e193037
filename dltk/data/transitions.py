"""Utterances made by rule, which differ in where a formant comes from: it rises, stays, or falls to a vowel's place.

In place of recorded /b, d, g/, which a listener tells apart by such transitions: Waibel, Hanazawa, Hinton, Shikano,
Lang, IEEE Trans. ASSP 37 (1989), section II.A. The vowel, the moment when it begins, loudness and noise are random.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dltk.data.splits import SPLITS, split
from dltk.errors import DataError

COEFFICIENTS, FRAMES = 16, 15
LENGTH = 5  # frames that a transition takes
SLOPES = (-1.0, 0.0, 1.0)  # coefficients in a frame before the vowel: from below, none, from above
WIDTH = 1.0  # of a formant, in coefficients

# Shapes: n utterances, f coefficients, t frames.


class Transitions:
    """One split of utterances, 70/10/20 of each class by key.

    An image has a row for each of 16 coefficients and a column for each of 15 frames, energies from 0 to 255.

    Args:
        split: train, val or test.
        data_dir: not needed; the utterances are made.
        utterances: of each class.
        noise: standard deviation of what is added to each energy, of which a formant's middle has 1.
        shift: frames by which every utterance is late, at most 2 either way.
        seed: of what is random.

    Raises:
        DataError: there are too few utterances to split, or the shift is too large.
    """

    in_memory = True
    classes = ("rising", "level", "falling")

    def __init__(
        self,
        split: str,
        data_dir: str | None = None,
        *,
        utterances: int = 1000,
        noise: float = 0.2,
        shift: int = 0,
        seed: int = 0,
    ) -> None:
        if utterances < 10:
            raise DataError("", "data.utterances", f"{utterances} are too few to split", "Set at least 10.")
        if abs(shift) > 2:
            raise DataError("", "data.shift", f"{shift} frames move a transition out of sight", "Set -2 to 2.")
        targets = np.repeat(np.arange(len(self.classes)), utterances)  # (n,)
        names = [f"transitions/{self.classes[k]}/{i % utterances:05d}" for i, k in enumerate(targets.tolist())]
        chosen = _part(names, targets, split)
        energies = make_utterances(targets, noise, shift, seed)[chosen]  # (n, f, t)
        self.keys = [names[i] for i in chosen]
        self.targets = torch.from_numpy(targets[chosen])  # (n,)
        pixels = ((energies + 1) / 3 * 255).clip(0, 255).round().astype(np.uint8)
        self.images = torch.from_numpy(pixels)[:, None]  # (n, 1, f, t)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> dict[str, Tensor | int]:
        """One sample: `image` uint8 (1, 16, 15), `target` int."""
        return {"image": self.images[number], "target": int(self.targets[number])}

    def batch(self, numbers: NDArray[np.int64]) -> dict[str, Tensor]:
        """Many samples at once: `image` uint8 (b, 1, 16, 15), `target` int64 (b,)."""
        chosen = torch.from_numpy(numbers)
        return {"image": self.images[chosen], "target": self.targets[chosen]}


def make_utterances(targets: NDArray[np.int64], noise: float, shift: int, seed: int) -> NDArray[np.float64]:
    """Classes (n,) to energies (n, f, t), about 0 where nothing sounds and 1 in a formant's middle."""
    random = np.random.Generator(np.random.Philox(seed))
    n = len(targets)
    onset = random.uniform(2, 6, n)[:, None] + shift  # (n, 1), frames until the sound begins
    vowel = random.uniform(6, 9, n)[:, None]  # coefficient at which the formant comes to rest
    loudness = random.uniform(0.7, 1.0, n)[:, None, None]
    times = np.arange(FRAMES) - onset  # (n, t)
    left = np.clip(LENGTH - times, 0, LENGTH)  # frames until the vowel
    middle = vowel + np.array(SLOPES)[targets][:, None] * left  # (n, t)
    places = np.arange(COEFFICIENTS)[:, None]
    energies = np.exp(-0.5 * ((places - middle[:, None]) / WIDTH) ** 2)  # (n, f, t)
    sounding = 1 / (1 + np.exp(-4 * times))[:, None]
    return loudness * energies * sounding + random.normal(0.0, noise, energies.shape)


def _part(names: list[str], targets: NDArray[np.int64], wanted: str) -> NDArray[np.int64]:
    return dict(zip(SPLITS, split(names, targets), strict=True))[wanted]
