"""The recurrent network of the article's figure 5: matrices U, V and W, the same at every step.

LeCun, Bengio, Hinton, "Deep learning", Nature 521 (2015), figure 5; back-propagation through time: Rumelhart, Hinton,
Williams, "Learning representations by back-propagating errors", Nature 323 (1986).

    s_t = f(U x_t + W s_{t-1} + b),  o_t = V s_t + c

With `feedback` the output before is an input too: s_t = f(U x_t + W s_{t-1} + F o_{t-1} + b).

Departs from the paper: its figure has no biases.
"""

# Shapes: b sequences, t steps, x numbers read at each, n units, k steps answered at, y outputs.

from typing import Literal

import torch
from torch import Tensor, nn

from dltk.layers import unrolled

FUNCTIONS = {"tanh": torch.tanh, "relu": torch.relu, "identity": lambda a: a}
LINKS = 15  # recurrent weights of a unit, where they are few
SLOPES = {"tanh": lambda s: 1 - s.square(), "relu": torch.sign, "identity": torch.ones_like}  # f' where f is s


class RNN(nn.Module):
    """One layer of units that see their own last activities.

    Args:
        input_size: numbers read at each step (x).
        output_size: numbers written (y).
        hidden_size: units (n).
        activation: their function f.
        feedback: let them see the output before as well.
        truncate: steps after which the gradient is cut; null: it flows through all.
        first_weights: all are drawn from U(-w, w), w this number; null: 1 / sqrt(n).
        spectral_radius: of W at first, of which each unit has then no more than 15 weights, from N(0, 1) and scaled so
            (Pascanu, Mikolov, Bengio 2013, section 4.1: 0.95); null: W is drawn as the others.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        input_size: int,
        output_size: int,
        hidden_size: int = 64,
        activation: Literal["tanh", "relu", "identity"] = "tanh",
        feedback: bool = False,
        truncate: int | None = None,
        first_weights: float | None = None,
        spectral_radius: float | None = None,
    ) -> None:
        super().__init__()
        unrolled.require_settings(input_size, output_size, hidden_size, truncate, first_weights)
        if spectral_radius is not None and spectral_radius <= 0:
            raise ValueError(f"spectral_radius is {spectral_radius}, a largest absolute value. Set a number above 0")
        self.spectral_radius = spectral_radius
        self.activation, self.feedback, self.truncate = activation, feedback, truncate
        self.hidden_size, self.input_size = hidden_size, input_size
        self.first_weights = hidden_size**-0.5 if first_weights is None else first_weights
        self.inputs = nn.Linear(input_size, hidden_size)  # U
        self.recurrent = nn.Linear(hidden_size, hidden_size, bias=False)  # W
        self.output = nn.Linear(hidden_size, output_size)  # V
        if feedback:
            self.fed_back = nn.Linear(output_size, hidden_size, bias=False)  # F
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """Weights and biases from one interval, or W of few weights and a spectral radius."""
        if name != "recurrent.weight" or self.spectral_radius is None:
            nn.init.uniform_(parameter, -self.first_weights, self.first_weights, generator=generator)
            return
        with torch.no_grad():
            ranks = torch.empty_like(parameter).uniform_(generator=generator).argsort(1).argsort(1)  # of each unit's
            parameter.normal_(generator=generator).mul_(ranks < LINKS)
            parameter.mul_(self.spectral_radius / torch.linalg.eigvals(parameter).abs().max())

    def forward(self, inputs: Tensor, at: Tensor | None = None) -> Tensor:
        """Inputs (b, t, x), and the steps (b, k) answered at, by default all, to outputs (b, k, y)."""
        return self.output(unrolled.answers(self.read(inputs), at))

    def read(self, inputs: Tensor) -> Tensor:
        """Inputs (b, t, x) to the units after each of them (b, t, n)."""
        unrolled.inputs_of(inputs, self.input_size)
        if self.activation != "tanh" or self.feedback or self.truncate:
            return unrolled.read(self, inputs, self.truncate)
        bias = self.inputs.bias
        weights = [self.inputs.weight, self.recurrent.weight, bias, torch.zeros_like(bias)]
        first = self.start(inputs)[None]  # (1, b, n)
        return torch.rnn_tanh(inputs, first, weights, True, 1, 0.0, self.training, False, True)[0]

    def start(self, inputs: Tensor) -> Tensor:
        """Inputs (b, t, x) to the state before them (b, n): zeros."""
        return inputs.new_zeros(len(inputs), self.hidden_size)

    def step(self, a: Tensor, state: Tensor) -> Tensor:
        """U x + b of a step (b, n), and a state (b, n), to the next state (b, n)."""
        a = a + self.recurrent(state)
        if self.feedback:
            # Before the first step nothing has been written: zeros stand for the state, and for the output too.
            a = a + self.fed_back(self.output(state) * state.any(1, keepdim=True))
        return FUNCTIONS[self.activation](a)

    def units(self, state: Tensor) -> Tensor:
        """A state (b, n) to what is read of it: all."""
        return state

    def carried_back(self, gradients: Tensor, states: Tensor) -> Tensor:
        """Gradients by states (..., n), and these states (..., n), to what the states before hear of them (..., n).

        Of the product with the Jacobian only the matrices vary; slopes are those of the states as they are.
        """
        matrix = self.recurrent.weight  # ds_t / ds_{t-1} = diag(f') matrix
        if self.feedback:
            matrix = matrix + self.fed_back.weight @ self.output.weight
        return (gradients * SLOPES[self.activation](states.detach())) @ matrix
