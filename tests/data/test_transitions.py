import numpy as np
import pytest
import torch

from dltk.data.transitions import Transitions, make_utterances
from dltk.errors import DataError


def test_splits_part_every_class() -> None:
    parts = [Transitions(split, utterances=100) for split in ("train", "val", "test")]
    assert [len(part) for part in parts] == [210, 30, 60]
    assert len({key for part in parts for key in part.keys}) == 300
    assert all(torch.bincount(part.targets).tolist() == [len(part) // 3] * 3 for part in parts)


def test_samples_are_the_same_every_time_one_by_one_and_many_at_once() -> None:
    first, again = Transitions("train"), Transitions("train")
    numbers = np.array([5, 0, 7])
    assert torch.equal(first.batch(numbers)["image"], again.batch(numbers)["image"])
    assert torch.equal(first.batch(numbers)["image"][1], first[0]["image"])
    assert first[0]["image"].shape == (1, 16, 15)
    assert not torch.equal(first.images, Transitions("train", seed=1).images)


def test_formants_go_where_their_class_says() -> None:
    targets = np.repeat([0, 1, 2], 200)
    middle = make_utterances(targets, 0.0, (2, 6), 0).argmax(1)  # (n, t), coefficient of the largest energy
    moved = middle[:, -1] - middle[:, 7]  # at frame 7 all sound, and none has come to rest for long
    assert (moved[targets == 0] >= 0).all()
    assert (moved[targets == 1] == 0).all()
    assert (moved[targets == 2] <= 0).all()
    assert abs(moved[targets == 0].mean() + moved[targets == 2].mean()) < 0.3


def test_later_onsets_make_all_of_it_later() -> None:
    targets = np.repeat([0, 1, 2], 5)
    now, late = (make_utterances(targets, 0.0, onsets, 3) for onsets in ((2, 6), (4, 8)))
    assert np.allclose(late[:, :, 2:], now[:, :, :-2])


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match=r"data\.utterances: 3 are too few"):
        Transitions("train", utterances=3)
    for onsets in ([3.0], [5.0, 4.0], [-1.0, 4.0], [0.0, 10.5]):
        with pytest.raises(DataError, match=r"data\.onsets: .* Set two numbers from 0 to 10\."):
            Transitions("train", onsets=onsets)
