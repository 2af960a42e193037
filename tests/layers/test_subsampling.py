"""Trained subsampling against a loop over units."""

import pytest
import torch

from dltk.layers.subsampling import Subsampling


@pytest.mark.parametrize(("average", "share"), [(False, 1.0), (True, 0.25)])
def test_equals_a_loop_over_units(average, share):
    layer = Subsampling(3, average=average).double()
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    maps = torch.randn(2, 3, 6, 8, dtype=torch.float64)
    made = layer(maps)
    assert made.shape == (2, 3, 3, 4)
    for b in range(2):
        for c in range(3):
            for i in range(3):
                for j in range(4):
                    total = sum(maps[b, c, 2 * i + u, 2 * j + v] for u in (0, 1) for v in (0, 1))
                    wanted = share * total * layer.weight[c] + layer.bias[c]
                    torch.testing.assert_close(made[b, c, i, j], wanted)


def test_has_one_weight_and_one_bias_for_each_map():
    assert sum(p.numel() for p in Subsampling(16).parameters()) == 32


def test_odd_maps_are_our_own_mistake():
    with pytest.raises(AssertionError, match="cannot be halved"):
        Subsampling(1)(torch.zeros(1, 1, 5, 4))
