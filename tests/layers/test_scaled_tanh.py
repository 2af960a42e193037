"""1.7159 tanh(2a/3): its fixed points, and where it bends most."""

import torch

from dltk.layers.scaled_tanh import ScaledTanh


def test_plus_and_minus_one_stay():
    a = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(ScaledTanh()(a), a, atol=2e-5, rtol=0)


def test_is_odd_and_bounded():
    a = torch.linspace(-50, 50, 1001, dtype=torch.float64)
    y = ScaledTanh()(a)
    torch.testing.assert_close(y, -y.flip(0))
    assert y.abs().max() <= 1.7159


def test_bends_most_near_plus_and_minus_one():
    a = torch.linspace(0, 3, 3001, dtype=torch.float64)
    bend = ScaledTanh()(a).diff(n=2).abs()
    assert abs(a[1 + int(bend.argmax())] - 1) < 0.02
