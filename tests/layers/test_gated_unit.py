"""The gated unit of 2014: its equations, what its gates do at their ends, and where it is torch's."""

import pytest
import torch
from torch import nn

from dltk.layers.gated_unit import GatedUnit


def drawn(n: int = 4, e: int = 3) -> GatedUnit:
    torch.manual_seed(0)
    return GatedUnit(e, n).double()


def test_it_is_its_equations():
    unit = drawn()
    x, h = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    w_z, w_r, w = unit.inputs.weight.split(4)
    b_z, b_r, b = unit.inputs.bias.split(4)
    u_z, u_r = unit.gates.weight.split(4)
    z, r = torch.sigmoid(x @ w_z.T + b_z + h @ u_z.T), torch.sigmoid(x @ w_r.T + b_r + h @ u_r.T)
    s = torch.tanh(x @ w.T + b + (r * h) @ unit.candidate.weight.T)
    torch.testing.assert_close(unit(unit.inputs(x), h), (1 - z) * h + z * s, rtol=0, atol=1e-12)


def test_a_closed_update_gate_copies_the_state():
    unit = drawn()
    with torch.no_grad():
        unit.inputs.bias[:4] = -1e4
    h = torch.randn(2, 4, dtype=torch.float64)
    assert torch.equal(unit(unit.inputs(torch.randn(2, 3, dtype=torch.float64)), h), h)


def test_open_gates_make_it_a_plain_recurrent_layer():
    unit = drawn()
    with torch.no_grad():
        unit.inputs.bias[:8] = 1e4
    x, h = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    plain = torch.tanh(x @ unit.inputs.weight[8:].T + unit.inputs.bias[8:] + h @ unit.candidate.weight.T)
    torch.testing.assert_close(unit(unit.inputs(x), h), plain, rtol=0, atol=1e-12)


def as_torch(unit: GatedUnit) -> nn.GRUCell:
    """torch's cell with the same weights; its update gate is one less ours."""
    cell = nn.GRUCell(3, 4).double()
    w_z, w_r, w = unit.inputs.weight.detach().split(4)
    b_z, b_r, b = unit.inputs.bias.detach().split(4)
    u_z, u_r = unit.gates.weight.detach().split(4)
    with torch.no_grad():
        cell.weight_ih.copy_(torch.cat([w_r, -w_z, w]))
        cell.bias_ih.copy_(torch.cat([b_r, -b_z, b]))
        cell.weight_hh.copy_(torch.cat([u_r, -u_z, unit.candidate.weight.detach()]))
        cell.bias_hh.zero_()
    return cell


def test_it_is_torch_s_for_a_diagonal_matrix_only():
    unit = drawn()
    x, h = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    assert not torch.allclose(unit(unit.inputs(x), h), as_torch(unit)(x, h))
    with torch.no_grad():
        unit.candidate.weight.copy_(torch.diag(torch.randn(4)))
    torch.testing.assert_close(unit(unit.inputs(x), h), as_torch(unit)(x, h), rtol=0, atol=1e-12)


def test_runs_in_both_directions_over_padding():
    unit = drawn()
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    real = torch.tensor([[True] * 5, [True, True, True, False, False]])
    ahead, back = unit.run(x, real), unit.run(x, real, backwards=True)
    h = torch.zeros(1, 4, dtype=torch.float64)
    for step in range(3):
        h = unit(unit.inputs(x[1:, step]), h)
        torch.testing.assert_close(ahead[1, step], h[0])
    torch.testing.assert_close(ahead[1, 4], ahead[1, 2])
    assert not back[1, 3:].any()
    turned = unit.run(x[1:, :3].flip(1), real[1:, :3])
    torch.testing.assert_close(back[1, :3], turned[0].flip(0))


@pytest.mark.parametrize("backwards", [False, True])
def test_its_gradient_by_hand_is_that_of_the_steps(backwards: bool):
    unit = drawn()
    x = torch.randn(3, 5, 3, dtype=torch.float64, requires_grad=True)
    real = torch.tensor([[True] * 5, [True, True, True, False, False], [False] * 5])
    weights = torch.randn(3, 5, 4, dtype=torch.float64)
    h, states = torch.zeros(3, 4, dtype=torch.float64), [torch.empty(0)] * 5
    for step in reversed(range(5)) if backwards else range(5):
        h = torch.where(real[:, step, None], unit(unit.inputs(x[:, step]), h), h)
        states[step] = h
    over = [x, *unit.parameters()]
    one_by_one = torch.autograd.grad((weights * torch.stack(states, 1)).sum(), over)
    at_once = torch.autograd.grad((weights * unit.run(x, real, backwards=backwards)).sum(), over)
    torch.testing.assert_close(at_once, one_by_one, rtol=0, atol=1e-12)


def test_runs_in_16_bits_where_autocast_says_so():
    unit = drawn(16, 16).float()
    x, real = torch.randn(2, 6, 16), torch.ones(2, 6, dtype=torch.bool)
    exact = unit.run(x, real)
    expected = torch.autograd.grad(exact.square().sum(), list(unit.parameters()))
    with torch.autocast("cpu", torch.bfloat16):
        rough = unit.run(x, real)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, rtol=0, atol=0.03)
    found = torch.autograd.grad(rough.float().square().sum(), list(unit.parameters()))
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.03 * other.norm()
