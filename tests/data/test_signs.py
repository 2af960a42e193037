import numpy as np
import pytest
import torch

from dltk.data.signs import KINDS, DrawnSigns, draw
from dltk.errors import DataError


def test_every_part_has_as_many_of_each_kind() -> None:
    parts = {split: DrawnSigns(split, signs=40, held_out=20) for split in ("train", "val", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 40, "val": 20, "test": 20}
    assert all(torch.bincount(part.targets).tolist() == [len(part) // 10] * 10 for part in parts.values())
    assert len({key for part in parts.values() for key in part.keys}) == 80
    assert not torch.equal(parts["val"].images, parts["test"].images)
    assert parts["train"].images.shape == (40, 3, 48, 48)
    assert len(parts["train"].classes) == 10


def test_a_sign_is_the_same_alone_and_among_others() -> None:
    many = draw(5, "train", np.arange(30))
    assert all(np.array_equal(draw(5, "train", np.array([k]))[0], many[k]) for k in (0, 7, 29))
    few, more = DrawnSigns("train", signs=10, held_out=10), DrawnSigns("train", signs=20, held_out=10)
    assert torch.equal(few.images, more.images[:10])
    assert not np.array_equal(draw(6, "train", np.arange(30)), many)


def test_kinds_look_as_they_are_called() -> None:
    mean = np.stack([draw(0, "train", np.arange(kind, 800, 10)).mean(0) for kind in range(10)])  # (k, s, s, 3)
    ring = mean[:, 21:27, 8:14].mean((1, 2))
    blue = [name.startswith("blue") for name, *_ in KINDS]
    assert ((ring[:, 2] > ring[:, 0]) == blue).all()
    light = mean.mean(3)
    rising, falling = light[2], light[3]
    assert rising[18:22, 26:30].mean() < rising[18:22, 18:22].mean()  # dark above on the right
    assert falling[18:22, 26:30].mean() > falling[18:22, 18:22].mean()
    left, right = light[5], light[6]
    assert left[22:26, 14:18].mean() > right[22:26, 14:18].mean()  # the head of the arrow is wide and white
    upright, turned = mean[8, ..., 0] - mean[8, ..., 1], mean[9, ..., 0] - mean[9, ..., 1]  # red
    assert upright[34:37, 12:36].mean() > upright[10:13, 12:36].mean()  # the long side is below
    assert turned[34:37, 12:36].mean() < turned[10:13, 12:36].mean()


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match=r"data\.signs: 9 are not one of each of 10 kinds\. Set at least 10\."):
        DrawnSigns("train", signs=9)
    with pytest.raises(DataError, match=r"data\.held_out: 0 are not one of each"):
        DrawnSigns("val", held_out=0)
