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

from typing import Any, NamedTuple

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
        gates, candidate, projected = at_one_precision(
            self.gates.weight, self.candidate.weight, self.inputs(inputs)
        )  # the last (b, t, 3n)
        states: Tensor = _Run.apply(projected, gates, candidate, real, backwards)
        return states


def at_one_precision(*tensors: Tensor) -> list[Tensor]:
    """Tensors as autocast would hand them to a matrix product."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return list(tensors)
    return [tensor.to(torch.get_autocast_dtype(device)) for tensor in tensors]


class Inside(NamedTuple):
    """What a step leaves for its way back, each (b, n)."""

    z: Tensor  # zero where there is padding, which so leaves the state as it was
    r: Tensor
    s: Tensor  # the candidate
    rh: Tensor  # r * h


def forth(a: Tensor, h: Tensor, gates: Tensor, candidate: Tensor, real: Tensor | None = None) -> tuple[Tensor, Inside]:
    """One step as `GatedUnit.forward` has it.

    Args:
        a: what the inputs give (b, 3n).
        h: the state (b, n).
        gates: U_z above U_r (2n, n).
        candidate: U (n, n).
        real: whether it is no padding (b,).
    """
    n = h.shape[1]
    z, r = torch.addmm(a[:, : 2 * n], h, gates.T).sigmoid_().chunk(2, dim=1)  # each (b, n)
    if real is not None:
        z = z * real[:, None]
    rh = r * h
    s = torch.addmm(a[:, 2 * n :], rh, candidate.T).tanh_()
    return torch.lerp(h, s, z), Inside(z, r, s, rh)


def back(dh: Tensor, h: Tensor, inside: Inside, gates: Tensor, candidate: Tensor, da: Tensor) -> Tensor:
    """The way back through one step: the gradient of the next state (b, n) to that of this one (b, n).

    Args:
        dh: the gradient of the next state.
        h: this state (b, n).
        inside: what `forth` left.
        gates: U_z above U_r (2n, n).
        candidate: U (n, n).
        da: takes the gradient of what the inputs give (b, 3n). With the states of all steps it also makes those of the
            weights, in one product each, where step by step they would be read and written as often as there are steps.
    """
    z, r, s, rh = inside
    n = h.shape[1]
    dz, dr, ds = da.split(n, dim=1)  # each (b, n)
    torch.mul(dh * z, torch.addcmul(s.new_ones(()), s, s, value=-1), out=ds)
    drh = ds @ candidate
    torch.mul(dh * (s - h), z * (1 - z), out=dz)
    torch.mul(drh * rh, 1 - r, out=dr)
    return torch.addmm(torch.addcmul(dh - dh * z, drh, r), da[:, : 2 * n], gates)


class _Run(torch.autograd.Function):
    """The states of a unit over sequences. Its gradient is tested against that of the steps one by one."""

    @staticmethod
    def forward(ctx: Any, projected: Tensor, gates: Tensor, candidate: Tensor, real: Tensor, backwards: bool) -> Tensor:
        """What the inputs give (b, t, 3n), and weights, to the states after each token (b, t, n)."""
        (b, t), n = projected.shape[:2], candidate.shape[0]
        order = list(reversed(range(t)) if backwards else range(t))
        states = projected.new_zeros(t + 1, b, n)  # in the order of reading, the first one zero
        kept = []
        with torch.autocast(projected.device.type, enabled=False):
            for at, step in enumerate(order):
                states[at + 1], inside = forth(projected[:, step], states[at], gates, candidate, real[:, step])
                kept.append(inside)
        ctx.order = order
        ctx.save_for_backward(states, gates, candidate, *(part for inside in kept for part in inside))
        found = states[1:].flip(0) if backwards else states[1:]
        return found.transpose(0, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """The gradient of the states (b, t, n) to those of the arguments."""
        states, gates, candidate, *kept = ctx.saved_tensors
        (given,) = gradients
        b, n = states.shape[1:]
        t = len(states) - 1
        da = states.new_empty(t, b, 3 * n)  # in the order of reading
        dh = torch.zeros_like(states[0])
        with torch.autocast(states.device.type, enabled=False):
            for at in reversed(range(t)):
                inside = Inside(*kept[4 * at : 4 * at + 4])
                dh = back(dh + given[:, ctx.order[at]], states[at], inside, gates, candidate, da[at])
            d_gates, d_candidate = of_weights(da, states[:-1], kept[3::4])
        placed = da.new_empty(b, t, 3 * n)
        placed[:, ctx.order] = da.transpose(0, 1)
        return placed, d_gates, d_candidate, None, None


def of_weights(da: Tensor, states: Tensor, rh: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The gradients of U_z above U_r (2n, n), and of U (n, n).

    Args:
        da: of what the inputs give, at each step (t, b, 3n).
        states: before each step (t, b, n).
        rh: r * h of each step (b, n).
    """
    n = states.shape[2]
    flat = da.flatten(0, 1)  # (t b, 3n)
    return flat[:, : 2 * n].T @ states.flatten(0, 1), flat[:, 2 * n :].T @ torch.cat(rh)
