import numpy as np
import pytest
import torch

from dltk.data.moving_shapes import MOTIONS, MovingShapes, draw
from dltk.errors import DataError


def test_every_part_has_as_many_of_each_motion() -> None:
    parts = {split: MovingShapes(split, clips=60, held_out=12) for split in ("train", "val", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 60, "val": 12, "test": 12}
    assert all(torch.bincount(part.targets).tolist() == [len(part) // 6] * 6 for part in parts.values())
    assert parts["train"].images.shape == (60, 8, 24, 24)
    assert list(parts["train"].classes) == list(MOTIONS)
    assert not torch.equal(parts["val"].images, parts["test"].images)


def test_a_clip_is_the_same_alone_and_among_others() -> None:
    many = draw(5, "train", np.arange(30), 4, 16)
    assert all(np.array_equal(draw(5, "train", np.array([k]), 4, 16)[0], many[k]) for k in (0, 7, 29))
    assert not np.array_equal(draw(6, "train", np.arange(30), 4, 16), many)


def test_shapes_go_where_their_class_says() -> None:
    clips = draw(0, "train", np.arange(60), 8, 24, noise=0.0).astype(float)
    clips -= clips.min((1, 2, 3), keepdims=True)
    for kind, (across, down, turn) in enumerate(MOTIONS.values()):
        for clip in clips[kind::6]:
            # On a ground whose edges meet, the phase of the first wave says where the shape is.
            waves = np.fft.fft2(clip)
            steps = [np.diff(np.unwrap(np.angle(waves[:, y, x]))) * -24 / (2 * np.pi) for y, x in ((0, 1), (1, 0))]
            if turn:
                assert all(abs(one.mean()) < 0.1 for one in steps)
            for one, sign in zip(steps, (across, down), strict=True):
                assert np.sign(one.mean()) * (abs(one.mean()) > 0.1) == sign
                assert abs(one).max() < 2.6


def test_shapes_turn_as_their_class_says() -> None:
    clips = draw(3, "train", np.arange(600), 2, 24, noise=0.0).astype(float)
    for kind, sign in ((4, 1), (5, -1)):
        angles = []
        for clip in clips[kind::6]:
            places = []
            light = clip - clip.min()
            y, x = np.indices((24, 24)) - 11.5
            centre = np.angle(np.fft.fft2(light[0])[[0, 1], [1, 0]]) * -24 / (2 * np.pi) - 11.5  # across, down
            moved = [np.roll(one, np.round(-centre[::-1]).astype(int), (0, 1)) for one in light]
            for one in moved:
                places.append(0.5 * np.arctan2(2 * (one * x * y).sum(), (one * (x * x - y * y)).sum()))
            long = abs((moved[0] * (x + 1j * y) ** 2).sum()) / (moved[0] * (x * x + y * y)).sum()
            if long > 0.5:  # bars, whose angle the second moments say
                angles.append((places[1] - places[0] + np.pi / 2) % np.pi - np.pi / 2)
        assert len(angles) > 20
        assert (np.sign(angles) == sign).mean() > 0.95


def test_each_frame_by_itself_is_drawn_alike_in_all_classes() -> None:
    clips = draw(0, "train", np.arange(1800), 8, 16).reshape(300, 6, 8, 16, 16).astype(float)
    by_class = clips.mean((0, 3, 4))  # (k, t)
    spread = clips.mean((3, 4)).std(0) / 300**0.5
    assert (abs(by_class - by_class.mean(0)) < 4.5 * spread).all()


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match=r"data\.clips: 5 are too few\. Set at least 6\."):
        MovingShapes("train", clips=5)
    with pytest.raises(DataError, match=r"data\.frames: 0 are too few\. Set at least 1\."):
        MovingShapes("train", frames=0)
