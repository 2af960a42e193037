"""Which words stand near which: the pairs of a word and a word beside it, for many lines at once.

Mikolov, Sutskever, Chen, Corrado, Dean, "Distributed representations of words and phrases and their compositionality",
NIPS (2013). Frequent words are left out at random (section 2.3, equation 5: with probability 1 - sqrt(t / f)), before
windows are laid, so that these reach further. Each word's window reaches 1 to `window` words to each side, drawn
uniformly, so that near words count more; no window reaches over a line's end.

Everything drawn is a function of seed, epoch and the line's key, whichever batch the line is in.
"""

# Shapes: b lines, t words of the longest, m words kept, p pairs, k negatives, v words of the vocabulary.

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dltk.data.hashing import Words, mix, uniforms
from dltk.layers.tokens import PAD

Numbers = NDArray[np.int64]
Fractions = NDArray[np.float64]

NEGATIVES = 1310_4546  # what negatives are drawn for; another stream than the windows'
POWER = 0.75  # of the words' frequencies, by which negatives are drawn (section 2.2)


class SkipGrams(NamedTuple):
    """The pairs of a batch.

    Args:
        words: those kept, line after line (m,).
        lines: of which line each is (m,).
        at: the middle of each pair, as a place in `words` (p,).
        beside: the word beside it, likewise (p,).
        hashes: one for each pair, by which its negatives are drawn (p,).
    """

    words: Numbers
    lines: Numbers
    at: Numbers
    beside: Numbers
    hashes: Words


def skip_grams(
    words: Numbers, hashes: Words, *, window: int, keep: Fractions | None, seed: int, epoch: int
) -> SkipGrams:
    """The pairs of lines (b, t), PAD behind the shorter ones.

    Args:
        words: the lines.
        hashes: of their keys (b,).
        window: words to each side at most.
        keep: probability of keeping each word of the vocabulary (v,); None keeps all.
        seed: of what is drawn.
        epoch: of what is drawn.
    """
    drawn = uniforms(seed, epoch, hashes, 2 * words.shape[1])  # (b, 2t)
    kept = words != PAD
    if keep is not None:
        kept &= drawn[:, 0::2] < keep[words]
    lines, places = kept.nonzero()
    reach = 1 + (window * drawn[:, 1::2][kept]).astype(np.int64)  # (m,)
    at, beside = [lines[:0]], [lines[:0]]
    for step in range(1, min(window, len(lines) - 1) + 1):
        same = lines[step:] == lines[:-step]
        ahead = np.flatnonzero(same & (reach[:-step] >= step))
        back = np.flatnonzero(same & (reach[step:] >= step)) + step
        at += [ahead, back]
        beside += [ahead + step, back - step]
    middle, other = np.concatenate(at), np.concatenate(beside)
    steps = (other - middle + window).astype(np.uint64)
    named = mix(seed, NEGATIVES, epoch, hashes[lines[middle]], places[middle].astype(np.uint64), steps)
    return SkipGrams(words[kept], lines, middle, other, named)


def keeping(counts: Numbers, threshold: float) -> Fractions:
    """Times that each word occurs (v,) to the probability of keeping it (v,): sqrt(t / f), 1 at most (equation 5)."""
    shares = counts / max(1, counts.sum())
    return np.minimum(1.0, np.sqrt(threshold / np.maximum(shares, 1e-300)))


class Noise:
    """The distribution of negatives: frequencies to the power of 3/4.

    Args:
        counts: times that each word occurs (v,).
    """

    def __init__(self, counts: Numbers) -> None:
        powers = counts.astype(np.float64) ** POWER
        self.shares = powers / powers.sum()  # (v,)
        self._ends = np.cumsum(self.shares)
        self._last = int(np.flatnonzero(powers)[-1])

    def draw(self, hashes: Words, count: int) -> Numbers:
        """So many words for each hash (p,): (p, k)."""
        numbers = np.arange(count, dtype=np.uint64)
        drawn = mix(hashes[:, None], numbers[None, :])
        fractions = (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53
        # The last sum may be less than 1 by its rounding.
        return np.searchsorted(self._ends, fractions, side="right").clip(max=self._last)
