"""Utterances made by rule, which differ in where a formant comes from: it rises, stays, or falls to a vowel's place.

In place of recorded /b, d, g/, which a listener tells apart by such transitions: Waibel, Hanazawa, Hinton, Shikano,
Lang, IEEE Trans. ASSP 37 (1989), section II.A. The vowel, the moment when it begins, loudness and noise are random.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from dltk.data.dataset import ArrayDataset
from dltk.data.splits import SPLITS
from dltk.data.splits import split as divided
from dltk.errors import DataError

COEFFICIENTS, FRAMES = 16, 15
CLASSES = ("rising", "level", "falling")
LENGTH = 5  # frames that a transition takes
SLOPES = (-1.0, 0.0, 1.0)  # coefficients in a frame before the vowel: from below, none, from above
WIDTH = 1.0  # of a formant, in coefficients

# Shapes: n utterances, f coefficients, t frames.


class Transitions(ArrayDataset):
    """One split of utterances, 70/10/20 of each class by key.

    An image has a row for each of 16 coefficients and a column for each of 15 frames, energies from 0 to 255.

    Args:
        split: train, val or test.
        data_dir: not needed; the utterances are made.
        utterances: of each class.
        noise: standard deviation of what is added to each energy, of which a formant's middle has 1.
        onsets: between how many frames and how many the silence before an utterance lasts; with 0 to 8, all transitions
            are whole.
        seed: of what is random.

    Raises:
        DataError: there are too few utterances to split, or a transition would be cut off.
    """

    def __init__(
        self,
        split: str,
        data_dir: str | None = None,
        *,
        utterances: int = 1000,
        noise: float = 0.2,
        onsets: list[float] = [0.0, 8.0],  # noqa: B006 - read only; the signature is the schema
        seed: int = 0,
    ) -> None:
        if utterances < 10:
            raise DataError("", "data.utterances", f"{utterances} are too few to split", "Set at least 10.")
        latest = FRAMES - LENGTH
        if len(onsets) != 2 or not 0 <= onsets[0] <= onsets[1] <= latest:
            what = f"{list(onsets)} are no two moments, one after the other, that leave a transition whole"
            raise DataError("", "data.onsets", what, f"Set two numbers from 0 to {latest}.")
        targets = np.repeat(np.arange(len(CLASSES)), utterances)  # (n,)
        names = [f"transitions/{CLASSES[k]}/{i % utterances:05d}" for i, k in enumerate(targets.tolist())]
        chosen = dict(zip(SPLITS, divided(names, targets), strict=True))[split]
        energies = make_utterances(targets, noise, (onsets[0], onsets[1]), seed)[chosen]  # (n, f, t)
        pixels = ((energies + 1) / 3 * 255).clip(0, 255).round().astype(np.uint8)
        images, keys = torch.from_numpy(pixels)[:, None], [names[i] for i in chosen]  # (n, 1, f, t)
        super().__init__(images, torch.from_numpy(targets[chosen]), keys, CLASSES)


def make_utterances(
    targets: NDArray[np.int64], noise: float, onsets: tuple[float, float], seed: int
) -> NDArray[np.float64]:
    """Classes (n,) to energies (n, f, t), about 0 where nothing sounds and 1 in a formant's middle."""
    random = np.random.Generator(np.random.Philox(seed))
    n = len(targets)
    onset = random.uniform(*onsets, n)[:, None]  # (n, 1), frames until the sound begins
    vowel = random.uniform(6, 9, n)[:, None]  # coefficient at which the formant comes to rest
    loudness = random.uniform(0.7, 1.0, n)[:, None, None]
    times = np.arange(FRAMES) - onset  # (n, t)
    left = np.clip(LENGTH - times, 0, LENGTH)  # frames until the vowel
    middle = vowel + np.array(SLOPES)[targets][:, None] * left  # (n, t)
    places = np.arange(COEFFICIENTS)[:, None]
    energies = np.exp(-0.5 * ((places - middle[:, None]) / WIDTH) ** 2)  # (n, f, t)
    sounding = 1 / (1 + np.exp(-4 * times))[:, None]
    return loudness * energies * sounding + random.normal(0.0, noise, energies.shape)
