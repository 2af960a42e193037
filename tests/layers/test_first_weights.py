"""First weights against the variances and bounds of their papers."""

import math

import pytest
import torch
from torch import nn

from dltk.layers.first_weights import glorot, he, normal

# Layer, inputs of a unit (F), how many units read an input (G, of a convolution at all its places).
LAYERS = [
    (lambda: nn.Linear(300, 200), 300, 200),
    (lambda: nn.Conv2d(16, 48, 5), 16 * 25, 48 * 25),
    (lambda: nn.Conv2d(16, 48, 5, groups=2), 8 * 25, 48 * 25),
]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize(("make", "inputs", "readers"), LAYERS)
def test_he_keeps_the_size_of_signals_behind_rectifiers(make, inputs, readers):
    weight = make().weight
    he(weight, generator())
    assert weight.std().item() == pytest.approx(math.sqrt(2 / inputs), rel=0.03)
    assert abs(weight.mean().item()) < 0.03 * math.sqrt(2 / inputs)
    assert weight.abs().max() > 3 * math.sqrt(2 / inputs), "normal, not uniform"


@pytest.mark.parametrize(("make", "inputs", "readers"), LAYERS)
def test_glorot_is_uniform_within_its_bound(make, inputs, readers):
    weight = make().weight
    glorot(weight, generator())
    bound = math.sqrt(6 / (inputs + readers))
    assert 0.98 * bound < weight.abs().max().item() <= bound
    assert weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)


def test_normal_takes_a_deviation_not_a_variance():
    weight = nn.Linear(300, 200).weight
    normal(weight, 0.01, generator())
    assert weight.std().item() == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize("draw", [he, glorot, lambda weight, generator: normal(weight, 0.1, generator)])
def test_all_is_drawn_from_the_generator(draw):
    one, other = nn.Linear(9, 7).weight, nn.Linear(9, 7).weight
    state = torch.get_rng_state()
    draw(one, generator())
    draw(other, generator())
    assert torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)
