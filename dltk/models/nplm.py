"""The neural probabilistic language model: words have vectors, from which a network tells the word that follows.

Bengio, Ducharme, Vincent, Jauvin, "A neural probabilistic language model", JMLR 3 (2003), section 2 and equation 1:

    y = b + W x + U tanh(d + H x),  P(w_t | w_{t-1} ... w_{t-n+1}) = softmax(y)

x are the vectors C of the n - 1 words before, the nearest first. W, from the vectors straight to the scores, is left
out in some of the paper's networks.

Departs from the paper: its mixture with a trigram is not part of the network.
"""

# Shapes: b lanes, t words of a window, p places, o = order - 1 words of a context, m numbers of a word, h hidden units,
# v words.

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.layers import expect, tokens
from dltk.layers.contexts import before_text, contexts
from dltk.layers.first_weights import of_size_one


class NPLM(nn.Module):
    """One hidden layer over the vectors of the words before.

    Args:
        vocab_size: words (v).
        order: words of an n-gram, the one told among them (n).
        embedding_size: numbers of a word (m).
        hidden_size: units (h).
        direct: connections from the words' numbers straight to the scores (W).

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        vocab_size: int = 10_000,
        order: int = 5,
        embedding_size: int = 30,
        hidden_size: int = 100,
        direct: bool = False,
    ) -> None:
        super().__init__()
        expect.at_least("vocab_size", vocab_size, len(tokens.SPECIAL) + 1, "nothing but special tokens")
        expect.at_least("order", order, 2, "no word before the one told")
        expect.at_least("embedding_size", embedding_size, 1, "nothing")
        expect.at_least("hidden_size", hidden_size, 1, "nothing")
        self.order = order
        read = (order - 1) * embedding_size
        self.embedding = tokens.embedding(vocab_size, embedding_size)  # C
        self.hidden = nn.Linear(read, hidden_size)  # H, d
        self.output = nn.Linear(hidden_size, vocab_size)  # U, b
        self.direct = nn.Linear(read, vocab_size, bias=False) if direct else None  # W
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """Words N(0, 1); weights N(0, 1/F), F being the inputs of their unit; biases and direct connections 0."""
        if name.startswith("direct"):
            nn.init.zeros_(parameter)
        else:
            of_size_one(name, parameter, generator)

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

    def scores(self, found: Tensor) -> Tensor:
        """Contexts (p, o) to the scores of every word (p, v)."""
        x = self.embedding(found.flip(1)).flatten(1)  # (p, o m), the nearest word first
        y = self.output(torch.tanh(self.hidden(x)))
        return y if self.direct is None else y + self.direct(x)

    def losses(self, found: Tensor, right: Tensor) -> Tensor:
        """Contexts (p, o) and the words that follow (p,) to -log P of these (p,)."""
        return F.cross_entropy(self.scores(found).float(), right, reduction="none")

    def log_probabilities(self, found: Tensor) -> Tensor:
        """Contexts (p, o) to log P of every word (p, v)."""
        return self.scores(found).float().log_softmax(1)
