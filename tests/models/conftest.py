"""Counting as the papers count: units of each layer, and connections, shared weights counted at every place."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from dltk.layers.rbf_output import RBFOutput
from dltk.layers.subsampling import Subsampling
from dltk.layers.table_conv import TableConv2d


def connections(layer: nn.Module, output: torch.Size) -> int:
    """Connections into all units of a layer whose output for one image is (1, c, h, w) or (1, …, n)."""
    if isinstance(layer, RBFOutput):
        return layer.codes.numel()  # no bias
    if isinstance(layer, nn.Linear):
        return layer.weight.numel() + layer.bias.numel()
    places = output[-2] * output[-1]
    if isinstance(layer, Subsampling):
        return places * len(layer.weight) * (4 + 1)
    assert isinstance(layer, nn.Conv2d | TableConv2d)
    return places * (layer.weight.numel() + layer.bias.numel())


@pytest.fixture
def count() -> Callable[[nn.Module], dict[str, tuple[tuple[int, ...], int]]]:
    """A function: network to {layer: (output shape of one image, connections)}."""

    def run(model):
        seen = {}
        for name, layer in model.named_children():
            if list(layer.parameters()) or isinstance(layer, RBFOutput):
                layer.register_forward_hook(
                    lambda layer, _, y, name=name: seen.update(
                        {name: (tuple(y.shape[1:]), connections(layer, y.shape))}
                    )
                )
        model(torch.zeros(1, *model.input_shape))
        return seen

    return run
