"""First weights from uniform distributions that depend on a unit's number of inputs F.

`uniform_by_fan_in`: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition",
Proc. IEEE 86 (1998), appendix A: between -2.4/F and 2.4/F, F being the number of inputs of the unit that the connection
belongs to. Biases are weights like others. In a deep network signals shrink from layer to layer, and plain gradient
descent waits long before it starts: the paper's learning rates are set for each weight by its curvature.

`unit_variance`: LeCun, Bottou, Orr, Müller, "Efficient backprop", in Neural networks: tricks of the trade (1998),
section 4.6: variance 1/F, so that weighted sums of inputs of variance 1 have variance 1. Biases are zero.

Where connections share a weight, one value is drawn for all.
"""

import torch
from torch import Tensor, nn

from dltk.layers.subsampling import Subsampling
from dltk.layers.table_conv import TableConv2d

WIDTH = 2.4


@torch.no_grad()
def uniform_by_fan_in(
    network: nn.Module, name: str, parameter: nn.Parameter, generator: torch.Generator | None
) -> None:
    """Draw one parameter of a network in place from U(-2.4/F, 2.4/F).

    Args:
        network: owns the parameter.
        name: the parameter's name in it, such as `c3.weight`.
        parameter: is changed.
        generator: is drawn from; the global one if None.
    """
    module, _, kind = name.rpartition(".")
    parameter.uniform_(-WIDTH, WIDTH, generator=generator).div_(_fan_in(network.get_submodule(module), kind))


@torch.no_grad()
def unit_variance(network: nn.Module, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
    """Draw one parameter of a network in place: weights from U(-w, w) with w^2 = 3/F; biases are zero.

    Args:
        network: owns the parameter.
        name: the parameter's name in it, such as `c3.weight`.
        parameter: is changed.
        generator: is drawn from; the global one if None.
    """
    module, _, kind = name.rpartition(".")
    if kind == "bias":
        parameter.zero_()
        return
    bound = (3.0 / torch.as_tensor(_fan_in(network.get_submodule(module), kind))).sqrt()
    parameter.uniform_(-1, 1, generator=generator).mul_(bound)


def _fan_in(layer: nn.Module, kind: str) -> Tensor | float:
    if isinstance(layer, Subsampling | TableConv2d):
        return layer.fan_in(kind)
    weight = layer.weight
    assert isinstance(weight, Tensor), f"{type(layer).__name__} has no weight"
    return float(weight[0].numel())
