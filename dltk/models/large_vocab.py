"""RNNsearch with hundreds of thousands of words: a step of training looks at a sample of the target's.

Jean, Cho, Memisevic, Bengio, "On using very large target vocabulary for neural machine translation", ACL (2015),
section 3. The network is that of `dltk.models.rnnsearch` with 500,000 words on each side; while it trains the softmax
runs over a sample (`dltk.layers.sampled_softmax`), afterwards over all words, or over a list of candidates of each
sentence (`dltk predict --candidates`). 898,712,000 parameters.

Departs from the paper: there the training text is cut into parts with at most tau different target words each, and the
softmax runs over the words of the part. Here the order of the sentences is drawn anew in each epoch, and a part's words
would depend on it; instead every step draws its own words by how often they occur, and weighs them by the probability
of being drawn, as the paper has it for any proposal. The sample is the same for all sentences of a step, and the right
word always counts. Nor are the embeddings held fixed at the end of training.
"""

# Shapes: n readouts, m maxout units.

from typing import Literal

import torch
from torch import Tensor

from dltk.layers import expect, sampled_softmax
from dltk.models.rnnsearch import RNNsearch


class LargeVocabulary(RNNsearch):
    """RNNsearch whose loss is that of a sample of the words.

    Args:
        source_vocab_size: tokens of the source language.
        target_vocab_size: tokens of the target language; the more frequent ones first.
        sampled: words of the sample, on average; as many as there are: the full softmax.
        embedding_size: numbers that stand for a token.
        hidden_size: units of the encoder in each direction, and of the decoder.
        alignment_size: hidden units of the alignment.
        maxout_size: units before the output, each the larger one of two.
        dropout: probability of dropping one of these while training; the paper has none.
        first_weights: as appendix B.1 of Bahdanau et al. (2015) has them (`paper`); or N(0, 1/F) for F inputs
            (`fan_in`). Recurrent ones are orthogonal in both.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        source_vocab_size: int = 500_000,
        target_vocab_size: int = 500_000,
        sampled: int = 30_000,
        embedding_size: int = 620,
        hidden_size: int = 1000,
        alignment_size: int = 1000,
        maxout_size: int = 500,
        dropout: float = 0.0,
        first_weights: Literal["paper", "fan_in"] = "paper",
    ) -> None:
        expect.at_least("sampled", sampled, 1, "no word")
        super().__init__(
            source_vocab_size=source_vocab_size,
            target_vocab_size=target_vocab_size,
            embedding_size=embedding_size,
            hidden_size=hidden_size,
            alignment_size=alignment_size,
            maxout_size=maxout_size,
            dropout=dropout,
            first_weights=first_weights,
        )
        self.sampled = sampled
        self._q: Tensor | None = None  # made when it is first needed: it follows from the sizes, and is no state

    tensor_plan = None  # type: ignore[assignment]  # a sample is taken from the whole matrix

    def sampled_losses(self, readout: Tensor, right: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Readouts (n, m) and right words (n,) to losses (n,), and whether a sampled word scores higher (n,)."""
        if self._q is None:
            with torch.device("cpu"):
                self._q = sampled_softmax.probabilities(self.output.out_features, self.sampled)
        words, log_q = sampled_softmax.draw(self._q, generator)
        sample = sampled_softmax.Sample(words.to(readout.device), log_q.to(readout.device, torch.float32))
        return sampled_softmax.losses(self.output, readout, right, sample)
