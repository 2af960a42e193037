"""The gated unit of 2014: its equations, what its gates do at their ends, and where it is torch's."""

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
