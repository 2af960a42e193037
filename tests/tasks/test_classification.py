"""The losses against their equations, and the sums that make every split of a batch equal."""

import math

import pytest
import torch
from torch import nn

from dltk.tasks.classification import Classification
from dltk.tasks.task import Procedure
from dltk.tasks.totals import Totals


def batch(images: torch.Tensor, targets: torch.Tensor, weight: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    return {"image": images, "target": targets, "weight": torch.ones(len(targets)) if weight is None else weight}


@pytest.fixture
def task() -> Classification:
    torch.manual_seed(0)
    return Classification(nn.Sequential(nn.Flatten(), nn.Linear(12, 7)))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (9, 3, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_pixels_are_scaled_by_channel(images: torch.Tensor) -> None:
    task = Classification(nn.Flatten(), mean=[0.5, 0.25, 0.0], std=[0.5, 1.0, 2.0])
    expected = (images / 255 - torch.tensor([0.5, 0.25, 0.0]).view(3, 1, 1)) / torch.tensor([0.5, 1.0, 2.0]).view(
        3, 1, 1
    )
    torch.testing.assert_close(task.pixels(images), expected)


@pytest.mark.parametrize("channels_last", [False, True])
def test_pixels_lie_as_the_network_wants_them_however_the_bytes_lie(images: torch.Tensor, channels_last: bool) -> None:
    procedure = Procedure(channels_last=channels_last)
    task = Classification(nn.Flatten(), mean=[0.5, 0.25, 0.0], procedure=procedure)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    colour = torch.arange(27.0).view(9, 3)
    for given in (images, images.contiguous(memory_format=torch.channels_last)):
        assert task.pixels(given, colour).is_contiguous(memory_format=layout)
        assert torch.equal(task.pixels(given, colour), task.pixels(images, colour))


def test_lenet_pixels_are_the_papers() -> None:
    task = Classification(nn.Flatten(), mean=[0.0784314], std=[0.7843137])
    values = task.pixels(torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)).flatten().tolist()
    assert values == pytest.approx([-0.1, 1.175], abs=1e-5)


def test_squared_error_is_half_the_sum_over_outputs() -> None:
    task = Classification(nn.Flatten(), loss="squared_error", target_on=1.0, target_off=-1.0)
    losses = task.losses(torch.tensor([[0.5, 0.0, 2.0]]), torch.tensor([2]))
    assert losses.item() == pytest.approx(0.5 * (1.5**2 + 1.0**2 + 1.0**2))


def test_map_loss_is_equation_9() -> None:
    distances = torch.tensor([[3.0, 1.0, 7.0]])
    task = Classification(nn.Flatten(), loss="map", rubbish=2.0)
    expected = 1.0 + math.log(math.exp(-2.0) + math.exp(-3.0) + math.exp(-1.0) + math.exp(-7.0))
    assert task.losses(-distances, torch.tensor([1])).item() == pytest.approx(expected)


def test_any_split_of_a_batch_gives_the_same_means(task: Classification, images: torch.Tensor) -> None:
    targets = torch.arange(9) % 7
    whole, parts = Totals(), Totals()
    whole.add(task.measure(batch(images, targets)))
    for piece in (slice(0, 1), slice(1, 6), slice(6, 9)):
        parts.add(task.measure(batch(images[piece], targets[piece])))
    assert parts.read() == pytest.approx(whole.read(), rel=1e-6)
    assert parts.read() == {}


def test_samples_without_weight_count_for_nothing(task: Classification, images: torch.Tensor) -> None:
    targets, weight = torch.arange(9) % 7, torch.tensor([1.0, 0, 1, 1, 0, 1, 1, 1, 0])
    with_dead, without = Totals(), Totals()
    with_dead.add(task.measure(batch(images, targets, weight)))
    without.add(task.measure(batch(images[weight > 0], targets[weight > 0])))
    assert with_dead.read() == pytest.approx(without.read(), rel=1e-6)


@pytest.mark.parametrize("classes", [5, 6])
def test_top5_only_where_there_are_more_than_five_classes(images: torch.Tensor, classes: int) -> None:
    task, totals = Classification(nn.Sequential(nn.Flatten(), nn.Linear(12, classes))), Totals()
    totals.add(task.measure(batch(images, torch.zeros(9).long())))
    assert ("top5_error" in totals.read()) == (classes > 5)


def test_probabilities_of_the_squared_error_are_its_outputs() -> None:
    task = Classification(nn.Flatten(), loss="squared_error", target_on=1.0, target_off=-1.0)
    probabilities = task.probabilities(torch.tensor([[0.8, -1.2, -0.6], [3.0, -1.0, -1.0]]))
    torch.testing.assert_close(
        probabilities, torch.tensor([[0.9 / 1.1, 0.0, 0.2 / 1.1], [1.0, 0.0, 0.0]]), rtol=0, atol=1e-5
    )


def test_probabilities_of_the_cross_entropy_are_its_softmax() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0]])
    torch.testing.assert_close(Classification(nn.Flatten()).probabilities(scores), torch.softmax(scores, 1))


def test_a_scale_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"std is \[0.0\], a scale. Set numbers above 0"):
        Classification(nn.Flatten(), std=[0.0])
