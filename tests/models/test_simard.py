"""The ConvNet of Simard, Steinkraus and Platt against the counts of its figure 3."""

import torch
import torch.nn.functional as F

from dltk.models.simard import SimardNet


def test_published_counts(count):
    layers = {name: shape for name, (shape, _) in count(SimardNet()).items()}
    assert layers == {"conv1": (5, 13, 13), "conv2": (50, 5, 5), "full": (100,), "output": (10,)}
    sizes = {name: sum(p.numel() for p in layer.parameters()) for name, layer in SimardNet().named_children()}
    assert sizes == {"conv1": 130, "conv2": 6_300, "full": 125_100, "output": 1_010, "squash": 0}


def test_forward_equals_the_layers_written_out():
    model = SimardNet(num_classes=3).double()
    x = torch.rand(2, 1, 29, 29, dtype=torch.float64)

    def f(a):
        return 1.7159 * torch.tanh(2 * a / 3)

    y = f(F.conv2d(x, model.conv1.weight, model.conv1.bias)[..., ::2, ::2])
    y = f(F.conv2d(y, model.conv2.weight, model.conv2.bias)[..., ::2, ::2])
    y = f(y.flatten(1) @ model.full.weight.T + model.full.bias)
    torch.testing.assert_close(model(x), y @ model.output.weight.T + model.output.bias)
