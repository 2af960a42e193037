"""The multiplicative recurrent network: the character that is read chooses how the state goes on.

Sutskever, Martens, Hinton, "Generating text with recurrent neural networks", ICML (2011), section 3, equations 6-8:

    f_t = diag(W_fx x_t) W_fh h_{t-1}
    h_t = tanh(W_hf f_t + W_hx x_t + b)
    o_t = W_oh h_t + c,  P(x_{t+1} | h_t) = softmax(o_t)

A network with a transition matrix W_x of its own for each character would need v n^2 weights; here every W_x is
W_hf diag(W_fx x) W_fh, so that characters share what their transitions have in common.

Departs from the paper: first weights are normal and dense, so that states keep their size; the paper's are sparse. The
state before a text is zero. The optimiser is the recipe's, the paper's is Hessian-free.
"""

# Shapes: b texts, t characters of a window, p places, n units, f factors, v characters.

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.layers import expect, tokens
from dltk.layers.first_weights import of_size_one


class MRNN(nn.Module):
    """One layer of units whose transition is factored, and a softmax over characters.

    Args:
        vocab_size: characters (v).
        hidden_size: units (n).
        factors: by which the transitions of characters are weighed (f).

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(self, *, vocab_size: int = 86, hidden_size: int = 1500, factors: int = 1500) -> None:
        super().__init__()
        expect.at_least("vocab_size", vocab_size, len(tokens.SPECIAL) + 1, "nothing but special tokens")
        expect.at_least("hidden_size", hidden_size, 1, "nothing")
        expect.at_least("factors", factors, 1, "no transition")
        self.embedding = tokens.embedding(vocab_size, hidden_size)  # W_hx
        self.gains = tokens.embedding(vocab_size, factors)  # W_fx
        self.factors = nn.Linear(hidden_size, factors, bias=False)  # W_fh
        self.recurrent = nn.Linear(factors, hidden_size)  # W_hf, b
        self.output = nn.Linear(hidden_size, vocab_size)  # W_oh, c
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """What a character chooses N(0, 1), matrices N(0, 1/F), F being the inputs of their unit; biases 0."""
        of_size_one(name, parameter, generator, tables=("embedding", "gains"))

    def forward(self, words: Tensor) -> Tensor:
        """Characters (b, t) from the begin of a text to log P of every one after each (b, t, v)."""
        known, _ = self.read(words, self.start(len(words)).to(words.device))
        return self.log_probabilities(known.flatten(0, 1)).unflatten(0, words.shape)

    def start(self, count: int) -> Tensor:
        """The state before anything was read (b, n)."""
        return torch.zeros(count, self.factors.in_features)

    def read(self, words: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Characters (b, t) and the state before them (b, n) to the units after each (b, t, n), and the last state."""
        found = []
        # gain (b, f), own (b, n)
        for gain, own in zip(self.gains(words).unbind(1), self.embedding(words).unbind(1), strict=True):
            state = torch.tanh(self.recurrent(gain * self.factors(state)) + own)
            found.append(state)
        return torch.stack(found, dim=1), state

    def losses(self, units: Tensor, right: Tensor) -> Tensor:
        """Units (p, n) and the characters that follow (p,) to -log P of these (p,)."""
        return F.cross_entropy(self.output(units).float(), right, reduction="none")

    def log_probabilities(self, units: Tensor) -> Tensor:
        """Units (p, n) to log P of every character (p, v)."""
        return self.output(units).float().log_softmax(1)
