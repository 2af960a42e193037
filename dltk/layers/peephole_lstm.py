"""A layer of memory cells whose gates see them, read forwards, or both ways at once, and its gradient by hand.

Graves, Mohamed, Hinton, "Speech recognition with deep recurrent neural networks", ICASSP (2013), equations 3 to 7:

    i = sigma(U_i x + W_i h + p_i * c + b_i)
    f = sigma(U_f x + W_f h + p_f * c + b_f)
    g = tanh(U_g x + W_g h + b_g)
    c' = f * c + i * g
    o = sigma(U_o x + W_o h + p_o * c' + b_o)
    h' = o * tanh(c')

What the inputs give is made for all steps at once, and both directions take a step together. On the way back the
gradients of weights and inputs are made from all steps, once, and a step does what needs the one behind it and no more.
The sums are those of autograd to rounding, which is tested.
"""

# Shapes: b sequences, t steps, s of a piece, x numbers read at each, d directions, n cells.

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dltk.layers.gated_unit import at_one_precision

PIECE = 1 << 16  # numbers of a gate that are worked out together on the way back, so that they stay in a cache


class PeepholeLSTM(nn.Module):
    """One layer of cells for each direction.

    Args:
        input_size: numbers read at each step (x).
        hidden_size: cells of a direction (n).
        bidirectional: read from the end too.
    """

    def __init__(self, input_size: int, hidden_size: int, *, bidirectional: bool = True) -> None:
        super().__init__()
        d = 1 + bidirectional
        self.inputs = nn.Parameter(torch.empty(d, input_size, 4 * hidden_size))  # U of i, f, o, g, transposed
        self.recurrent = nn.Parameter(torch.empty(d, hidden_size, 4 * hidden_size))  # W, likewise
        self.looks = nn.Parameter(torch.empty(d, 3, hidden_size))  # p of i, f, o
        self.bias = nn.Parameter(torch.empty(d, 4 * hidden_size))

    def forward(self, inputs: Tensor, real: Tensor) -> Tensor:
        """Inputs (b, t, x) to the cells' outputs after each of them (b, t, dn), those of the way forwards first.

        Args:
            inputs: the sequences.
            real: which steps are no padding, bool (b, t); it stands behind, and leaves states as zeros.
        """
        steps = inputs.transpose(0, 1)  # as a layer before has laid them
        given = at_one_precision(steps, self.inputs, self.recurrent, self.looks, self.bias)
        found: Tensor = _Run.apply(real.T, *given)  # (t, b, dn)
        return found.transpose(0, 1)

    def step(self, inputs: Tensor, state: Tensor) -> Tensor:
        """Inputs (b, x) of one step, and h and c (2, b, n), to the next h and c, of the way forwards."""
        h, c = state
        i, f, o, g = torch.addmm(self.bias[0] + inputs @ self.inputs[0], h, self.recurrent[0]).chunk(4, dim=1)
        p_i, p_f, p_o = self.looks[0]
        c = torch.sigmoid(f + p_f * c) * c + torch.sigmoid(i + p_i * c) * torch.tanh(g)
        return torch.stack([torch.sigmoid(o + p_o * c) * torch.tanh(c), c])


class _Run(torch.autograd.Function):
    """The outputs of cells over sequences.

    All that belongs to the way backwards lies in the order in which it is gone, so that a step of both ways is one
    tensor. Where a step is padding, what leads into the input and the forget gate is minus infinity: cells and outputs
    are zeros then, to the bit, and no gradient passes.
    """

    @staticmethod
    def forward(
        ctx: Any, real: Tensor, x: Tensor, inputs: Tensor, recurrent: Tensor, looks: Tensor, bias: Tensor
    ) -> Tensor:
        """Inputs (t, b, x), U (d, x, 4n), W (d, n, 4n), p (d, 3, n) and biases (d, 4n) to outputs (t, b, dn)."""
        t, b = x.shape[:2]
        d, n = recurrent.shape[:2]
        with torch.autocast(x.device.type, enabled=False):
            gates = torch.baddbmm(bias[:, None], _ways(x, d).flatten(1, 2), inputs).view(d, t, b, 4, n)
            gates[:, :, :, :2].masked_fill_(~_ways(real, d)[..., None, None], -torch.inf)
            states, cells = x.new_zeros(d, t + 1, b, n), x.new_zeros(d, t + 1, b, n)  # before each step, and at the end
            p_if, p_o = looks[:, None, :2], looks[:, None, 2]  # (d, 1, 2, n), (d, 1, n)
            at_steps = _at_steps(
                *(gates.flatten(3), gates[:, :, :, :2], *gates.unbind(3)),
                *(states[:, :-1], cells[:, :-1], cells[:, :-1, :, None], states[:, 1:], cells[:, 1:]),
            )
            for four, i_f, i, f, o, g, h, c, c_for_two, h_after, c_after in at_steps:
                torch.baddbmm(four, h, recurrent, out=four)
                i_f.addcmul_(p_if, c_for_two).sigmoid_()
                torch.mul(f, c, out=c_after).addcmul_(i, g.tanh_())
                o.addcmul_(p_o, c_after).sigmoid_()
                torch.tanh(c_after, out=h_after).mul_(o)
        ctx.save_for_backward(x, gates, states, cells, inputs, recurrent, looks)
        return torch.cat(_as_read(states[:, 1:]), dim=2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of the outputs (t, b, dn) to those of the arguments."""
        x, gates, states, cells, inputs, recurrent, looks = ctx.saved_tensors
        t, b = x.shape[:2]
        d, n = recurrent.shape[:2]
        given = torch.stack([one.flip(0) if way else one for way, one in enumerate(gradients[0].chunk(d, dim=2))])
        da, dc = torch.empty_like(gates), torch.zeros_like(cells[:, 0])
        with torch.autocast(x.device.type, enabled=False):
            back = recurrent.transpose(1, 2).contiguous()  # (d, 4n, n)
            before, dh = given.unbind(1), given[:, -1]
            at_steps = list(_at_steps(da.flatten(3), da[:, :, :, :2], da[:, :, :, 2], da[:, :, :, 3]))
            for step, of_gate, of_cell, of_two, of_input, kept in _slopes(gates, cells, looks):
                four, d_if, do, dg = at_steps[step]
                dc.addcmul_(dh, of_cell)
                torch.mul(dh, of_gate, out=do)
                torch.mul(dc[:, :, None], of_two, out=d_if)
                torch.mul(dc, of_input, out=dg)
                dc.mul_(kept)
                if step:
                    dh = torch.baddbmm(before[step - 1], four, back)
            flat = da.view(d, t * b, 4 * n)
            d_recurrent = torch.bmm(states[:, :-1].flatten(1, 2).transpose(1, 2), flat)
            d_inputs = torch.bmm(_ways(x, d).flatten(1, 2).transpose(1, 2), flat)
            seen = (cells[:, :-1], cells[:, :-1], cells[:, 1:])  # by i, f and o
            d_looks = torch.stack([(da[:, :, :, at] * c).sum((1, 2)) for at, c in enumerate(seen)], dim=1)
            dx = None
            if ctx.needs_input_grad[1]:
                dx = torch.stack(_as_read(torch.bmm(flat, inputs.transpose(1, 2)).view(d, t, b, -1))).sum(0)
        return None, dx, d_inputs, d_recurrent, d_looks, flat.sum(1)


def _ways(steps: Tensor, d: int) -> Tensor:
    """What stands at each step (t, ...) in the order of each way (d, t, ...)."""
    return torch.stack([steps, steps.flip(0)]) if d == 2 else steps[None]


def _as_read(ways: Tensor) -> list[Tensor]:
    """What stands at each step of each way (d, t, ...) in the order in which the inputs came, d times (t, ...)."""
    return [one.flip(0) if way else one for way, one in enumerate(ways.unbind(0))]


def _at_steps(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors (d, t, ...) as they are at each step, d of each: views."""
    return zip(*(one.unbind(1) for one in tensors), strict=True)


def _slopes(gates: Tensor, cells: Tensor, looks: Tensor) -> Iterator[tuple[Any, ...]]:
    """The steps from the last on, and what each multiplies its gradients by.

    These are: dh for what leads into the output gate; dh for the cell, each (d, b, n), what it does by that gate
    included; dc for what leads into i and f (d, b, 2, n), and into g (d, b, n); and dc for the cell before (d, b, n),
    what that does by the gates included.
    """
    d, t, b, _, n = gates.shape
    p_i, p_f, p_o = (looks[:, None, None, at] for at in range(3))  # each (d, 1, 1, n)
    length = max(1, PIECE // (d * b * n))
    for end in range(t, 0, -length):
        steps = slice(max(0, end - length), end)
        i, f, o, g = gates[:, steps].unbind(3)  # each (d, s, b, n)
        rising = torch.addcmul(gates[:, steps, :, :3], gates[:, steps, :, :3], gates[:, steps, :, :3], value=-1)
        squashed = cells[:, steps.start + 1 : end + 1].tanh()
        of_gate = squashed * rising[:, :, :, 2]
        of_cell = torch.addcmul(o - o * squashed.square_(), p_o, of_gate)
        of_two = torch.stack([g * rising[:, :, :, 0], cells[:, steps] * rising[:, :, :, 1]], dim=3)
        of_input = i - i * g.square()
        kept = f + p_i * of_two[:, :, :, 0] + p_f * of_two[:, :, :, 1]
        each = list(_at_steps(of_gate, of_cell, of_two, of_input, kept))
        for at in reversed(range(len(each))):
            yield steps.start + at, *each[at]
