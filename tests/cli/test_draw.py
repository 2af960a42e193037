"""What a network's layers make of a picture, and the filters of its first layer."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torchvision.models import resnet18

from dltk import recipe
from dltk.assemble import build_task, load
from dltk.cli.features import chosen
from dltk.cli.filters import Bank, draw_filters, first_filters
from dltk.cli.maps import Activity, activities
from dltk.cli.tiles import BLUE, scaled, tiled
from dltk.models.alexnet import AlexNet
from dltk.models.googlenet import GoogLeNet
from dltk.models.lenet5 import LeNet5
from dltk.models.overfeat import OverFeatFast
from dltk.models.vgg import VGG11LRN
from dltk.run.folder import RunFolder
from tests.cli.conftest import Command, Trained

POOL = "max pooling"


def image(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def small_alexnet() -> AlexNet:
    return AlexNet(num_classes=7, maps=[8, 12, 10, 10, 6], hidden_sizes=[20, 15], first_weights="he")


def named(found: Sequence[Activity]) -> list[tuple[str, str]]:
    return [(one.layer, one.kind) for one in found]


@pytest.mark.parametrize("output", ["softmax", "rbf"])
def test_lenet5(output: Any) -> None:
    net, one = LeNet5(output=output), image(1, 32, 32)
    found, scores = activities(net, one)
    assert named(found) == [(layer, "tanh") for layer in ("c1", "s2", "c3", "s4", "c5", "f6")]
    shapes = [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120,), (84,)]
    assert [tuple(one.values.shape) for one in found] == shapes
    with torch.no_grad():
        assert torch.equal(scores, net(one[None])[0])
        c1 = net.squash(net.c1(one[None]))
        assert torch.equal(found[0].values, c1[0])
        assert torch.equal(found[1].values, net.squash(net.s2(c1))[0])


def test_alexnet_behind_its_rectifiers_and_not_its_normalisation() -> None:
    net, one = small_alexnet(), image(3, 224, 224)
    found, scores = activities(net, one)
    assert named(found) == [
        ("conv1", "ReLU"), ("conv1", POOL), ("conv2", "ReLU"), ("conv2", POOL), ("conv3", "ReLU"), ("conv4", "ReLU"),
        ("conv5", "ReLU"), ("conv5", POOL), ("fc6", "ReLU"), ("fc7", "ReLU"),
    ]  # fmt: skip
    with torch.no_grad():
        conv1 = net.conv1(one[None]).relu()
        pooled = F.max_pool2d(net.norm1(conv1), 3, 2)
        conv2 = net.conv2(pooled).relu()
        assert torch.equal(scores, net.eval()(one[None])[0])
    for row, wanted in zip(found, (conv1, pooled, conv2), strict=False):
        torch.testing.assert_close(row.values, wanted[0], rtol=0, atol=0)


def test_vgg_and_overfeat_name_layers_by_their_modules() -> None:
    found, _ = activities(VGG11LRN(num_classes=5, image=[3, 32, 32], narrow=32), image(3, 32, 32))
    assert [one.layer for one in found if one.kind == "ReLU"] == [
        *("block1.0", "block2.0", "block3.0", "block3.1", "block4.0", "block4.1", "block5.0", "block5.1"),
        *("fc6", "fc7"),
    ]
    found, _ = activities(OverFeatFast(num_classes=5, narrow=32, first_weights="he"), image(3, 231, 231))
    assert [one.layer for one in found if one.kind == POOL] == [f"convolutions.{i}" for i in (0, 1, 4)]
    assert [one.layer for one in found if one.kind == "ReLU"][-2:] == ["full1", "full2"]


def test_googlenet_by_modules_or_with_what_is_inside_them() -> None:
    net, one = GoogLeNet(num_classes=5, image=[3, 96, 96], narrow=16), image(3, 96, 96)
    trunk, _ = activities(net, one)
    modules = [f"inception{name}" for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")]
    assert [row.layer for row in trunk if row.kind == "ReLU"] == ["conv1", "conv2_reduce", "conv2", *modules]
    every, _ = activities(net, one, branches=True)
    assert {"inception4e.three_reduce", "inception4e.five_reduce"} < {row.layer for row in every if row.kind == "ReLU"}
    caught = {}
    net.inception3a.register_forward_hook(lambda module, inputs, output: caught.setdefault("3a", output))
    with torch.no_grad():
        net.eval()(one[None])
    assert torch.equal(next(row.values for row in trunk if row.layer == "inception3a"), caught["3a"][0])


def test_a_network_of_another_package_which_works_in_place() -> None:
    net, one = resnet18(), image(3, 64, 64)
    found, scores = activities(net, one)
    blocks = [f"layer{i}.{j}" for i, j in itertools.product((1, 2, 3, 4), (0, 1))]
    assert named(found) == [("conv1", "ReLU"), ("conv1", POOL), *((block, "ReLU") for block in blocks)]
    with torch.no_grad():
        conv1 = net.bn1(net.conv1(one[None])).relu()
        block = net.layer1[0](net.maxpool(conv1))
        assert torch.equal(scores, net(one[None])[0])
    assert torch.equal(found[0].values, conv1[0])
    assert torch.equal(found[2].values, block[0])


class Bare(nn.Module):
    """A layer without a nonlinearity, a sum of two ways, and a function of torch that nothing here knows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 3, 1), nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        y = self.first(images)
        y = y + torch.sinc(self.second(y))
        return self.last(y.mean((2, 3)))


def test_layers_without_a_nonlinearity_are_shown_as_they_are() -> None:
    net, one = Bare(), image(1, 8, 8)
    found, _ = activities(net, one)
    assert named(found) == [("first", "")]
    assert torch.equal(found[0].values, net.first(one[None])[0])
    found, _ = activities(net, one, branches=True)
    assert named(found) == [("first", ""), ("second", "")]


def test_the_network_is_left_as_it_was() -> None:
    net = small_alexnet()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    activities(net, image(3, 224, 224))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_the_maps_that_vary_most_are_chosen() -> None:
    values = torch.zeros(6, 4, 4)
    values[1, 0, 0], values[4, 2, 2], values[3] = 5.0, 3.0, 9.0  # the map 3 is the same everywhere
    row = chosen(Activity("c", "ReLU", values), 2)
    assert (row.drawn, row.shape) == ((1, 4), (6, 4, 4))
    units = torch.arange(-20.0, 20.0)
    assert chosen(Activity("f", "ReLU", units), 1).drawn == (0, 1, 2, 3, 4, 37, 38, 39)


def test_tiles_lie_as_text_is_read() -> None:
    pictures = [np.full((64, 64), level, np.float32) for level in (0.0, 0.25, 0.5)]
    sheet = tiled(pictures, 2)
    assert sheet.shape == (2 * 64 + 3 * 3, 2 * 64 + 3 * 3, 3)
    assert [sheet[y, x, 0] for y, x in ((10, 10), (10, 80), (80, 10))] == [0.0, 0.25, 0.5]
    assert np.allclose(sheet[80, 80], BLUE)
    assert scaled(np.array([2.0, 4.0, 3.0])).tolist() == [0.0, 1.0, 0.5]
    assert scaled(np.ones(2)).tolist() == [0.0, 0.0]


def pixels_of(sheet: Any) -> np.ndarray:
    sheet.canvas.draw()
    return np.asarray(sheet.canvas.buffer_rgba())[..., :3].astype(int)


def test_filters_in_colour_and_in_grey() -> None:
    weights = torch.zeros(4, 3, 5, 5)
    weights[0, 0], weights[1, 1], weights[2, 2] = 1.0, 2.0, -0.5
    pixels = pixels_of(draw_filters(Bank("c1", weights), None, "net")[0]).reshape(-1, 3)
    # Each by its largest weight: red and green at their greatest, blue at its least, and what is 0 in a middle grey.
    for colour in ((255, 128, 128), (128, 255, 128), (128, 128, 0), (128, 128, 128)):
        assert (np.abs(pixels - colour).max(1) < 3).sum() > 3000, colour
    sheet, count = draw_filters(Bank("c1", weights[:, :1]), 3, "net")
    assert count == 3
    assert np.ptp(pixels_of(sheet), axis=2).max() == 0


def fresh(folder: Path, **sections: Any) -> RunFolder:
    """A run whose checkpoint holds first weights."""
    sections = {
        "name": "fresh", "optimizer": {"name": "sgd", "lr": 0.1}, "batch": {"global": 2}, "train": {"epochs": 1}
    } | sections  # fmt: skip
    wanted = recipe.load(sections)
    run = RunFolder.create(folder, "fresh", wanted.settings, run="a", text=recipe.freeze(wanted))
    run.checkpoints.write(0, {"state_dict": build_task(wanted.settings).state_dict()})
    return run


COLOURED = {"name": "images", "folder": "none", "image_size": 64, "channels": 3}


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "china.jpg"
    Image.fromarray(load_sample_image("china.jpg")).save(path)
    return path


def test_features_of_a_residual_network(dltk: Command, tmp_path: Path, photograph: Path) -> None:
    run = fresh(
        tmp_path, data=COLOURED, task={"name": "classification", "mean": [0.5], "std": [0.3]},
        model={"architecture": "torchvision.models:resnet18", "num_classes": 12},
    )  # fmt: skip
    said = dltk("draw", run.path, "features", photograph, "--json", "--maps", 4, "--top", 3, "--layers", "conv1|layer4")
    assert said.code == 2  # nothing says how large its images are, and the data are not here
    (tmp_path / "none").mkdir()
    for name, number in itertools.product("ab", range(10)):
        (tmp_path / "none" / name).mkdir(exist_ok=True)
        Image.new("RGB", (80, 64), (20 * number, 90, 120)).save(tmp_path / "none" / name / f"{number}.png")
    recipe_text = (run.path / "recipe.yaml").read_text()
    (run.path / "recipe.yaml").write_text(recipe_text.replace("data_dir: null", f"data_dir: {tmp_path}"))
    said = dltk("draw", run.path, "features", photograph, "--json", "--maps", 4, "--top", 3, "--layers", "conv1|layer4")
    assert said.code == 0, said.err
    answer = said.json
    assert [row["layer"] for row in answer["layers"]] == ["conv1", "conv1", "layer4.0", "layer4.1"]
    assert answer["layers"][0]["shape"] == [64, 32, 32]
    assert [len(row["drawn"]) for row in answer["layers"]] == [4] * 4
    scores = [one["score"] for one in answer["top"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["top"][0]["class"] in {"a", "b", *map(str, range(12))}
    pixels = np.asarray(Image.open(answer["file"]).convert("RGB")).astype(int)
    assert Path(answer["file"]) == run.path / "features-china.png"
    for channel in range(3):  # the planes of the input, each in its colour alone
        others = [i for i in range(3) if i != channel]
        assert ((pixels[..., channel] > 100) & (pixels[..., others].max(2) == 0)).sum() > 5000
    said = dltk("draw", run.path, "filters", "--json", "--to", tmp_path / "bank.pdf")
    assert (said.json["layer"], said.json["shape"]) == ("conv1", [64, 3, 7, 7])
    assert (tmp_path / "bank.pdf").read_bytes().startswith(b"%PDF")


def test_filters_over_time_of_a_video_s_and_of_a_sound_s_network(dltk: Command, tmp_path: Path) -> None:
    clips = {"architecture": "c3d", "frames": 4, "image": [1, 16, 16], "narrow": 16, "num_classes": 6}
    video = fresh(tmp_path, data={"name": "moving_shapes", "frames": 4, "image_size": 16}, model=clips)
    bank = first_filters(video, load(video))
    assert (bank.layer, bank.coloured) == ("conv1a", False)
    weight = build_task(video.recipe).model.conv1a.weight
    assert torch.equal(bank.weights, weight[:, 0])  # a picture of each of three frames, not red, green and blue
    said = dltk("draw", video.path, "filters", "--json")
    assert said.json["shape"] == [4, 3, 3, 3]
    assert np.ptp(np.asarray(Image.open(said.json["file"]).convert("RGB")).astype(int), axis=2).max() == 0
    Image.new("L", (20, 20), 90).save(tmp_path / "one.png")
    for asked in (
        ["draw", video.path, "features", tmp_path / "one.png"],
        ["predict", video.path, tmp_path / "one.png"],
    ):
        said = dltk(*asked)
        assert said.code == 2
        assert "one.png: is one picture, and the network reads 4 channels, as of several frames" in said.err
    sound = fresh(tmp_path / "sound", data={"name": "transitions"}, model={"architecture": "tdnn", "num_classes": 3})
    assert dltk("draw", sound.path, "filters", "--json").json["shape"] == [8, 1, 16, 3]


def test_features_agree_with_predict(dltk: Command, trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "bar.png"
    Image.fromarray(np.pad(np.zeros((30, 6), np.uint8), 12, constant_values=250)).save(path)
    seen = dltk("draw", trained.path, "features", path, "--json", "--to", tmp_path / "f.svg").json
    told = dltk("predict", trained.path, path, "--json").json[0]
    assert seen["prepared"] == told["prepared"]
    assert [one["class"] for one in seen["top"]] == [one["class"] for one in told["top"]]
    assert [one["probability"] for one in seen["top"]] == pytest.approx([one["probability"] for one in told["top"]])
    assert all(row["kind"] == "ReLU" and len(row["shape"]) == 1 for row in seen["layers"])
    said = dltk("draw", trained.path, "filters", "--maps", 5, "--json", "--to", tmp_path / "f.png").json
    assert said["shape"][1:] == [1, 8, 8]
    assert said["drawn"] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["features"], "draw … features: needs the IMAGE"),
        (["filters", "a.png"], "draw … filters: takes no more, 'a.png' given"),
        (["features", "PICTURE", "--layers", "("], "--layers: '(' is no regular expression"),
        (
            ["features", "PICTURE", "--layers", "conv9"],
            "no layer's name matches 'conv9'. Layers with maps",
        ),
        (["features", "none.png"], "none.png: no such file"),
        (["filters", "--to", "f.xyz"], "f.xyz: Format 'xyz' is not supported"),
    ],
)
def test_mistakes(dltk: Command, trained: Trained, tmp_path: Path, arguments: list[str], told: str) -> None:
    picture = tmp_path / "grey.png"
    Image.new("L", (20, 20), 90).save(picture)
    said = dltk("draw", trained.path, *(str(picture) if word == "PICTURE" else word for word in arguments))
    assert said.code == 2
    assert told in said.err
