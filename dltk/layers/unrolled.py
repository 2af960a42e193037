"""A recurrent network unfolded in time, step by step (figure 5 of the article), and the gradients at its steps.

A network of this kind has `inputs`, a linear layer of what is read; `start(inputs)`, the first state; `step(a, state)`,
what `inputs` made of a step's input and a state to the next state; `units(state)`, what is read of it; and `output`.
A state is one tensor, so that its gradient is one too.
"""

# Shapes: b sequences, t steps, x numbers read at each, m numbers of a state, n units, k steps answered at, y outputs.

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dltk.layers import expect


def require_settings(
    input_size: int, output_size: int, hidden_size: int, truncate: int | None, first_weights: float | None
) -> None:
    """Raise ValueError where a network of this kind cannot have these settings."""
    for key, size in (("input_size", input_size), ("output_size", output_size), ("hidden_size", hidden_size)):
        expect.at_least(key, size, 1, "nothing")
    expect.at_least("truncate", 1 if truncate is None else truncate, 1, "no step")
    expect.at_least("first_weights", first_weights or 0, 0, "half the width of an interval")


def states(net: Any, inputs: Tensor, truncate: int | None = None) -> list[Tensor]:
    """Inputs (b, t, x) to the states after each of them, t times (b, m).

    Args:
        net: the network.
        inputs: the sequences.
        truncate: steps after which the gradient is cut: back-propagation through time in windows of that length.
    """
    state, projected = net.start(inputs), net.inputs(inputs)
    found = []
    for step, a in enumerate(projected.unbind(1)):
        if truncate and step % truncate == 0:
            state = state.detach()
        state = net.step(a, state)
        found.append(state)
    return found


def read(net: Any, inputs: Tensor, truncate: int | None = None) -> Tensor:
    """Inputs (b, t, x) to the units after each of them (b, t, n)."""
    return torch.stack([net.units(state) for state in states(net, inputs, truncate)], dim=1)


def answers(units: Tensor, at: Tensor | None) -> Tensor:
    """Units after each step (b, t, n) to those at the steps (b, k) asked for (b, k, n); None: at all."""
    return units if at is None else units.gather(1, at[:, :, None].expand(-1, -1, units.shape[2]))


def inputs_of(inputs: Tensor, size: int) -> None:
    """Raise ValueError where sequences are not (b, t, size), with a step at least."""
    if inputs.dim() != 3 or inputs.shape[2] != size or not inputs.shape[1]:
        raise ValueError(f"inputs are {tuple(inputs.shape)}, the network takes (b, t, {size}). Set model.input_size")


def vanishing(net: Any, found: list[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """How gradients change from step to step on their way back, (b,): 0 where their norms stay.

    Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", ICML (2013), section 3.3 and
    equation 9: of each step (|dE/ds_{t+1} ds_{t+1}/ds_t| / |dE/ds_{t+1}| - 1)^2, of which the derivative is that by the
    recurrent weights alone. Departs from the paper: the mean over the steps that the loss hears of, as in the
    authors' program, where the paper has the sum.

    Args:
        net: the network; `carried_back(gradients, states)` multiplies gradients by Jacobians.
        found: the states after each step, t times (b, n).
        gradients: of each sequence's loss by them, t times (b, n).
    """
    after = torch.stack(list(gradients[1:])).detach()  # (t - 1, b, n)
    norms = after.double().norm(dim=2)  # (t - 1, b); squares of small numbers need the range
    heard = norms > 0
    before = net.carried_back(after, torch.stack(found[1:])).double().square().sum(2)  # (t - 1, b)
    # The root's slope at 0 is infinite: where nothing comes back, nothing pulls.
    ratios = torch.where(before > 0, before, 1.0).sqrt() / torch.where(heard, norms, 1.0)
    terms = torch.where(before > 0, ratios - 1, -1.0).square() * heard
    return (terms.sum(0) / heard.sum(0).clamp(min=1)).to(after.dtype)
