"""LeNet-1 against the counts of the paper, and the halves of H3."""

import torch
import torch.nn.functional as F

from dltk.models.lenet1 import H3_TABLE, LeNet1


def test_published_counts(count):
    model = LeNet1()
    layers = count(model)
    assert {name: shape for name, (shape, _) in layers.items()} == {
        "h1": (4, 24, 24),
        "h2": (4, 12, 12),
        "h3": (12, 8, 8),
        "h4": (12, 4, 4),
        "output": (10,),
    }
    units = 28 * 28 + sum(torch.Size(shape).numel() for shape, _ in layers.values()) + 1  # one unit feeds the biases
    assert units == 4_635
    assert sum(connections for _, connections in layers.values()) == 98_442
    assert sum(p.numel() for p in model.parameters()) == 2_578


def test_parameters_of_each_layer():
    model = LeNet1()
    sizes = {name: sum(p.numel() for p in layer.parameters()) for name, layer in model.named_children()}
    assert sizes == {"h1": 104, "h2": 8, "h3": 512, "h4": 24, "output": 1930, "squash": 0}


def test_table_has_two_independent_halves_of_ten_links():
    assert [sum(map(len, half)) for half in (H3_TABLE[:6], H3_TABLE[6:])] == [10, 10]
    assert [len(row) for row in H3_TABLE] == [1, 2, 2, 1, 2, 2] * 2
    # Maps 1, 4, 7, 10 of the paper read one map, and no two of them the same.
    assert sorted(H3_TABLE[number - 1][0] for number in (1, 4, 7, 10)) == [0, 1, 2, 3]


def test_h2_maps_3_and_4_do_not_reach_h3_maps_1_to_6():
    model = LeNet1()
    h2 = torch.randn(2, 4, 12, 12)
    changed = h2.clone()
    changed[:, 2:] += torch.randn(2, 2, 12, 12)
    before, after = model.h3(h2), model.h3(changed)
    assert torch.equal(before[:, :6], after[:, :6])
    assert (before[:, 6:] != after[:, 6:]).any(dim=-1).any(dim=-1).all()


def test_forward_equals_the_layers_written_out():
    model = LeNet1().double()
    x = torch.rand(3, 1, 28, 28, dtype=torch.float64)

    def f(a):
        return 1.7159 * torch.tanh(2 * a / 3)

    def mean(y):
        return (y[..., ::2, ::2] + y[..., 1::2, ::2] + y[..., ::2, 1::2] + y[..., 1::2, 1::2]) / 4

    y = f(F.conv2d(x, model.h1.weight, model.h1.bias))
    y = f(mean(y) * model.h2.weight[:, None, None] + model.h2.bias[:, None, None])
    y = f(F.conv2d(y, model.h3.kernels(), model.h3.bias))
    y = f(mean(y) * model.h4.weight[:, None, None] + model.h4.bias[:, None, None])
    y = f(y.flatten(1) @ model.output.weight.T + model.output.bias)
    torch.testing.assert_close(model(x), y)
