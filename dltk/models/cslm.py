"""The continuous-space language model: a network tells the frequent words, counts tell the rest.

Schwenk, "Continuous space language models", Computer Speech and Language 21 (2007), sections 3.1 and 3.2:

    P(w | h) = P_net(w | h) P_S(h)   for words w of the shortlist, the most frequent ones
    P(w | h) = P_B(w | h)            for all others
    P_S(h)   = sum of P_B(w | h) over the shortlist

P_net is a softmax over the shortlist alone, of the network of Bengio et al. (2003) without direct connections; P_B is
the back-off model, n-grams of the same order. Words are numbered by how often they occur, so the shortlist is a range.

Departs from the paper: the back-off model is counted in the same text. The network is trained beside it, with its
losses as they enter P: of other words the loss is the counts', and has no gradient.
"""

# Shapes: b lanes, t words of a window, p places, o = order - 1 words of a context, m numbers of a word, h hidden units,
# s words of the shortlist, v words.

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.layers import expect, tokens
from dltk.layers.contexts import before_text, contexts
from dltk.layers.first_weights import of_size_one
from dltk.layers.kneser_ney import KneserNey


class CSLM(nn.Module):
    """A projection, a hidden layer, a softmax over the shortlist, and n-grams for the rest.

    Args:
        vocab_size: words (v).
        order: words of an n-gram, the one told among them.
        embedding_size: numbers of a word (m).
        hidden_size: units (h).
        shortlist: words that the network tells (s), the special tokens among them.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        vocab_size: int = 50_000,
        order: int = 4,
        embedding_size: int = 200,
        hidden_size: int = 500,
        shortlist: int = 8192,
    ) -> None:
        super().__init__()
        expect.at_least("vocab_size", vocab_size, len(tokens.SPECIAL) + 1, "nothing but special tokens")
        expect.at_least("order", order, 2, "no word before the one told")
        expect.at_least("embedding_size", embedding_size, 1, "nothing")
        expect.at_least("hidden_size", hidden_size, 1, "nothing")
        expect.at_least("shortlist", shortlist, 1, "no word for the network")
        if shortlist > vocab_size:
            raise ValueError(f"shortlist is {shortlist}, of {vocab_size} words. Set at most as many")
        self.order, self.shortlist = order, shortlist
        self.embedding = tokens.embedding(vocab_size, embedding_size)
        self.hidden = nn.Linear((order - 1) * embedding_size, hidden_size)
        self.output = nn.Linear(hidden_size, shortlist)
        self.counted = KneserNey(vocab_size, order, shortlist=shortlist)
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """Words N(0, 1); weights N(0, 1/F), F being the inputs of their unit; biases 0."""
        of_size_one(name, parameter, generator)

    def forward(self, words: Tensor) -> Tensor:
        """Words (b, t) from the begin of a text to log P of every word after each (b, t, v)."""
        found, _ = self.read(words, self.start(len(words)).to(words.device))
        return self.log_probabilities(found.flatten(0, 1)).unflatten(0, words.shape)

    def count(self, lanes: Tensor) -> None:
        """Count the n-grams of texts (l, n), words as numbers.

        Raises:
            ValueError: the texts are shorter than an n-gram.
        """
        self.counted.fit(lanes)

    def start(self, count: int) -> Tensor:
        """The words before a text (b, o): ends of sentences."""
        return before_text(count, self.order - 1)

    def read(self, words: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Words (b, t) and those before them (b, o) to the contexts that end with each (b, t, o), and the last one."""
        return contexts(words, state)

    def scores(self, found: Tensor) -> Tensor:
        """Contexts (p, o) to the scores of the words of the shortlist (p, s)."""
        x = self.embedding(found.flip(1)).flatten(1)  # (p, o m), the nearest word first
        return self.output(torch.tanh(self.hidden(x)))

    def losses(self, found: Tensor, right: Tensor) -> Tensor:
        """Contexts (p, o) and the words that follow (p,) to -log P of these (p,)."""
        short = right < self.shortlist  # (p,)
        given, others = found[short], found[~short]
        told = F.cross_entropy(self.scores(given).float(), right[short], reduction="none")
        mass = self.counted.mass(given).log().to(told.dtype)
        rest = -self.counted.probabilities(others, right[~short]).log().to(told.dtype)
        losses = told.new_zeros(right.shape)
        return losses.masked_scatter(short, told - mass).masked_scatter(~short, rest)

    def log_probabilities(self, found: Tensor) -> Tensor:
        """Contexts (p, o) to log P of every word (p, v)."""
        told = self.scores(found).double().log_softmax(1)  # (p, s)
        counted = self.counted.log_probabilities(found)  # (p, v)
        told = told + self.counted.mass(found).log()[:, None]
        return torch.cat([told, counted[:, self.shortlist :]], dim=1).float()
