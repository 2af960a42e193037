"""Long short-term memory as it is used since 2000, and with the gates and looks into the cell left out or put in.

Hochreiter, Schmidhuber, "Long short-term memory", Neural Computation 9 (1997); the forget gate: Gers, Schmidhuber,
Cummins, "Learning to forget", Neural Computation 12 (2000); peepholes: Gers, Schraudolph, Schmidhuber, "Learning
precise timing with LSTM recurrent networks", JMLR 3 (2002). The network of 1997 itself is `lstm1997`.

    i = sigma(U_i x + W_i h + p_i * c + b_i)      input gate
    f = sigma(U_f x + W_f h + p_f * c + b_f)      forget gate; without it f is 1
    g = tanh(U_g x + W_g h + b_g)
    c' = f * c + i * g                            cell
    o = sigma(U_o x + W_o h + p_o * c' + b_o)     output gate
    h' = o * tanh(c')

Departs from the papers: g and h are tanh, as Graves (2013) has them; every cell has gates of its own.
"""

# Shapes: b sequences, t steps, x numbers read at each, n cells, k steps answered at, y outputs.

import torch
from torch import Tensor, nn

from dltk.layers import unrolled


class LSTM(nn.Module):
    """One layer of cells.

    Args:
        input_size: numbers read at each step (x).
        output_size: numbers written (y).
        hidden_size: cells (n).
        forget_gate: let a cell be cleared; without it, it only adds, as in 1997.
        peepholes: let the gates see the cell.
        forget_bias: first bias of the forget gates. With 1 a cell forgets half of what it held in two steps; lags of a
            hundred steps want 5.
        truncate: steps after which the gradient is cut; null: it flows through all.
        first_weights: all others are drawn from U(-w, w), w this number; null: 1 / sqrt(n).

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        input_size: int,
        output_size: int,
        hidden_size: int = 64,
        forget_gate: bool = True,
        peepholes: bool = False,
        forget_bias: float = 1.0,
        truncate: int | None = None,
        first_weights: float | None = None,
    ) -> None:
        super().__init__()
        unrolled.require_settings(input_size, output_size, hidden_size, truncate, first_weights)
        self.forget_gate, self.peepholes, self.forget_bias = forget_gate, peepholes, forget_bias
        self.hidden_size, self.input_size, self.truncate = hidden_size, input_size, truncate
        self.first_weights = hidden_size**-0.5 if first_weights is None else first_weights
        gates = 4 if forget_gate else 3
        self.inputs = nn.Linear(input_size, gates * hidden_size)  # U of i, f, g, o, with the biases; torch's order
        self.recurrent = nn.Linear(hidden_size, gates * hidden_size, bias=False)  # W
        self.output = nn.Linear(hidden_size, output_size)
        if peepholes:
            self.looks = nn.Parameter(torch.empty(gates - 1, hidden_size))  # p of i, f, o
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """Weights and biases from one interval, those of the forget gates apart."""
        nn.init.uniform_(parameter, -self.first_weights, self.first_weights, generator=generator)
        if name == "inputs.bias" and self.forget_gate:
            nn.init.constant_(parameter[self.hidden_size : 2 * self.hidden_size], self.forget_bias)

    def forward(self, inputs: Tensor, at: Tensor | None = None) -> Tensor:
        """Inputs (b, t, x), and the steps (b, k) answered at, by default all, to outputs (b, k, y)."""
        return self.output(unrolled.answers(self.read(inputs), at))

    def read(self, inputs: Tensor) -> Tensor:
        """Inputs (b, t, x) to the cells' outputs after each of them (b, t, n)."""
        unrolled.inputs_of(inputs, self.input_size)
        if not self.forget_gate or self.peepholes or self.truncate:
            return unrolled.read(self, inputs, self.truncate)
        bias = self.inputs.bias
        weights = [self.inputs.weight, self.recurrent.weight, bias, torch.zeros_like(bias)]
        first = list(self.start(inputs)[None].chunk(2, dim=2))  # each (1, b, n)
        first = [part.contiguous() for part in first]
        return torch.lstm(inputs, first, weights, True, 1, 0.0, self.training, False, True)[0]

    def start(self, inputs: Tensor) -> Tensor:
        """Inputs (b, t, x) to the state before them (b, 2n): zeros."""
        return inputs.new_zeros(len(inputs), 2 * self.hidden_size)

    def step(self, a: Tensor, state: Tensor) -> Tensor:
        """U x + b of a step (b, 4n), and h and c (b, 2n), to the next h and c (b, 2n)."""
        h, c = state.chunk(2, dim=1)  # each (b, n)
        i, *f, g, o = (a + self.recurrent(h)).split(self.hidden_size, dim=1)  # each (b, n)
        if self.peepholes:
            i = i + self.looks[0] * c
            f = [one + self.looks[1] * c for one in f]
        kept = torch.sigmoid(f[0]) * c if f else c
        c = kept + torch.sigmoid(i) * torch.tanh(g)
        if self.peepholes:
            o = o + self.looks[-1] * c
        return torch.cat([torch.sigmoid(o) * torch.tanh(c), c], dim=1)

    def units(self, state: Tensor) -> Tensor:
        """h and c (b, 2n) to h (b, n)."""
        return state[:, : self.hidden_size]
