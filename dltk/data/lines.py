"""Lines of a text as words, each line by itself: what word vectors are learnt from.

Words are in small letters, without marks; those that are not in the vocabulary are left out, so that a window reaches
over them. A long line is cut, as the published program cuts its input (word2vec: at 1,000 words).
"""

# Shapes: b lines, t words of the longest, n words of a part, l lines of a part, v words of the vocabulary.

import functools
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dltk.data.dataset import fingerprint
from dltk.data.phrases import Search
from dltk.data.sentences import require_size
from dltk.data.texts import Text, contents_of
from dltk.data.vocabulary import Phrases
from dltk.errors import DataError
from dltk.layers.tokens import EOS, PAD, SPECIAL

Numbers = NDArray[np.int64]


class Lines:
    """One split of a text, line by line.

    Args:
        split: train, val or test.
        data_dir: where data lie on this machine.
        folder: the set's folder there (see dltk.data.texts).
        vocab_size: different words at most; the most frequent ones of the training part.
        min_count: times that a word must occur in the training part.
        phrases: passes that join words to phrases; 0 leaves words alone.
        phrase_threshold: the higher, the fewer phrases (see dltk.data.phrases).
        phrase_discount: pairs that occur no more often than so are no phrases.
        longest: words of a line, beyond which it is cut.

    Raises:
        DataError: a file is missing or no UTF-8, or no word is left, or one alone.
    """

    in_memory = True

    def __init__(
        self,
        split: str,
        data_dir: str | None = None,
        *,
        folder: str,
        vocab_size: int = 10_000,
        min_count: int = 5,
        phrases: int = 0,
        phrase_threshold: float = 100.0,
        phrase_discount: int = 5,
        longest: int = 1000,
    ) -> None:
        require_size("vocab_size", vocab_size)
        for key, value, least in (("min_count", min_count, 1), ("phrases", phrases, 0), ("longest", longest, 2)):
            if value < least:
                raise DataError("", f"data.{key}", f"{value} is less than {least}", f"Set at least {least}.")
        text = Text(split, data_dir, folder)
        self._place = text.place
        search = Search(phrases, phrase_threshold, phrase_discount)
        made = f"{vocab_size}-{min_count}" + (f"-{phrases}-{phrase_threshold:g}-{phrase_discount}" if phrases else "")
        self.vocabulary = vocabulary = text.vocabulary(
            f"phrases-{made}", lambda lines: Phrases.learn(lines, vocab_size, min_count, search)
        )
        self.numbers = text.encoded(vocabulary)  # (n,)
        self._starts, counts = cut(np.flatnonzero(self.numbers == EOS), longest)  # each (l,)
        if not len(counts):
            what = f"has no word of those that occur {min_count} times in the training part"
            raise DataError(text.path, "", what, "Lower data.min_count, or give it more text.")
        if len(vocabulary) == len(SPECIAL) + 1:
            what = f"'{vocabulary.name(len(SPECIAL))}' is its only word, and a vector tells a word from others"
            raise DataError(text.place / "train.txt", "", what, "Lower data.min_count, or give it more text.")
        self.lengths = counts[:, None]  # (l, 1)
        self.index_hash = fingerprint({split: [text.sha256, vocabulary.hash, str(longest)]})

    @functools.cached_property
    def contents(self) -> str:
        """sha256 of the texts of all parts."""
        return contents_of(self._place)

    @functools.cached_property
    def counts(self) -> Numbers:
        """How often each word of the vocabulary occurs in this part (v,)."""
        found = np.bincount(self.numbers, minlength=len(self.vocabulary))
        found[: len(SPECIAL)] = 0
        return found

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One line: `words` int64 (t,), and `target`, how many they are."""
        return {name: values[0] for name, values in self.batch(np.array([number])).items()}

    def batch(self, numbers: Numbers) -> dict[str, Tensor]:
        """Lines (b,): `words` (b, t), PAD behind the shorter ones, and `target` (b,), how many words they have."""
        lengths = self.lengths[numbers]  # (b, 1)
        within = np.arange(lengths.max())  # (t,)
        places = (self._starts[numbers][:, None] + within).clip(max=len(self.numbers) - 1)
        words = np.where(within < lengths, self.numbers[places], PAD)
        return {"words": torch.from_numpy(words.astype(np.int64)), "target": torch.from_numpy(lengths[:, 0])}


def cut(ends: Numbers, longest: int) -> tuple[Numbers, Numbers]:
    """Where lines begin that end before some places (l,), and their lengths; empty ones left out, long ones in parts.

    The parts of a line differ in length by at most one word.
    """
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts
    parts = -(-lengths // longest)  # of each line
    line = np.repeat(np.arange(len(ends)), parts)
    number = np.arange(len(line)) - np.repeat(np.cumsum(parts) - parts, parts)  # of a part in its line
    begin = lengths[line] * number // parts[line]
    return starts[line] + begin, lengths[line] * (number + 1) // parts[line] - begin
