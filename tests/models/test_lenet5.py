"""LeNet-5 against the counts of the paper, its connection table, its two outputs, and replication over wider images."""

import pytest
import torch
import torch.nn.functional as F

from dltk.layers.rbf_output import digit_codes
from dltk.models.lenet5 import C3_TABLE, LeNet5

PARAMETERS = {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164}
CONNECTIONS = {
    "c1": 122_304,
    "s2": 5_880,
    "c3": 151_600,
    "s4": 2_000,
    "c5": 48_120,
    "f6": 10_164,
    "output": 840,
}


def test_published_counts(count):
    model = LeNet5(output="rbf")
    layers = count(model)
    assert {name: connections for name, (_, connections) in layers.items()} == CONNECTIONS
    assert sum(CONNECTIONS.values()) == 340_908
    sizes = {name: sum(p.numel() for p in getattr(model, name).parameters()) for name in PARAMETERS}
    assert sizes == PARAMETERS
    assert sum(p.numel() for p in model.parameters()) == sum(PARAMETERS.values()) == 60_000


def test_published_map_sizes(count):
    layers = count(LeNet5())
    assert {name: shape for name, (shape, _) in layers.items()} == {
        "c1": (6, 28, 28),
        "s2": (6, 14, 14),
        "c3": (16, 10, 10),
        "s4": (16, 5, 5),
        "c5": (120, 1, 1),
        "f6": (1, 1, 84),
        "output": (1, 1, 10),
    }


@pytest.mark.parametrize(("classes", "parameters"), [(10, 60_850), (2, 60_170)])
def test_trained_output_adds_85_parameters_a_class(classes, parameters):
    assert sum(p.numel() for p in LeNet5(num_classes=classes).parameters()) == parameters


def test_table_has_the_rows_of_the_paper():
    def contiguous(size):
        return {tuple(sorted((start + i) % 6 for i in range(size))) for start in range(6)}

    assert set(C3_TABLE[:6]) == contiguous(3)
    assert set(C3_TABLE[6:12]) == contiguous(4)
    assert set(C3_TABLE[12:15]) == {(0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)}
    assert C3_TABLE[15] == (0, 1, 2, 3, 4, 5)
    assert sum(map(len, C3_TABLE)) == 60
    # Each of S2's maps is read equally often.
    assert [sum(c in row for row in C3_TABLE) for c in range(6)] == [10] * 6


def f(a):
    return 1.7159 * torch.tanh(2 * a / 3)


def total(y):
    return y[..., ::2, ::2] + y[..., 1::2, ::2] + y[..., ::2, 1::2] + y[..., 1::2, 1::2]


@pytest.mark.parametrize("output", ["softmax", "rbf"])
def test_forward_equals_the_layers_written_out(output):
    model = LeNet5(output=output).double()
    x = torch.rand(3, 1, 32, 32, dtype=torch.float64)
    y = f(F.conv2d(x, model.c1.weight, model.c1.bias))
    y = f(total(y) * model.s2.weight[:, None, None] + model.s2.bias[:, None, None])
    y = f(F.conv2d(y, model.c3.kernels(), model.c3.bias))
    y = f(total(y) * model.s4.weight[:, None, None] + model.s4.bias[:, None, None])
    y = f(y.flatten(1) @ model.c5.weight.flatten(1).T + model.c5.bias)
    y = f(y @ model.f6.weight.T + model.f6.bias)
    if output == "softmax":
        y = y @ model.output.weight.T + model.output.bias
    else:
        y = -torch.stack([(y - code).square().sum(1) for code in digit_codes().double()], 1)
    torch.testing.assert_close(model(x), y)


def test_rbf_scores_are_minus_the_squared_distances():
    model = LeNet5(output="rbf").eval()
    scores = model(torch.rand(4, 1, 32, 32))
    assert (scores < 0).all()
    assert scores.shape == (4, 10)


@pytest.mark.parametrize("output", ["softmax", "rbf"])
def test_replication_equals_the_network_at_every_fourth_place(output):
    model = LeNet5(output=output).double().eval()
    images = torch.rand(2, 1, 36, 40, dtype=torch.float64)
    maps = model.replicate(images)
    assert maps.shape == (2, 10, 2, 3)
    for i in range(2):
        for j in range(3):
            window = images[:, :, 4 * i : 4 * i + 32, 4 * j : 4 * j + 32]
            torch.testing.assert_close(maps[:, :, i, j], model(window))


def test_an_image_of_32_by_40_gives_a_map_of_1_by_3():
    assert LeNet5().replicate(torch.zeros(1, 1, 32, 40)).shape == (1, 10, 1, 3)


@pytest.mark.parametrize("size", [(28, 32), (32, 34), (33, 32)])
def test_replication_refuses_sizes_that_do_not_fit(size):
    message = f"images are {size[0]} x {size[1]}. Pad rows and columns to multiples of 4, at least 32"
    with pytest.raises(ValueError, match=message):
        LeNet5().replicate(torch.zeros(1, 1, *size))


def test_scores_start_small():
    # An untrained softmax knows nothing: its loss is about ln 10.
    torch.manual_seed(0)
    images = torch.rand(64, 1, 32, 32)
    loss = F.cross_entropy(LeNet5()(images), torch.arange(64) % 10)
    assert abs(loss - 2.303) < 0.3
