"""Numbers in the words of two languages: a translation task made by rule (num2words), with ranges held out.

Of each hundred of consecutive numbers from 1,000 on, all or none are trained on; the first thousand are. So the numbers
of validation and test have neighbours no nearer than the hundred before or behind.
"""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from dltk.data.hashing import mix
from dltk.data.sentences import Lengths, Vocabularies, lengths_of, require_size, sample
from dltk.data.vocabulary import learn
from dltk.errors import DataError

RANGE = 100  # consecutive numbers that are held out together
TRAINED = 1000  # below this all are trained on
SEED = 2014  # of the numbers drawn; another one would be another data set


class NumberNames:
    """One split of the numbers, about 70/10/20 by range.

    Args:
        split: train, val or test.
        data_dir: not needed; the names are made.
        source: language translated from, as num2words abbreviates it.
        target: language translated into.
        pairs: numbers in all.
        below: they are less than this.
        tokens: kind of the vocabularies.
        source_vocab_size: tokens of the source's at most.
        target_vocab_size: tokens of the target's at most.

    Raises:
        DataError: num2words is not installed or has no such language, or there are not so many numbers.
    """

    in_memory = True

    def __init__(
        self,
        split: str,
        data_dir: str | None = None,
        *,
        source: str = "en",
        target: str = "fr",
        pairs: int = 10_000,
        below: int = 1_000_000,
        tokens: Literal["words", "bpe", "unigram"] = "words",
        source_vocab_size: int = 64,
        target_vocab_size: int = 64,
    ) -> None:
        require_size("source_vocab_size", source_vocab_size)
        require_size("target_vocab_size", target_vocab_size)
        if not 10 <= pairs <= below // 2:
            raise DataError("", "data.pairs", f"{pairs} of {below} numbers", f"Set 10 to {below // 2}.")
        self.languages = (source.partition("_")[0], target.partition("_")[0])
        numbers = _numbers(pairs, below)
        self.vocabularies: Vocabularies = (
            _vocabulary(source, numbers["train"], tokens, source_vocab_size),
            _vocabulary(target, numbers["train"], tokens, target_vocab_size),
        )
        own = numbers[split]
        self.keys = [f"{number:09d}" for number in own]
        texts = zip(_names(source, own), _names(target, own), strict=True)
        self._samples = [sample(one, other, self.vocabularies) for one, other in texts]
        self.lengths: Lengths = lengths_of(self._samples)  # (n, 2)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One pair: `source` and `target` int64 (s,) and (t,), `reference` the target's text."""
        return self._samples[number]


@functools.cache
def _numbers(pairs: int, below: int) -> dict[str, tuple[int, ...]]:
    """The numbers of each split, none twice: half even, half even on a logarithmic scale, so that short ones occur."""
    found: dict[int, None] = {}
    digits = len(str(below - 1))
    for word in mix(SEED, np.arange(20 * pairs, dtype=np.uint64)).tolist():
        number = word % below
        if word >> 63:
            number %= 10 ** (1 + (word >> 40) % digits)
        found.setdefault(number)
        if len(found) == pairs:
            break
    splits: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for number in found:
        splits[_split_of(number)].append(number)
    return {name: tuple(members) for name, members in splits.items()}


def _split_of(number: int) -> str:
    place = int(mix(SEED, number // RANGE)[0]) % 10
    return "train" if number < TRAINED or place < 7 else "val" if place < 8 else "test"


@functools.cache
def _names(language: str, numbers: Sequence[int]) -> tuple[str, ...]:
    try:
        from num2words import num2words
    except ImportError:
        raise DataError("", "num2words", "is not installed", "Install the extra: dltk[text].") from None
    try:
        return tuple([str(num2words(number, lang=language)) for number in numbers])
    except NotImplementedError:
        what = f"num2words does not know the language '{language}'"
        raise DataError("", "data.source", what, "Use codes such as en, fr, de, es.") from None


@functools.cache
def _vocabulary(language: str, numbers: Sequence[int], kind: str, size: int) -> Any:
    return learn(kind, _names(language, numbers), size)
