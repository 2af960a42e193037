"""A recurrent network whose units work at several time scales: errors go back in few long strides.

El Hihi, Bengio, "Hierarchical recurrent neural networks for long-term dependencies", NIPS 8 (1996): levels of units
with delays and subsampling. A unit of a level with period p moves at every p-th step, and stays between:

    s_t = f(U x_t + W s_{t-1} + b)  where p divides t,  else s_{t-1};  o_t = V s_t + c

So what it did p steps before is one factor of a derivative away. With all periods 1 this is the network of `rnn`.

Departs from the paper: every level hears of every other, so that networks of as many units have as many weights
whatever their periods; the levels' sizes are equal.
"""

# Shapes: b sequences, t steps, x numbers read at each, n units, k steps answered at, y outputs.

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dltk.layers import unrolled


class HRNN(nn.Module):
    """One layer of tanh units in levels.

    Args:
        input_size: numbers read at each step (x).
        output_size: numbers written (y).
        hidden_size: units (n) of all levels together; where they do not divide, the first levels have one more.
        periods: of the levels: steps from one move of their units to the next.
        first_weights: all are drawn from U(-w, w), w this number; null: 1 / sqrt(n).

    Raises:
        ValueError: a setting is impossible.
    """

    cycle: int
    periods: Tensor

    def __init__(
        self,
        *,
        input_size: int,
        output_size: int,
        hidden_size: int = 24,
        periods: Sequence[int] = (1, 2, 4, 8, 16, 32),
        first_weights: float | None = None,
    ) -> None:
        super().__init__()
        unrolled.require_settings(input_size, output_size, hidden_size, None, first_weights)
        if not periods or min(periods) < 1:
            raise ValueError(f"periods is {list(periods)}, steps between moves. Set one or more of at least 1")
        if len(periods) > hidden_size:
            raise ValueError(f"hidden_size is {hidden_size}, for {len(periods)} levels. Set at least as many")
        self.hidden_size, self.input_size = hidden_size, input_size
        self.first_weights = hidden_size**-0.5 if first_weights is None else first_weights
        self.cycle = math.lcm(*periods)
        of_units = [period for level, period in enumerate(periods) for _ in range(level, hidden_size, len(periods))]
        self.register_buffer("periods", torch.tensor(of_units), persistent=False)  # (n,)
        self.inputs = nn.Linear(input_size, hidden_size)  # U
        self.recurrent = nn.Linear(hidden_size, hidden_size, bias=False)  # W
        self.output = nn.Linear(hidden_size, output_size)  # V
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """Weights and biases from one interval."""
        nn.init.uniform_(parameter, -self.first_weights, self.first_weights, generator=generator)

    def forward(self, inputs: Tensor, at: Tensor | None = None) -> Tensor:
        """Inputs (b, t, x), and the steps (b, k) answered at, by default all, to outputs (b, k, y)."""
        return self.output(unrolled.answers(self.read(inputs), at))

    def read(self, inputs: Tensor) -> Tensor:
        """Inputs (b, t, x) to the units after each of them (b, t, n)."""
        unrolled.inputs_of(inputs, self.input_size)
        return unrolled.read(self, inputs)

    def start(self, inputs: Tensor) -> Tensor:
        """Inputs (b, t, x) to the state before them (b, n + 1): zeros; the last number counts steps."""
        return inputs.new_zeros(len(inputs), self.hidden_size + 1)

    def step(self, a: Tensor, state: Tensor) -> Tensor:
        """U x + b of a step (b, n), and a state (b, n + 1), to the next state (b, n + 1)."""
        before, clock = state.split([self.hidden_size, 1], dim=1)  # (b, n), (b, 1)
        moved = torch.tanh(a + self.recurrent(before))
        after = torch.where(clock % self.periods == 0, moved, before)
        return torch.cat([after, (clock + 1) % self.cycle], dim=1)

    def units(self, state: Tensor) -> Tensor:
        """A state (b, n + 1) to the units (b, n)."""
        return state[:, : self.hidden_size]
