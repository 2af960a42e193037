"""Utterances made by rule: each symbol is a pattern of ten numbers that is held for some frames, in noise.

In place of recorded speech, of which it has what makes a transcript hard: how long a sound is held differs, and nothing
says where one ends. No symbol follows itself, for nobody could tell one that is held long from two.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dltk.data.dataset import fingerprint
from dltk.data.splits import SPLITS
from dltk.data.utterances import Frames, together, utterance
from dltk.errors import DataError

SYMBOLS = ("A", "B", "C", "D", "E", "F", "G", "H")
SIZE = 10  # numbers of a frame
HELD = (3, 8)  # frames of a symbol, the least and the most
SPOKEN = (3, 12)  # symbols of an utterance, likewise

# Shapes: n utterances, t frames, x numbers of a frame, u symbols.


class Tones:
    """One split of utterances. Number k is a function of (seed, split, k).

    Args:
        split: train, val or test.
        data_dir: not needed; the utterances are made.
        utterances: of the training part; a tenth as many choose, a fifth as many test.
        noise: standard deviation of what is added to each number; patterns have lengths of about 1.
        seed: of patterns and utterances; another one is another data set.

    Raises:
        DataError: there are too few utterances, or the noise is less than none.
    """

    in_memory = True
    classes = SYMBOLS
    index_hash: str

    def __init__(
        self,
        split: str,
        data_dir: str | None = None,
        *,
        utterances: int = 2000,
        noise: float = 0.3,
        seed: int = 2013,
    ) -> None:
        if utterances < 10:
            raise DataError("", "data.utterances", f"{utterances} are too few to test", "Set at least 10.")
        if noise < 0:
            raise DataError("", "data.noise", f"{noise} is no standard deviation", "Set 0 or more.")
        count = {"train": utterances, "val": utterances // 10, "test": utterances // 5}[split]
        patterns = _random(seed, len(SPLITS), 0).normal(0.0, SIZE**-0.5, (len(SYMBOLS), SIZE))
        self._utterances = [
            make(patterns, _random(seed, SPLITS.index(split), number), noise) for number in range(count)
        ]
        # Batches are cut by frames.
        self.lengths = np.array([[len(one["target"]), one["length"]] for one in self._utterances], np.int32)  # (n, 2)
        said = [f"{name}={value}" for name, value in (("noise", noise), ("seed", seed), ("n", count))]
        self.index_hash = fingerprint({split: said})

    def __len__(self) -> int:
        return len(self._utterances)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One utterance: `frames` float32 (t, 10), `length`, `target` int64 (u,)."""
        return self._utterances[number]

    def batch(self, numbers: NDArray[np.int64]) -> dict[str, Tensor]:
        """Many at once (see dltk.data.utterances)."""
        return together([self._utterances[number] for number in numbers.tolist()])


def make(patterns: NDArray[np.float64], random: np.random.Generator, noise: float) -> dict[str, Any]:
    """Patterns (k, x) to an utterance of them."""
    k, count = len(patterns), random.integers(SPOKEN[0], SPOKEN[1] + 1)
    further = random.integers(1, k, count)  # from the symbol before, round and round
    further[0] = random.integers(k)
    symbols = further.cumsum() % k  # (u,)
    shown = np.repeat(symbols, random.integers(HELD[0], HELD[1] + 1, count))  # (t,)
    noisy = patterns[shown] + random.normal(0.0, noise, (len(shown), patterns.shape[1]))
    frames: Frames = noisy.astype(np.float32)
    return utterance(frames, symbols + 1)


def _random(seed: int, part: int, number: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=(seed << 64) + (part << 48) + number))
