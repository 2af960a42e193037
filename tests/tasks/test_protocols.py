"""Averages of a protocol against the same crops predicted one by one."""

import io
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from dltk.data.pictures import Pictures
from dltk.data.views import CentreCrop, Frame, Middle, Whole, rescaled
from dltk.errors import DataError, LaunchError
from dltk.models.overfeat import OverFeatFast
from dltk.run.protocol import KINDS, TRANSLATIONS
from dltk.tasks import protocols
from dltk.tasks.classification import Classification
from dltk.tasks.protocols import PROTOCOLS, Applied, Situation

SIZE, CLASSES = 10, 7


class Net(nn.Module):
    """A ConvNet without borders: windows of 4 at every second pixel, then one full layer over 4 x 4 maps."""

    input_shape = (3, SIZE, SIZE)

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 4, stride=2)
        self.full = nn.Linear(5 * 4 * 4, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[1:] == self.input_shape
        return 9 * self.full(self.conv(images).relu().flatten(1))

    def dense(self, images: Tensor) -> Tensor:
        return 9 * F.conv2d(self.conv(images).relu(), self.full.weight.view(CLASSES, 5, 4, 4), self.full.bias)


class Pooled(Net):
    """The same behind a pooling of 2, whose offsets give the places between; by the greatest value."""

    dense_by = "max"
    input_shape = (3, 18, 18)

    def forward(self, images: Tensor) -> Tensor:
        assert images.shape[1:] == self.input_shape
        return 9 * self.full(F.max_pool2d(self.conv(images).relu(), 2).flatten(1))

    def dense(self, images: Tensor, *, offsets: bool = False) -> Tensor:
        assert offsets
        maps = self.conv(images).relu()
        weight = self.full.weight.view(CLASSES, 5, 4, 4)
        # Not interleaved: neither a mean nor a maximum depends on the order of the places.
        every = [F.max_pool2d(maps[..., i:, j:], 2) for i in range(2) for j in range(2)]
        scores = [9 * F.conv2d(one, weight, self.full.bias).flatten(2) for one in every]
        return torch.cat(scores, dim=2).unsqueeze(3)  # (b, k, places, 1)


class Photos(Pictures):
    """Noise of several shapes, in files."""

    shapes = ((20, 16), (16, 20), (20, 16), (15, 15), (40, 60))

    def __init__(self, size: int = SIZE, resize: int = 14) -> None:
        self.frame = Frame(size, resize)
        noise = np.random.default_rng(3)
        self.files = []
        for h, w in self.shapes:
            file = io.BytesIO()
            Image.fromarray(noise.integers(0, 256, (h, w, 3), dtype=np.uint8)).save(file, "PNG")
            self.files.append(file.getvalue())

    def __len__(self) -> int:
        return len(self.files)

    def fields(self, number: int) -> dict[str, bytes]:
        return {"png": self.files[number]}

    def picture(self, fields: dict[str, bytes]) -> bytes:
        return fields["png"]

    def target(self, number: int, fields: dict[str, bytes]) -> int:
        return number % CLASSES


class Arrays:
    """Images that lie in memory."""

    in_memory = True

    def __init__(self, rows: int, columns: int) -> None:
        shape = (4, 3, rows, columns)
        self.images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(5))

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"image": self.images[number], "target": 0}


def task_of(model: nn.Module, **more: Any) -> Classification:
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return Classification(model, mean=[0.4], std=[0.5], **more).eval()


def apply(name: str, task: Classification, part: Any, *scales: int, trained_at: tuple[int, int] = (14, 14)) -> Applied:
    return PROTOCOLS[name](Situation(task, part, trained_at, scales))


def seen(applied: Applied, part: Photos) -> Any:
    """The pictures of a protocol as a batch holds them."""
    read = [part.sample(number, applied.view)["image"] for number in range(len(part))]
    return torch.stack(read) if isinstance(applied.view, Middle) else read


def softmax(task: Classification, crops: list[Tensor]) -> Tensor:
    """The mean of the softmax outputs of single crops (c, s, s): one forward each."""
    with torch.no_grad():
        return torch.stack([torch.softmax(task(crop[None])[0], 0) for crop in crops]).mean(0)


def predicted(applied: Applied, task: Classification, images: Any) -> Tensor:
    assert applied.scores is not None
    with torch.no_grad():
        logs = applied.scores(task, images)
    torch.testing.assert_close(logs.exp().sum(1), torch.ones(len(logs)))
    return logs.exp()


def corners(square: Tensor, size: int) -> list[Tensor]:
    """The ten crops of a square (c, r, r)."""
    end, middle = square.shape[1] - size, (square.shape[1] - size) // 2
    places = [(0, 0), (0, end), (end, 0), (end, end), (middle, middle)]
    crops = [square[:, y : y + size, x : x + size] for y, x in places]
    return crops + [crop.flip(2) for crop in crops]


def test_the_table_is_what_help_lists() -> None:
    assert [*PROTOCOLS, *TRANSLATIONS] == list(KINDS)


def test_ten_crop_is_the_mean_of_ten_forwards() -> None:
    task, part = task_of(Net()), Photos()
    applied = apply("ten_crop", task, part)
    assert applied.scales == (14,)
    images = seen(applied, part)
    assert images.shape == (5, 3, 14, 14)
    expected = torch.stack([softmax(task, corners(square, SIZE)) for square in images])
    torch.testing.assert_close(predicted(applied, task, images), expected)
    with torch.no_grad():
        of_scores = torch.stack([task(torch.stack(corners(square, SIZE))).mean(0) for square in images]).softmax(1)
    assert (of_scores - expected).abs().max() > 0.01  # the average of scores is something else


def test_ten_crop_of_larger_images_in_memory() -> None:
    task, part = task_of(Net()), Arrays(12, 13)
    expected = []
    for image in part.images:
        five = [image[:, y : y + 10, x : x + 10] for y, x in ((0, 0), (0, 3), (2, 0), (2, 3), (1, 1))]
        expected.append(softmax(task, five + [crop.flip(2) for crop in five]))
    ten = predicted(apply("ten_crop", task, part), task, part.images)
    torch.testing.assert_close(ten, torch.stack(expected))
    with pytest.raises(DataError, match=r"ten_crop: the images are 10 × 10, .* nothing to cut. Choose single_crop"):
        apply("ten_crop", task, Arrays(10, 10))
    with pytest.raises(DataError, match=r"resized to 10, .* Give a larger size: --scales 11\."):
        apply("ten_crop", task, Photos(resize=10))


def test_without_borders_dense_is_the_crops_at_every_place() -> None:
    task, part = task_of(Net()), Photos()
    applied = apply("dense", task, part)
    assert isinstance(applied.view, Whole)
    assert applied.scales == (14,)
    images = seen(applied, part)
    assert [tuple(scales[0].shape[1:]) for scales in images] == [(18, 14), (14, 18), (18, 14), (14, 14), (14, 21)]
    expected = []
    for (picture,) in images:
        both = []
        for whole in (picture, picture.flip(2)):
            rows, columns = whole.shape[1] - SIZE + 1, whole.shape[2] - SIZE + 1
            crops = [whole[:, y : y + SIZE, x : x + SIZE] for y in range(0, rows, 2) for x in range(0, columns, 2)]
            with torch.no_grad():
                both.append(torch.softmax(task(torch.stack(crops)).mean(0), 0))
        expected.append(torch.stack(both).mean(0))
    torch.testing.assert_close(predicted(applied, task, images), torch.stack(expected))


def test_several_scales_are_averaged() -> None:
    task, part = task_of(Net()), Photos()
    many = apply("multi_scale_dense", task, part, 12, 16)
    each = [predicted(one, task, seen(one, part)) for one in (apply("dense", task, part, scale) for scale in (12, 16))]
    torch.testing.assert_close(predicted(many, task, seen(many, part)), (each[0] + each[1]) / 2)


def test_the_scales_of_the_papers() -> None:
    task, part = task_of(Net()), Photos(size=224, resize=256)
    fixed = apply("multi_scale_dense", task, part, trained_at=(256, 256))
    jittered = apply("multi_scale_dense", task, part, trained_at=(256, 512))
    assert (fixed.scales, jittered.scales) == ((224, 256, 288), (256, 384, 512))
    assert apply("dense", task, part, trained_at=(256, 512)).scales == (384,)
    assert apply("multi_crop", task, part).scales == (256, 288, 320, 352)
    fast = task_of(OverFeatFast(num_classes=CLASSES, image=[3, 71, 71], narrow=64))
    small = apply("multi_scale_dense", fast, Photos(size=71, resize=80))
    assert small.scales == (87, 90, 102, 125, 137, 148)  # 79 would leave the second offset without a place
    overfeat = apply("multi_scale_dense", task_of(Pooled()), Photos(size=221, resize=256))
    assert overfeat.scales == (245, 281, 317, 389, 425, 461)
    assert apply("multi_crop", task, Photos(size=56, resize=64)).scales == (64, 72, 80, 88)


def test_overfeat_takes_the_greatest_over_all_offsets() -> None:
    task, part = task_of(Pooled()), Photos(size=18, resize=20)
    applied = apply("multi_scale_dense", task, part, 20, 24)
    images = seen(applied, part)
    expected = []
    for scales in images:
        vectors = []
        for whole in (flip for picture in scales for flip in (picture, picture.flip(2))):
            rows, columns = whole.shape[1] - 18 + 1, whole.shape[2] - 18 + 1
            crops = [whole[:, y : y + 18, x : x + 18] for y in range(0, rows, 2) for x in range(0, columns, 2)]
            with torch.no_grad():
                vectors.append(torch.softmax(task(torch.stack(crops)), 1).amax(0))
        mean = torch.stack(vectors).mean(0)
        expected.append(mean / mean.sum())
    torch.testing.assert_close(predicted(applied, task, images), torch.stack(expected))


def test_144_crops() -> None:
    task, part = task_of(Net()), Photos()
    applied = apply("multi_crop", task, part, 12, 14, 16, 18)
    expected, count = [], 0
    for scales in seen(applied, part):
        crops = []
        for picture in scales:
            h, w = picture.shape[1:]
            side = min(h, w)
            for start in (0, (max(h, w) - side) // 2, max(h, w) - side):
                square = picture[:, start : start + side] if h > w else picture[:, :, start : start + side]
                small = F.interpolate(square[None].float(), (SIZE, SIZE), mode="bilinear", antialias=True)[0]
                crops += [*corners(square, SIZE), small, small.flip(2)]
        count = len(crops)
        expected.append(softmax(task, crops))
    assert count == 144
    torch.testing.assert_close(predicted(applied, task, seen(applied, part)), torch.stack(expected))


def test_middle_is_the_data_sets_own_at_its_own_sizes() -> None:
    part = Photos()
    for number in range(len(part)):
        own = part.sample(number)["image"]
        assert torch.equal(part.sample(number, Middle(SIZE, 14))["image"], own)
        assert torch.equal(CentreCrop().cut(part.files[number], part.frame, np.empty(0)), own)
    applied = apply("single_crop", task_of(Net()), part, 16)
    assert (applied.scores, applied.scales) == (None, (16,))
    whole = rescaled(part.files[3], 16)
    assert (part.sample(3, applied.view)["image"].float() - whole[:, 3:13, 3:13].float()).abs().mean() < 12


def test_squared_error_averages_its_shares() -> None:
    task, part = task_of(Net(), loss="squared_error", target_off=-1.0), Photos()
    applied = apply("ten_crop", task, part)
    images = seen(applied, part)
    with torch.no_grad():
        shares = torch.stack([task.probabilities(task(torch.stack(corners(one, SIZE)))).mean(0) for one in images])
    torch.testing.assert_close(predicted(applied, task, images), shares)


def test_the_loss_of_an_average_is_that_of_the_right_class() -> None:
    task = task_of(Net())
    task.averaged = lambda task, images: torch.tensor([[0.2, 0.8], [0.5, 0.5]]).log()
    batch = {"image": torch.empty(2), "target": torch.tensor([0, 1]), "weight": torch.ones(2)}
    measured = task.measure(batch)
    assert measured["loss"].item() == pytest.approx(-np.log(0.2) - np.log(0.5))
    later = measured["errors"]
    assert [float(number) for number in later.compute(*later.tensors)["top1_error"]] == [200.0, 2.0]


def test_a_tiny_probability_stays_finite() -> None:
    logs = protocols.log_mean([torch.tensor([[-800.0, 0.0]]), torch.tensor([[-900.0, 0.0]])])
    assert logs[0, 0].item() == pytest.approx(-800 - np.log(2))


class Flat(nn.Module):
    """No ConvNet."""

    input_shape = (3, SIZE, SIZE)


@pytest.mark.parametrize(
    ("name", "model", "part", "scales", "says"),
    [
        ("dense", Flat, Photos, (), "dense: Flat cannot be run over larger pictures: it has no `dense`. Choose"),
        ("dense", Net, Photos, (12, 14), "--scales: 2 given, dense takes 1. multi_scale_dense and multi_crop take"),
        ("ten_crop", Net, Photos, (8,), "--scales: 8 is less than the 10 pixels that the network reads. Give at"),
        ("multi_crop", Net, lambda: Arrays(12, 12), (), "multi_crop: takes pictures at other sizes, and Arrays has"),
        ("dense", Net, lambda: Arrays(12, 12), (12,), "dense --scales: takes pictures at other sizes, and Arrays has"),
        ("single_crop", Net, lambda: Arrays(12, 12), (12,), "single_crop --scales: takes pictures at other sizes, and"),
    ],
)
def test_what_cannot_be_done_is_said(name: str, model: Any, part: Any, scales: tuple[int, ...], says: str) -> None:
    with pytest.raises(LaunchError) as refusal:
        apply(name, Classification(model()), part(), *scales)
    assert says in str(refusal.value)
