import numpy as np
import pytest
import torch

from dltk.data.curves import Curves, make_points
from dltk.errors import DataError


def test_splits_part_both_curves() -> None:
    parts = [Curves(split, points=100) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [140, 20, 40]
    assert len({key for part in parts for key in part.keys}) == 200
    assert all(torch.bincount(part.targets).tolist() == [len(part) // 2] * 2 for part in parts)


def test_samples_are_the_same_every_time_one_by_one_and_many_at_once() -> None:
    first, again = Curves("train", noise=0.02), Curves("train", noise=0.02)
    numbers = np.array([5, 0, 7])
    assert torch.equal(first.batch(numbers)["image"], again.batch(numbers)["image"])
    assert torch.equal(first.batch(numbers)["image"][1], first[0]["image"])
    assert first[0]["image"].shape == (1, 1, 2)
    assert 0 <= float(first.images.min()) <= float(first.images.max()) <= 255
    assert not torch.equal(first.images, Curves("train", noise=0.02, seed=1).images)


def test_no_straight_line_tells_the_curves_apart() -> None:
    places, targets = make_points(300, 0.0, 0)
    best = 1.0
    for angle in np.linspace(0, np.pi, 90, endpoint=False):
        along = places @ [np.cos(angle), np.sin(angle)]
        for cut in np.linspace(-1.4, 1.4, 60):
            wrong = np.mean((along > cut) != (targets == 0))
            best = min(best, wrong, 1 - wrong)
    assert best > 0.1


def test_too_few_points_are_refused() -> None:
    with pytest.raises(DataError, match=r"data\.points: 3 are too few"):
        Curves("train", points=3)
