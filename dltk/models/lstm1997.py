"""Long short-term memory of 1997: blocks of cells that share an input and an output gate, and nothing that forgets.

Hochreiter, Schmidhuber, "Long short-term memory", Neural Computation 9 (1997), section 4 and appendix A.1; the first
weights are those of "LSTM can solve hard long time lag problems", NIPS 9 (1996). Every cell and gate sees the inputs
and the activities of all cells and gates one step before:

    c' = c + y_in g(net_c),  y_c = y_out h(c')
    g(a) = 4 sigma(a) - 2,  h(a) = 2 sigma(a) - 1,  gates: sigma

Departs from the paper: with `truncated: false` errors also flow back through the gates.
"""

# Shapes: b sequences, t steps, x numbers read at each, B blocks of s cells each, n = B s cells, u = n + 2B cells and
# gates, k steps answered at, y outputs.

import torch
from torch import Tensor, nn

from dltk.layers import expect, unrolled


class LSTM1997(nn.Module):
    """A layer of memory blocks; by default the network of the adding problem, with 93 weights.

    Args:
        input_size: numbers read at each step (x).
        output_size: numbers written (y).
        blocks: blocks (B).
        block_size: cells of each (s).
        truncated: errors that leave a block are not followed further back; only the cells carry them (appendix A.1).
        logistic_output: squash the outputs into (0, 1).
        input_gate_bias: first bias of the first block's input gate; the second block's is twice this, and so on.
        first_weights: all others are drawn from U(-w, w), w this number.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        input_size: int = 2,
        output_size: int = 1,
        blocks: int = 2,
        block_size: int = 2,
        truncated: bool = True,
        logistic_output: bool = False,
        input_gate_bias: float = -3.0,
        first_weights: float = 0.1,
    ) -> None:
        super().__init__()
        sizes = {"input_size": input_size, "output_size": output_size, "blocks": blocks, "block_size": block_size}
        for key, size in sizes.items():
            expect.at_least(key, size, 1, "nothing")
        expect.at_least("first_weights", first_weights, 0, "half the width of an interval")
        self.input_size, self.blocks, self.block_size = input_size, blocks, block_size
        self.truncated, self.logistic_output = truncated, logistic_output
        self.input_gate_bias, self.first_weights = input_gate_bias, first_weights
        self.cells = blocks * block_size
        seen = self.cells + 2 * blocks
        self.inputs = nn.Linear(input_size, seen)  # to cells, input gates, output gates
        self.recurrent = nn.Linear(seen, seen, bias=False)
        self.output = nn.Linear(self.cells, output_size)
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """Weights and biases from U(-0.1, 0.1), and input gates that are nearly shut, each more than the one before."""
        nn.init.uniform_(parameter, -self.first_weights, self.first_weights, generator=generator)
        if name == "inputs.bias":
            with torch.no_grad():
                for block in range(self.blocks):
                    parameter[self.cells + block].fill_(self.input_gate_bias * (block + 1))

    def forward(self, inputs: Tensor, at: Tensor | None = None) -> Tensor:
        """Inputs (b, t, x), and the steps (b, k) answered at, by default all, to outputs (b, k, y)."""
        made = self.output(unrolled.answers(self.read(inputs), at))
        return torch.sigmoid(made) if self.logistic_output else made

    def read(self, inputs: Tensor) -> Tensor:
        """Inputs (b, t, x) to the cells' outputs after each of them (b, t, n)."""
        unrolled.inputs_of(inputs, self.input_size)
        return unrolled.read(self, inputs)

    def start(self, inputs: Tensor) -> Tensor:
        """Inputs (b, t, x) to the state before them (b, u + n): zeros."""
        return inputs.new_zeros(len(inputs), 2 * self.cells + 2 * self.blocks)

    def step(self, a: Tensor, state: Tensor) -> Tensor:
        """What the inputs give (b, u), and a state, y of cells and gates and c (b, u + n), to the next state."""
        before, c = state[:, : a.shape[1]], state[:, a.shape[1] :]  # (b, u), (b, n)
        a = a + self.recurrent(before.detach() if self.truncated else before)
        net, gates = a[:, : self.cells], torch.sigmoid(a[:, self.cells :])  # (b, n), (b, 2B)
        opened, shown = (gate.repeat_interleave(self.block_size, dim=1) for gate in gates.chunk(2, dim=1))  # (b, n)
        c = c + opened * (4 * torch.sigmoid(net) - 2)
        y = shown * (2 * torch.sigmoid(c) - 1)
        return torch.cat([y, gates, c], dim=1)

    def units(self, state: Tensor) -> Tensor:
        """A state (b, u + n) to the cells' outputs (b, n)."""
        return state[:, : self.cells]
