"""A column against the counts of its table 1, and a committee of equal columns."""

import numpy as np
import pytest
import torch

from dltk.launch.ensemble import Ensemble
from dltk.launch.evaluation import Evaluated
from dltk.models.multi_column import Column
from dltk.run.folder import RunFolder
from dltk.tasks.classification import Classification


def test_published_sizes_and_counts():
    model, shapes = Column(), {}
    for name, layer in model.named_children():
        layer.register_forward_hook(lambda _, x, y, name=name: shapes.update({name: tuple(y.shape[1:])}))
    model(torch.zeros(1, 3, 48, 48))
    wanted = {"conv1": (100, 42, 42), "conv2": (150, 18, 18), "conv3": (250, 6, 6), "full": (300,), "output": (43,)}
    assert {name: shapes[name] for name in wanted} == wanted
    counts = [sum(p.numel() for p in model.get_submodule(name).parameters()) for name in wanted]
    assert counts == [14_800, 240_150, 600_250, 675_300, 12_943]
    assert sum(counts) == 1_543_443


def test_first_weights_are_the_papers():
    weights = torch.cat([parameter.detach().flatten() for parameter in Column().parameters()])
    assert weights.abs().max() <= 0.05
    assert weights.std() == pytest.approx(0.05 / 3**0.5, rel=0.01)


def test_forward_equals_the_layers_written_out():
    model, x = Column(num_classes=4, narrow=25).double(), torch.rand(2, 3, 48, 48, dtype=torch.float64)
    y = 2 * x - 1
    for layer in (model.conv1, model.conv2, model.conv3):
        windows = y.unfold(2, layer.kernel_size[0], 1).unfold(3, layer.kernel_size[0], 1)  # (b, c, h, w, k, k)
        y = torch.einsum("bchwij,ocij->bohw", windows, layer.weight) + layer.bias[:, None, None]
        y = 1.7159 * torch.tanh(2 / 3 * y)
        y = y.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).amax((3, 5))
    y = 1.7159 * torch.tanh(2 / 3 * (y.flatten(1) @ model.full.weight.T + model.full.bias))
    torch.testing.assert_close(model(x), y @ model.output.weight.T + model.output.bias)


def committee(tmp_path, columns, images):
    """The mean of what columns think of images, as `dltk evaluate` takes it."""
    together = Ensemble()
    for number, column in enumerate(columns):
        task = Classification(column)
        scores = task(images).detach().numpy()
        samples = {"keys": np.arange(len(images)).astype(str), "targets": np.zeros(len(images), int), "scores": scores}
        together.add(RunFolder(tmp_path / str(number)), Evaluated({}, samples, task))
    return torch.from_numpy(together.samples()["scores"]).exp()


def test_a_committee_of_equal_columns_is_the_column(tmp_path):
    column = Column(num_classes=4, preprocessing="histeq", narrow=10)
    images = torch.randint(0, 256, (6, 3, 48, 48), dtype=torch.uint8)
    alone = Classification(column)(images).softmax(1)
    torch.testing.assert_close(committee(tmp_path, [column] * 5, images), alone)


def test_a_committee_averages_probabilities(tmp_path):
    columns = [Column(num_classes=4, preprocessing=way, narrow=10) for way in ("raw", "imadjust", "conorm")]
    images = torch.randint(0, 256, (6, 3, 48, 48), dtype=torch.uint8)
    each = torch.stack([Classification(column)(images).softmax(1) for column in columns])
    torch.testing.assert_close(committee(tmp_path, columns, images), each.mean(0))
