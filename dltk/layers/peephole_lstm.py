"""A layer of memory cells whose gates see them, read forwards, or both ways at once, and its gradient by hand.

Graves, Mohamed, Hinton, "Speech recognition with deep recurrent neural networks", ICASSP (2013), equations 3 to 7:

    i = sigma(U_i x + W_i h + p_i * c + b_i)
    f = sigma(U_f x + W_f h + p_f * c + b_f)
    g = tanh(U_g x + W_g h + b_g)
    c' = f * c + i * g
    o = sigma(U_o x + W_o h + p_o * c' + b_o)
    h' = o * tanh(c')

What the inputs give is made for all steps at once, and both directions take a step together. On the way back the
gradients of weights and inputs are made from all steps, once. The sums are those of autograd to rounding, which is
tested.
"""

# Shapes: b sequences, t steps, x numbers read at each, d directions, n cells.

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

    What belongs to the way forwards lies in the order of the steps, and so does what belongs to the way backwards: no
    sequence is turned round. A state is kept behind its step on the way forwards, and before it on the way backwards.
    """

    @staticmethod
    def forward(
        ctx: Any, real: Tensor, x: Tensor, inputs: Tensor, recurrent: Tensor, looks: Tensor, bias: Tensor
    ) -> Tensor:
        """Inputs (t, b, x), U (d, x, 4n), W (d, n, 4n), p (d, 3, n) and biases (d, 4n) to outputs (t, b, dn)."""
        t, b = x.shape[:2]
        d, n = recurrent.shape[:2]
        with torch.autocast(x.device.type, enabled=False):
            gates = torch.baddbmm(bias[:, None], x.flatten(0, 1).expand(d, -1, -1), inputs)  # (d, tb, 4n)
            states, cells = x.new_zeros(d, t + 1, b, n), x.new_zeros(d, t + 1, b, n)
            p_if, p_o = looks[:, None, :2], looks[:, None, 2]  # (d, 1, 2, n), (d, 1, n)
            masks = _masks(real, d)
            for step in range(t):
                four = _at(gates, step, t, (b, 4, n))  # (d, b, 4, n)
                h, c = (_before(kept, step, t) for kept in (states, cells))  # each (d, b, n)
                h_after, c_after = (_behind(kept, step, t) for kept in (states, cells))
                flat = four.view(d, b, 4 * n)
                torch.baddbmm(flat, h, recurrent, out=flat)
                four[:, :, :2].addcmul_(p_if, c[:, :, None]).sigmoid_()
                i, f, o, g = four.unbind(2)
                torch.mul(f, c, out=c_after).addcmul_(i, g.tanh_())
                o.addcmul_(p_o, c_after).sigmoid_()
                torch.tanh(c_after, out=h_after).mul_(o)
                if (mask := masks[step]) is not None:
                    c_after.mul_(mask)
                    h_after.mul_(mask)
        ctx.masks = masks
        ctx.save_for_backward(x, gates, states, cells, inputs, recurrent, looks)
        return torch.cat([states[0, 1:], *states[1:, :-1]], dim=2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of the outputs (t, b, dn) to those of the arguments."""
        x, gates, states, cells, inputs, recurrent, looks = ctx.saved_tensors
        t, b = x.shape[:2]
        d, n = recurrent.shape[:2]
        given = torch.stack(gradients[0].chunk(d, dim=2))  # (d, t, b, n)
        da = torch.empty_like(gates)  # (d, tb, 4n)
        dh, dc = torch.zeros_like(states[:, 0]), torch.zeros_like(states[:, 0])
        p_i, p_f, p_o = (looks[:, None, at] for at in range(3))  # each (d, 1, n)
        with torch.autocast(x.device.type, enabled=False):
            back = recurrent.transpose(1, 2).contiguous()  # (d, 4n, n)
            for step, slopes in _slopes(gates, cells, t):
                of_gate, of_cell, of_three, kept = slopes
                four = _at(da, step, t, (b, 4, n))
                di, df, do, dg = four.unbind(2)
                dh = dh + _at(given, step, t, (b, n))
                if ctx.masks[step] is not None:
                    dh, dc = dh * ctx.masks[step], dc * ctx.masks[step]
                torch.mul(dh, of_gate, out=do)
                dc.addcmul_(dh, of_cell).addcmul_(do, p_o)
                torch.mul(dc[:, :, None], of_three[:, :, :2], out=four[:, :, :2])
                torch.mul(dc, of_three[:, :, 2], out=dg)
                dc = torch.mul(dc, kept).addcmul_(di, p_i).addcmul_(df, p_f)
                dh = torch.bmm(four.view(d, b, 4 * n), back)
            before = [torch.stack([kept[0, :-1], *kept[1:, 1:]]) for kept in (states, cells)]  # each (d, t, b, n)
            behind = torch.stack([cells[0, 1:], *cells[1:, :-1]])
            d_recurrent = torch.bmm(before[0].flatten(1, 2).transpose(1, 2), da)
            d_inputs = torch.bmm(x.flatten(0, 1).T.expand(d, -1, -1), da)
            parts = da.view(d, t * b, 4, n).unbind(2)
            seen = (before[1], before[1], behind)
            d_looks = torch.stack(
                [(part * cell.flatten(1, 2)).sum(1) for part, cell in zip(parts, seen, strict=False)], dim=1
            )
            dx = torch.bmm(da, inputs.transpose(1, 2)).sum(0).view_as(x) if ctx.needs_input_grad[1] else None
        return None, dx, d_inputs, d_recurrent, d_looks, da.sum(1)


def _at(kept: Tensor, step: int, t: int, shape: tuple[int, ...]) -> Tensor:
    """What both directions have at their step of a tensor (d, t, ...): the last but `step` on the way backwards."""
    return _blocks(kept, step, 2 * t - 1 - step, shape)


def _before(states: Tensor, step: int, t: int) -> Tensor:
    """States (d, t + 1, b, n) to those before a step (d, b, n)."""
    return _blocks(states, step, 2 * t + 1 - step, tuple(states.shape[2:]))


def _behind(states: Tensor, step: int, t: int) -> Tensor:
    """States (d, t + 1, b, n) to those behind a step (d, b, n)."""
    return _blocks(states, step + 1, 2 * t - step, tuple(states.shape[2:]))


def _blocks(kept: Tensor, first: int, second: int, shape: tuple[int, ...]) -> Tensor:
    """Two blocks of a contiguous tensor as one, (d, *shape), which lies where they lie; of one direction the first."""
    inner = torch.Size(shape).numel()
    strides = [1]
    for size in shape[:0:-1]:
        strides.insert(0, strides[0] * size)
    return kept.as_strided((len(kept), *shape), ((second - first) * inner, *strides), first * inner)


def _masks(real: Tensor, d: int) -> list[Tensor | None]:
    """Which steps (t, b) are real, as factors (d, b, 1) at each step; None where all are."""
    both = torch.stack([real, real.flip(0)][:d])[..., None]  # (d, t, b, 1)
    whole = both.flatten(2).all(2).all(0).tolist()
    return [None if complete else both[:, step] for step, complete in enumerate(whole)]


def _slopes(gates: Tensor, cells: Tensor, t: int) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
    """The steps from the last on, and what each multiplies its gradients by.

    These are: dh for the output gate; dh for the cell, each (d, b, n); dc for i, f and g (d, b, 3, n); and dc for the
    cell before, which is f (d, b, n).
    """
    d, _, b, n = cells.shape
    length = max(1, PIECE // (d * b * n))
    for end in range(t, 0, -length):
        steps = range(max(0, end - length), end)
        four = torch.stack([_at(gates, step, t, (b, 4, n)) for step in steps])  # (s, d, b, 4, n)
        c = torch.stack([_before(cells, step, t) for step in steps])  # (s, d, b, n)
        squashed = torch.stack([_behind(cells, step, t) for step in steps]).tanh_()
        i, f, o, g = four.unbind(3)
        rising = torch.addcmul(four[:, :, :, :3], four[:, :, :, :3], four[:, :, :, :3], value=-1)  # s (1 - s)
        of_gate = squashed * rising[:, :, :, 2]
        of_cell = o - o * squashed.square_()
        of_three = torch.stack([g * rising[:, :, :, 0], c * rising[:, :, :, 1], i - i * g.square()], dim=3)
        for at in reversed(range(len(steps))):
            yield steps[at], (of_gate[at], of_cell[at], of_three[at], f[at])
