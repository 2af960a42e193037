"""Text that goes on: the next token follows from all before, as language models read it.

Sets are those of `dltk.data.texts`. A line is a sentence, and its end a token.

The training part is cut into lanes of equal length that are read beside each other: sample k of a lane is the window
behind sample k - 1, so that a network's state after one is its state before the next (truncated back-propagation
through time). A global batch holds one window of each lane. Validation and test are windows too, and each is read from
a few tokens before it, from a new state; so every token but the first counts once, whatever reads it and in whatever
order. With `burn_in`, windows of training are read so too.
"""

# Shapes: b windows, t tokens of a window, c tokens read before it, l lanes, n tokens of a part or of a lane.

import functools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dltk.data.dataset import fingerprint
from dltk.data.sentences import require_size
from dltk.data.texts import Text, contents_of
from dltk.data.vocabulary import Kind, learn
from dltk.errors import DataError
from dltk.layers.tokens import EOS, PAD, UNK


class RunningText:
    """One split of a text.

    Args:
        split: train, val or test.
        data_dir: where data lie on this machine.
        folder: the set's folder there.
        tokens: what the text is cut into: `words` and marks, sentencepiece's `bpe` or `unigram`, `characters`,
            `spaced`, what stands between spaces, or `bytes`.
        vocab_size: different tokens at most; the most frequent ones of the training part.
        lanes: read beside each other in training; as many as a global batch has samples.
        unroll: tokens of a window (t).
        context: tokens that are read before a window of validation and test.
        burn_in: tokens that are read before a window of training too, which then begins from a new state; null: its
            state is the one after the window before.

    Raises:
        DataError: a file is missing, no UTF-8, or too short to be cut so.
    """

    in_memory = True
    streams = True  # lane by lane, as the text goes on

    def __init__(
        self,
        split: str,
        data_dir: str | None = None,
        *,
        folder: str,
        tokens: Kind = "words",
        vocab_size: int = 10_000,
        lanes: int = 32,
        unroll: int = 32,
        context: int = 32,
        burn_in: int | None = None,
    ) -> None:
        require_size("vocab_size", vocab_size)
        sizes = (("lanes", lanes, 1), ("unroll", unroll, 1), ("context", context, 0), ("burn_in", burn_in or 0, 0))
        for key, value, least in sizes:
            if value < least:
                raise DataError("", f"data.{key}", f"{value} is less than {least}", f"Set at least {least}.")
        text = Text(split, data_dir, folder)
        self._place = text.place
        self.split, self.unroll = split, unroll
        self._carried = split == "train" and burn_in is None
        self.before = context if split != "train" else burn_in or 0  # tokens that are read before a window
        self.vocabulary = text.vocabulary(f"{tokens}-{vocab_size}", lambda lines: learn(tokens, lines, vocab_size))
        self.numbers = text.encoded(self.vocabulary)  # (n,)
        self.lanes = lanes if split == "train" else 1
        self._windows, self.left_out = self._cut(text.path)
        about = [text.sha256, self.vocabulary.hash, *map(str, (lanes, unroll, context))]
        about += [] if burn_in is None else [f"burn_in={burn_in}"]
        self.index_hash = fingerprint({split: about})

    def _cut(self, path: Path) -> tuple[int, int]:
        """Windows, and the tokens at the end that fill none in each lane."""
        targets = len(self.numbers) - 1  # the first token has none before it
        if self.split != "train":
            if targets < 1:
                raise DataError(path, "", f"holds {len(self.numbers)} tokens", "Give it at least two.")
            return -(-targets // self.unroll), 0
        windows = targets // (self.unroll * self.lanes) * self.lanes
        if windows == 0:
            what = f"{len(self.numbers)} tokens fill no window of {self.unroll} in each of {self.lanes} lanes"
            raise DataError(path, "", what, "Lower data.unroll or data.lanes, or give it more text.")
        return windows, targets - windows * self.unroll

    @property
    def remarks(self) -> list[str]:
        """What of the training part is left out, and how much of the others nobody can tell by name."""
        if self.split == "train":
            return [f"its last {self.left_out:,} tokens fill no windows"] if self.left_out else []
        unknown = int((np.asarray(self.numbers) == UNK).sum())
        share = 100 * unknown / len(self.numbers)
        return [f"{share:.2g} % of {self.split}'s tokens unknown"] if unknown else []

    @functools.cached_property
    def contents(self) -> str:
        """sha256 of the texts of all parts."""
        return contents_of(self._place)

    def texts(self) -> Tensor:
        """The lanes, each as it goes on over all its windows (l, n)."""
        length = self._windows // self.lanes * self.unroll
        places = np.arange(self.lanes)[:, None] * length + np.arange(length + 1)  # (l, n)
        return torch.from_numpy(self.numbers[places].astype(np.int64))

    def __len__(self) -> int:
        return self._windows

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One window: `words` int64 (c + t,), `target` (t,), `fresh`: 1 where the state before it is a new one."""
        return {name: values[0] for name, values in self.batch(np.array([number])).items()}

    def batch(self, numbers: NDArray[np.int64]) -> dict[str, Tensor]:
        """Windows (b,): `words` (b, c + t), `target` (b, t), PAD where a token does not count, and `fresh` (b,)."""
        starts = numbers * self.unroll  # (b,)
        last = len(self.numbers) - 1
        places = starts[:, None] + np.arange(-self.before, self.unroll)  # (b, c + t)
        # Before the text stand ends of sentences; behind it nothing counts.
        words = np.where(places < 0, EOS, self.numbers[places.clip(0, last)])
        following = places[:, self.before :] + 1  # (b, t)
        target = np.where(following <= last, self.numbers[following.clip(0, last)], PAD)
        fresh = np.ones(len(numbers), bool)
        if self._carried:
            fresh = numbers % (self._windows // self.lanes) == 0
        found = {"words": words, "target": target, "fresh": fresh}
        return {name: torch.from_numpy(values.astype(np.int64)) for name, values in found.items()}
