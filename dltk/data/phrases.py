"""Phrases: words that stand together more often than by chance, and are then one token.

Mikolov, Sutskever, Chen, Corrado, Dean, "Distributed representations of words and phrases and their compositionality",
NIPS (2013), section 4, equation 6:

    score(a, b) = (count(a b) - discount) / (count(a) count(b))

A pair whose score, times the words of the text, is above a threshold is a phrase; so does the authors' program
word2phrase, and so a threshold means the same for long and short texts. A second pass, over the text with its phrases
joined, finds phrases of up to four words.
"""

from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise

JOINT = "_"  # between the words of a phrase


@dataclass(frozen=True)
class Search:
    """What makes a phrase.

    Args:
        passes: over the text.
        threshold: which a score times the words of the text must exceed.
        discount: taken off the count of a pair, so that rare ones are none.
    """

    passes: int
    threshold: float
    discount: int


def found(lines: Iterable[Sequence[str]], search: Search) -> set[str]:
    """The phrases of two tokens in lines of tokens."""
    alone: Counter[str] = Counter()
    together: Counter[tuple[str, str]] = Counter()
    for line in lines:
        alone.update(line)
        together.update(pairwise(line))
    total = alone.total()
    return {
        f"{a}{JOINT}{b}"
        for (a, b), count in together.items()
        if (count - search.discount) * total > search.threshold * alone[a] * alone[b]
    }


def joined(line: Sequence[str], phrases: Set[str]) -> list[str]:
    """A line of tokens with its phrases as one token each, found from the left."""
    tokens: list[str] = []
    free = False  # whether the last token may begin a phrase
    for word in line:
        if free and (phrase := f"{tokens[-1]}{JOINT}{word}") in phrases:
            tokens[-1], free = phrase, False
        else:
            tokens.append(word)
            free = True
    return tokens
