"""Parallel text as batches: a sentence and its translation as the numbers of their tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltk.data.vocabulary import Vocabulary
from dltk.errors import DataError
from dltk.layers.tokens import EOS

Vocabularies = tuple[Vocabulary, Vocabulary]  # of the source and of the target language
Lengths = NDArray[np.int32]


def sample(source: str, target: str, vocabularies: Vocabularies) -> dict[str, Any]:
    """One pair: `source` and `target`, int64 (s,) and (t,), each with its end; and `reference`, the target's text.

    Arrays, not tensors: of those torch hands each to a worker by a file descriptor, and 256 are the most.
    """
    return {
        "source": np.array([*vocabularies[0].encode(source), EOS]),
        "target": np.array([*vocabularies[1].encode(target), EOS]),
        "reference": target,
    }


def lengths_of(samples: Sequence[Mapping[str, Any]]) -> Lengths:
    """Tokens of source and target of each sample, their ends counted (n, 2)."""
    return np.array([[len(one["source"]), len(one["target"])] for one in samples], np.int32).reshape(-1, 2)


def require_size(name: str, size: int) -> None:
    """Refuse a vocabulary that holds nothing but the special tokens.

    Raises:
        DataError: it would.
    """
    if size < 5:
        raise DataError("", f"data.{name}", f"{size} tokens, of which four are special", "Set at least 5.")
