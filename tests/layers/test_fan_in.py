"""First weights of the LeNets: range, independence of order."""

import pytest
import torch
from torch import nn

from dltk.layers.fan_in import uniform_by_fan_in, unit_variance
from dltk.layers.subsampling import Subsampling
from dltk.layers.table_conv import TableConv2d


def network():
    return nn.ModuleDict(
        {
            "conv": nn.Conv2d(3, 200, 5),
            "sum": Subsampling(2000),
            "mean": Subsampling(2000, average=True),
            "table": TableConv2d(3, ((0,), (0, 1, 2)) * 50, 5),
            "full": nn.Linear(40, 200),
        }
    )


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("conv.weight", 75),
        ("conv.bias", 75),
        ("sum.weight", 4),
        ("sum.bias", 4),
        ("mean.weight", 1),  # spread over four inputs: 2.4 / 4 for each
        ("mean.bias", 4),
        ("full.weight", 40),
        ("full.bias", 40),
    ],
)
def test_fills_the_range_evenly(name, inputs):
    net = network()
    parameter = net.get_parameter(name)
    uniform_by_fan_in(net, name, parameter, torch.Generator().manual_seed(0))
    bound = 2.4 / inputs
    assert parameter.abs().max() <= bound
    assert parameter.max() > 0.95 * bound
    assert parameter.min() < -0.95 * bound
    assert abs(parameter.mean()) < 0.15 * bound


def test_a_table_counts_the_links_of_each_map():
    net = network()
    weight = net.get_parameter("table.weight")  # links: 1, 3, 1, 3, ...
    uniform_by_fan_in(net, "table.weight", weight, torch.Generator().manual_seed(0))
    bounds = weight.view(50, 4, 25).abs().amax((0, 2))
    torch.testing.assert_close(bounds, 2.4 / torch.tensor([25.0, 75, 75, 75]), rtol=0.02, atol=0)


@pytest.mark.parametrize(("name", "inputs"), [("conv.weight", 75), ("sum.weight", 4), ("full.weight", 40)])
def test_unit_variance_is_one_over_the_inputs(name, inputs):
    net = network()
    parameter = net.get_parameter(name)
    unit_variance(net, name, parameter, torch.Generator().manual_seed(0))
    torch.testing.assert_close(parameter.var(), torch.tensor(1 / inputs), rtol=0.06, atol=0)


def test_unit_variance_counts_the_links_of_a_table_and_clears_biases():
    net = network()
    for name in ("table.weight", "table.bias"):
        unit_variance(net, name, net.get_parameter(name), torch.Generator().manual_seed(0))
    variances = net.get_parameter("table.weight").view(50, 4, 25).var(dim=(0, 2))
    torch.testing.assert_close(variances, 1 / torch.tensor([25.0, 75, 75, 75]), rtol=0.15, atol=0)
    assert not net.get_parameter("table.bias").any()
