"""The gated recurrent unit as it was published, which is not torch's.

Cho, van Merriënboer, Gulcehre, Bahdanau, Bougares, Schwenk, Bengio, "Learning phrase representations using RNN
encoder-decoder for statistical machine translation", EMNLP (2014), equations 5 to 8; in the form of Bahdanau, Cho,
Bengio, "Neural machine translation by jointly learning to align and translate", ICLR (2015), appendix A.1.1:

    z = sigma(W_z x + U_z h)              update gate
    r = sigma(W_r x + U_r h)              reset gate
    s = tanh(W x + U (r * h))             candidate
    h' = (1 - z) * h + z * s

`torch.nn.GRU` has r * (U h + b) in the candidate, which is the same for a diagonal U only, and z and 1 - z exchanged.
"""

# Shapes: b sequences, t tokens, e inputs, n units.

import torch
from torch import Tensor, nn


class GatedUnit(nn.Module):
    """A layer of gated units.

    Args:
        input_size: numbers read at each step (e).
        hidden_size: units (n).
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.inputs = nn.Linear(input_size, 3 * hidden_size)  # W_z, W_r, W, with the biases
        self.gates = nn.Linear(hidden_size, 2 * hidden_size, bias=False)  # U_z, U_r
        self.candidate = nn.Linear(hidden_size, hidden_size, bias=False)  # U

    def forward(self, projected: Tensor, h: Tensor) -> Tensor:
        """What `inputs` made of a step's input (b, 3n), and a state (b, n), to the next state (b, n)."""
        n = self.hidden_size
        z, r = torch.sigmoid(projected[:, : 2 * n] + self.gates(h)).chunk(2, dim=1)  # each (b, n)
        s = torch.tanh(projected[:, 2 * n :] + self.candidate(r * h))  # (b, n)
        return torch.lerp(h, s, z)

    def run(self, inputs: Tensor, real: Tensor, *, backwards: bool = False) -> Tensor:
        """Inputs (b, t, e) to the states after each of them (b, t, n), beginning with zeros.

        Args:
            inputs: the sequences.
            real: which of them are no padding, bool (b, t); padding leaves the state as it was.
            backwards: from the last token to the first.
        """
        projected = self.inputs(inputs)  # (b, t, 3n)
        h = projected.new_zeros(inputs.shape[0], self.hidden_size)
        states: list[Tensor] = [h] * inputs.shape[1]
        steps = range(inputs.shape[1])
        for step in reversed(steps) if backwards else steps:
            h = torch.where(real[:, step, None], self(projected[:, step], h), h)
            states[step] = h
        return torch.stack(states, dim=1)
