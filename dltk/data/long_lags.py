"""Sequences made by rule whose beginning decides what is right at their end: adding, order, copying, two sequences.

Hochreiter, Schmidhuber, "Long short-term memory", Neural Computation 9 (1997), experiments 4 and 6; copying: Arjovsky,
Shah, Bengio, "Unitary evolution recurrent neural networks", ICML (2016), section 4.1; two sequences: El Hihi, Bengio,
"Hierarchical recurrent neural networks for long-term dependencies", NIPS 8 (1996). Sample k of the training part is a
function of (seed, k), and but for two sequences it never ends: no sequence is met twice, and the position in the data
is one number.
"""

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dltk.data.dataset import fingerprint
from dltk.data.hashing import uniforms
from dltk.data.splits import SPLITS
from dltk.errors import DataError

# Shapes: b sequences, t steps of the longest, x numbers at each step, k answers.

PATTERN = 3  # numbers by which two sequences differ
ENDLESS = 1 << 40  # sequences of the training part; a run has steps, not epochs
Numbers = NDArray[np.int64]
Fractions = NDArray[np.float64]


class _Endless:
    """One split of sequences made by rule. A subclass writes `make`."""

    in_memory = True
    streams = True  # in their own order: all are drawn alike
    index_hash: str
    drawn = 0  # random numbers of a sequence

    def __init__(self, split: str, steps: int, least: int, seed: int, held_out: int) -> None:
        if steps < least:
            raise DataError("", "data.steps", f"{steps} are too few", f"Set at least {least}.")
        if held_out < 1:
            raise DataError("", "data.held_out", f"{held_out} sequences", "Set at least 1.")
        self.split, self.steps, self.seed = SPLITS.index(split), steps, seed
        self.count = ENDLESS if split == "train" else held_out
        settings = {name: value for name, value in vars(self).items() if name != "split"}
        self.index_hash = fingerprint({type(self).__name__: [f"{name}={value}" for name, value in settings.items()]})

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One sequence: `inputs` float32 (t, x), `at` int64 (k,), `target` float32 (k, y) or int64 (k,)."""
        return {name: values[0] for name, values in self.batch(np.array([number])).items()}

    def batch(self, numbers: Numbers) -> dict[str, Tensor]:
        """Many at once, each with b before its shape; shorter ones are filled up behind with zeros."""
        random = uniforms(self.seed, self.split, numbers.astype(np.uint64), self.drawn)  # (b, drawn)
        return {name: torch.from_numpy(values) for name, values in self.make(random).items()}

    def make(self, random: Fractions) -> dict[str, NDArray[Any]]:
        """Random numbers from [0, 1), (b, drawn), to the sequences."""
        raise NotImplementedError


class Adding(_Endless):
    """The adding problem (experiment 4): the sum of two marked numbers, far behind them.

    A sequence has T to T + T/10 pairs. The first of a pair is drawn from [-1, 1]; the second is 1 for one of the first
    ten pairs and for one more of the first T/2 - 1, -1 for the first and the last pair, else 0. The answer at the end
    is 0.5 + (X1 + X2) / 4; where the first pair was to be marked, X1 is 0. A network that always answers 0.5 has a mean
    squared error of 0.039; without those zeros it would be 0.042.

    Args:
        split: train, val or test.
        data_dir: not needed; the sequences are made.
        steps: length of the shortest (T).
        seed: of the sequences; another one is another data set.
        held_out: sequences of validation, and of test.

    Raises:
        DataError: the sequences are too short to be marked.
    """

    def __init__(
        self, split: str, data_dir: str | None = None, *, steps: int = 100, seed: int = 1997, held_out: int = 2560
    ) -> None:
        self.longest = steps + steps // 10
        self.drawn = 3 + self.longest
        super().__init__(split, steps, 24, seed, held_out)

    def make(self, random: Fractions) -> dict[str, NDArray[Any]]:
        """`inputs` (b, t, 2), `at` (b, 1), `target` (b, 1, 1)."""
        rows = np.arange(len(random))
        lengths = self.steps + _whole(random[:, 0], self.steps // 10 + 1)  # (b,)
        first = _whole(random[:, 1], 10)
        second = _whole(random[:, 2], self.steps // 2 - 2)  # of the others: the first is left out
        second += second >= first
        values = 2 * random[:, 3:] - 1  # (b, t)
        marks = np.zeros_like(values)
        marks[rows, first] = marks[rows, second] = 1
        x1, x2 = values[rows, first] * (first > 0), values[rows, second] * (second > 0)
        marks[:, 0] = marks[rows, lengths - 1] = -1
        inputs = np.stack([values, marks], 2)
        inputs[np.arange(self.longest) >= lengths[:, None]] = 0
        target = 0.5 + (x1 + x2) / 4
        return {
            "inputs": inputs.astype(np.float32),
            "at": lengths[:, None] - 1,
            "target": target[:, None, None].astype(np.float32),
        }


class TemporalOrder(_Endless):
    """In which order X and Y came (experiment 6): two of them, four classes, or three of them, eight classes.

    A sequence has T to T + T/10 symbols: E, then a, b, c or d, and B at the end. Each of the two (6a) stands somewhere
    in a tenth of T from T/10 and from T/2; each of the three (6b) from T/10, T/3 and 2T/3.

    Args:
        split: train, val or test.
        data_dir: not needed; the sequences are made.
        steps: length of the shortest (T).
        symbols: how many are X or Y.
        seed: of the sequences; another one is another data set.
        held_out: sequences of validation, and of test.

    Raises:
        DataError: the sequences are too short.
    """

    def __init__(
        self,
        split: str,
        data_dir: str | None = None,
        *,
        steps: int = 100,
        symbols: Literal[2, 3] = 2,
        seed: int = 1997,
        held_out: int = 2560,
    ) -> None:
        self.longest, self.symbols = steps + steps // 10, symbols
        self.drawn = 1 + 2 * symbols + self.longest
        super().__init__(split, steps, 20, seed, held_out)

    def make(self, random: Fractions) -> dict[str, NDArray[Any]]:
        """`inputs` (b, t, 8), one of a, b, c, d, X, Y, E, B; `at` (b, 1), `target` (b, 1)."""
        rows, tenth = np.arange(len(random)), self.steps // 10
        lengths = self.steps + _whole(random[:, 0], tenth + 1)  # (b,)
        found = _whole(random[:, 1 + 2 * self.symbols :], 4)  # (b, t)
        target = np.zeros(len(random), np.int64)
        starts = [tenth, self.steps // 2] if self.symbols == 2 else [tenth, self.steps // 3, 2 * self.steps // 3]
        for at, start in enumerate(starts):
            place = start + _whole(random[:, 1 + 2 * at], tenth)  # (b,)
            which = _whole(random[:, 2 + 2 * at], 2)
            found[rows, place] = 4 + which
            target = 2 * target + which
        found[:, 0], found[rows, lengths - 1] = 6, 7
        inputs = np.eye(8, dtype=np.float32)[found]
        inputs[np.arange(self.longest) >= lengths[:, None]] = 0
        return {"inputs": inputs, "at": lengths[:, None] - 1, "target": target[:, None]}


class Copying(_Endless):
    """Ten symbols of eight, T blanks, a sign, and then the ten again; a sequence has T + 20 steps.

    Args:
        split: train, val or test.
        data_dir: not needed; the sequences are made.
        steps: between the symbols and their copy (T).
        symbols: how many are copied.
        seed: of the sequences; another one is another data set.
        held_out: sequences of validation, and of test.

    Raises:
        DataError: nothing is to be copied.
    """

    def __init__(
        self,
        split: str,
        data_dir: str | None = None,
        *,
        steps: int = 100,
        symbols: int = 10,
        seed: int = 1997,
        held_out: int = 2560,
    ) -> None:
        if symbols < 1:
            raise DataError("", "data.symbols", f"{symbols} to copy", "Set at least 1.")
        self.symbols = self.drawn = symbols
        super().__init__(split, steps, 1, seed, held_out)

    def make(self, random: Fractions) -> dict[str, NDArray[Any]]:
        """`inputs` (b, t, 10), one of eight symbols, the blank, the sign; `at` (b, k), `target` (b, k)."""
        target = _whole(random, 8)  # (b, k)
        length = self.steps + 2 * self.symbols
        found = np.full((len(random), length), 8)
        found[:, : self.symbols] = target
        found[:, self.steps + self.symbols - 1] = 9
        at = np.broadcast_to(np.arange(length - self.symbols, length), target.shape).copy()
        return {"inputs": np.eye(10, dtype=np.float32)[found], "at": at, "target": target}


class TwoSequence(_Endless):
    """Which of two patterns began a sequence: three numbers, and nothing but noise behind them.

    The patterns are drawn from [-1, 1] once, by the seed; noise from [-0.1, 0.1] is in every number. The answer at the
    end is 1 for the one pattern, -1 for the other. As in the paper few sequences are trained on, again and again.

    Args:
        split: train, val or test.
        data_dir: not needed; the sequences are made.
        steps: their length.
        sequences: of the training part.
        seed: of the patterns and sequences; another one is another data set.
        held_out: sequences of validation, and of test.

    Raises:
        DataError: the sequences are too short for a pattern, or there are none.
    """

    drawn = 1

    def __init__(
        self,
        split: str,
        data_dir: str | None = None,
        *,
        steps: int = 100,
        sequences: int = 30,
        seed: int = 1995,
        held_out: int = 500,
    ) -> None:
        if sequences < 1:
            raise DataError("", "data.sequences", f"{sequences} to train on", "Set at least 1.")
        self.sequences, self.drawn = sequences, 1 + steps
        super().__init__(split, steps, PATTERN, seed, held_out)
        if split == "train":
            self.count = sequences
        drawn = uniforms(seed, len(SPLITS), np.zeros(1, np.uint64), 2 * PATTERN)  # of none of the parts
        self.patterns = 2 * drawn.reshape(2, PATTERN) - 1

    def make(self, random: Fractions) -> dict[str, NDArray[Any]]:
        """`inputs` (b, t, 1), `at` (b, 1), `target` (b, 1, 1)."""
        which = _whole(random[:, 0], 2)  # (b,)
        inputs = 0.2 * random[:, 1:] - 0.1  # (b, t)
        inputs[:, :PATTERN] += self.patterns[which]
        target = 1 - 2 * which
        return {
            "inputs": inputs[:, :, None].astype(np.float32),
            "at": np.full((len(random), 1), self.steps - 1),
            "target": target[:, None, None].astype(np.float32),
        }


def _whole(random: Fractions, below: int) -> Numbers:
    """Fractions from [0, 1) to whole numbers below another."""
    return (random * below).astype(np.int64)
