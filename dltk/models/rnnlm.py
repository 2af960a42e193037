"""The recurrent network language model: what has been read stands in the activities of its units.

Mikolov, Karafiát, Burget, Černocký, Khudanpur, "Recurrent neural network based language model", INTERSPEECH (2010),
equations 1-6; Mikolov et al., "Extensions of recurrent neural network language model", ICASSP (2011): truncated
back-propagation through time and classes of words. At scale: Mikolov, Deoras, Povey, Burget, Černocký, "Strategies for
training large scale neural network language models", ASRU (2011).

    s_t = logistic(U[w_t] + W s_{t-1}),  P(w_{t+1} | s_t) = P(class | s_t) P(w_{t+1} | class, s_t)

Departs from the paper: the gradient is cut at the begin of each window (`data.unroll`), where the paper goes a fixed
number of steps back from every word; many lanes of the text are read beside each other.
"""

# Shapes: b lanes, t words of a window, n units, v words.

import torch
from torch import Tensor, nn

from dltk.layers import expect, tokens
from dltk.layers.class_softmax import ClassSoftmax

FIRST = 0.1  # activity of the units before the text (2010, section 2)


class RNNLM(nn.Module):
    """One layer of logistic units, and a softmax by classes.

    Args:
        vocab_size: words (v).
        hidden_size: units (n), which are a word's numbers too.
        classes: of words; about sqrt(v) are cheapest, 1 is a plain softmax.
        dropout: probability of dropping a unit on its way to the output while training; the paper has none.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self, *, vocab_size: int = 10_000, hidden_size: int = 200, classes: int = 100, dropout: float = 0.0
    ) -> None:
        super().__init__()
        expect.at_least("vocab_size", vocab_size, len(tokens.SPECIAL) + 1, "nothing but special tokens")
        expect.at_least("hidden_size", hidden_size, 1, "nothing")
        expect.probability("dropout", dropout)
        self.embedding = tokens.embedding(vocab_size, hidden_size)  # U
        self.recurrent = nn.Linear(hidden_size, hidden_size, bias=False)  # W
        self.output = ClassSoftmax(hidden_size, vocab_size, classes)
        self.drop = nn.Dropout(dropout)
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """N(0, 0.1^2), as the paper has it."""
        nn.init.normal_(parameter, std=0.1, generator=generator)

    def forward(self, words: Tensor) -> Tensor:
        """Words (b, t) from the begin of a text to log P of every word after each (b, t, v)."""
        known, _ = self.read(words, self.start(len(words)).to(words.device))
        return self.log_probabilities(known.flatten(0, 1)).unflatten(0, words.shape)

    def start(self, count: int) -> Tensor:
        """The state before anything was read (b, n)."""
        return torch.full((count, self.recurrent.in_features), FIRST)

    def read(self, words: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Words (b, t) and the state before them (b, n) to the units after each (b, t, n), and the last state."""
        found = []
        for a in self.embedding(words).unbind(1):  # (b, n)
            state = torch.addmm(a, state, self.recurrent.weight.T).sigmoid()
            found.append(state)
        return self.drop(torch.stack(found, dim=1)), state

    def losses(self, units: Tensor, right: Tensor) -> Tensor:
        """Units (m, n) and the words that follow (m,) to -log P of these (m,)."""
        return self.output.losses(units, right)

    def log_probabilities(self, units: Tensor) -> Tensor:
        """Units (m, n) to log P of every word (m, v)."""
        return self.output.log_probabilities(units)
