"""Counted n-grams with Kneser-Ney smoothing: the baseline of the article's section on distributed representations.

Kneser, Ney, "Improved backing-off for m-gram language modeling", ICASSP (1995); Chen, Goodman, "An empirical study of
smoothing techniques for language modeling", Computer Speech and Language 13 (1999). Their equations stand in
`dltk.layers.kneser_ney`.

Departs from the papers: as said there.
"""

# Shapes: b lanes, t words of a window, n places, o = order - 1 words of a context, v words.

from typing import Literal

from torch import Tensor

from dltk.layers.contexts import before_text, contexts
from dltk.layers.kneser_ney import KneserNey


class NGram(KneserNey):
    """Probabilities from counts; fitted at once, computed in double precision.

    Args:
        vocab_size: words (v).
        order: words of the longest n-grams, the one told among them.
        discount: what is taken off each count: `modified`, three numbers from counts of counts for each order, or one
            number for all; 0 takes nothing, and then what was never seen is impossible.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self, *, vocab_size: int = 10_000, order: int = 3, discount: float | Literal["modified"] = "modified"
    ) -> None:
        super().__init__(vocab_size, order, discount)

    def forward(self, words: Tensor) -> Tensor:
        """Words (b, t) from the begin of a text to log P of every word after each (b, t, v)."""
        found, _ = self.read(words, self.start(len(words)).to(words.device))
        return self.log_probabilities(found.flatten(0, 1)).unflatten(0, words.shape)

    def start(self, count: int) -> Tensor:
        """The words before a text (b, o): ends of sentences."""
        return before_text(count, self.order - 1)

    def read(self, words: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Words (b, t) and those before them (b, o) to the contexts that end with each (b, t, o), and the last one."""
        return contexts(words, state)

    def losses(self, found: Tensor, right: Tensor) -> Tensor:
        """Contexts (n, o) and the words that follow (n,) to -log P of these (n,)."""
        return -self.probabilities(found, right).log()
