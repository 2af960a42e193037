"""AlexNet of 2012 against the paper's counts and sizes, and against figure 2 written out for two GPUs."""

import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from dltk import recipe
from dltk.models.alexnet import AlexNet
from dltk.models.vgg import VGG11

SMALL = {"num_classes": 5, "image": [3, 67, 67], "maps": [8, 16, 12, 12, 8], "hidden_sizes": [20, 18]}
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")


def images(model: AlexNet, count: int = 2) -> Tensor:
    """As large as pixels from which a mean was taken, so that the normalisation is felt."""
    return 60 * torch.randn(count, *model.input_shape, generator=torch.Generator().manual_seed(1))


def small(kind: type[AlexNet] = AlexNet, **settings: object) -> AlexNet:
    torch.manual_seed(0)
    return kind(**{**SMALL, "first_weights": "he", **settings}).eval()


# Figure 2, for two GPUs ---------------------------------------------------------------------------------------------


def normalised(x: Tensor) -> Tensor:
    """Section 3.3: the sum of the squares of five neighbouring maps, by alpha = 1e-4."""
    padded = F.pad(x.square(), (0, 0, 0, 0, 2, 2))
    return x / (2 + 1e-4 * sum(padded[:, i : i + x.shape[1]] for i in range(5))) ** 0.75


def two_gpus(weights: list[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    """Scores from the weights and biases of the eight layers; each GPU has the first or second half of the maps.

    The normalisation runs over all maps, as the paper writes it.
    """

    def halves(layer: int) -> list[tuple[Tensor, Tensor]]:
        weight, bias = weights[layer - 1]
        return list(zip(weight.chunk(2), bias.chunk(2), strict=True))

    gpus = [F.conv2d(x, w, b, stride=4, padding=2).relu() for w, b in halves(1)]
    gpus = [F.max_pool2d(half, 3, 2) for half in normalised(torch.cat(gpus, dim=1)).chunk(2, dim=1)]
    gpus = [F.conv2d(own, w, b, padding=2).relu() for own, (w, b) in zip(gpus, halves(2), strict=True)]
    gpus = [F.max_pool2d(half, 3, 2) for half in normalised(torch.cat(gpus, dim=1)).chunk(2, dim=1)]
    gpus = [F.conv2d(torch.cat(gpus, dim=1), w, b, padding=1).relu() for w, b in halves(3)]
    gpus = [F.conv2d(own, w, b, padding=1).relu() for own, (w, b) in zip(gpus, halves(4), strict=True)]
    gpus = [F.conv2d(own, w, b, padding=1).relu() for own, (w, b) in zip(gpus, halves(5), strict=True)]
    y = torch.cat([F.max_pool2d(own, 3, 2) for own in gpus], dim=1).flatten(1)
    (w6, b6), (w7, b7), (w8, b8) = weights[5:]
    return F.linear(F.linear(F.linear(y, w6, b6).relu(), w7, b7).relu(), w8, b8)


def assert_is_the_network_of_2012(model: nn.Module, x: Tensor) -> None:
    """A network of eight layers, in the order of its parameters, computes what figure 2 does with its weights."""
    parameters = iter(model.state_dict().values())
    weights = list(zip(parameters, parameters, strict=True))
    assert len(weights) == 8
    torch.testing.assert_close(model.eval()(x), two_gpus(weights, x), rtol=1e-4, atol=1e-4)


def test_is_figure_2():
    model = small()
    assert_is_the_network_of_2012(model, images(model))


class Ungrouped(AlexNet):
    def __init__(self, **settings: object) -> None:
        super().__init__(**settings, groups=1)


class GroupsThroughout(AlexNet):
    """Layer 3 does not look across."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self.conv3 = nn.Conv2d(16, 12, 3, padding=1, groups=2)


class NormalisedFirst(AlexNet):
    """Normalisation before the rectifiers."""

    def features(self, images: Tensor) -> Tensor:
        y = self.pool1(self.squash(self.norm1(self.conv1(images))))
        y = self.pool2(self.squash(self.norm2(self.conv2(y))))
        return self.pool5(self.squash(self.conv5(self.squash(self.conv4(self.squash(self.conv3(y)))))))


class PooledFirst(AlexNet):
    """Normalisation behind the pooling, as in Caffe's copy of the network."""

    def features(self, images: Tensor) -> Tensor:
        y = self.norm1(self.pool1(self.squash(self.conv1(images))))
        y = self.norm2(self.pool2(self.squash(self.conv2(y))))
        return self.pool5(self.squash(self.conv5(self.squash(self.conv4(self.squash(self.conv3(y)))))))


class TorchsNormalisation(AlexNet):
    """With torch's alpha, which is divided by n."""

    def __init__(self, **settings: object) -> None:
        super().__init__(**settings)
        self.norm1 = self.norm2 = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Ungrouped, {}),
        (GroupsThroughout, {}),
        (NormalisedFirst, {}),
        (PooledFirst, {}),
        (TorchsNormalisation, {}),
        (AlexNet, {"response": "none"}),
        (AlexNet, {"response": "halves"}),
        (AlexNet, {"overlap": False}),
        (AlexNet, {"activation": "tanh"}),
        (AlexNet, {"alpha": 2e-5}),
    ],
)
def test_plausible_other_networks_are_not_figure_2(kind, settings):
    model = small(kind, **settings)
    with pytest.raises((AssertionError, RuntimeError)):
        assert_is_the_network_of_2012(model, images(model))


def test_the_network_of_2014_is_not_figure_2():
    """torchvision's alexnet, as it is, and with the widths of 2012."""
    theirs = torchvision.models.alexnet()
    assert sum(p.numel() for p in theirs.parameters()) == 61_100_840
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with pytest.raises((AssertionError, RuntimeError)):
        assert_is_the_network_of_2012(theirs, x)
    for at, (before, after) in {0: (3, 96), 3: (96, 256), 6: (256, 384), 8: (384, 384), 10: (384, 256)}.items():
        old = theirs.features[at]
        theirs.features[at] = nn.Conv2d(before, after, old.kernel_size, old.stride, old.padding)
    assert theirs.eval()(x).shape == (1, 1000)
    with pytest.raises((AssertionError, RuntimeError)):
        assert_is_the_network_of_2012(theirs, x)


# Counts and sizes ---------------------------------------------------------------------------------------------------


def test_published_count_of_each_layer():
    with torch.device("meta"):
        model = AlexNet()
    counts = {name: sum(p.numel() for p in model.get_submodule(name).parameters()) for name in LAYERS}
    assert counts == {
        "conv1": 34_944, "conv2": 307_456, "conv3": 885_120, "conv4": 663_936, "conv5": 442_624,
        "fc6": 37_752_832, "fc7": 16_781_312, "fc8": 4_097_000,
    }  # fmt: skip
    assert sum(counts.values()) == sum(p.numel() for p in model.parameters()) == 60_965_224
    with torch.device("meta"):
        assert sum(p.numel() for p in AlexNet(groups=1).parameters()) == 62_378_344


def sizes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Output shape of each layer and pooling for one image."""
    seen: dict[str, tuple[int, ...]] = {}
    for name, layer in model.named_children():
        if name[-1].isdecimal():
            layer.register_forward_hook(lambda _, __, y, name=name: seen.update({name: tuple(y.shape[1:])}))
    model(torch.zeros(1, *model.input_shape, device="meta"))
    return seen


def test_map_sizes_are_those_of_figure_2():
    with torch.device("meta"):
        found = sizes(AlexNet())
    assert found == {
        "conv1": (96, 55, 55), "norm1": (96, 55, 55), "pool1": (96, 27, 27),
        "conv2": (256, 27, 27), "norm2": (256, 27, 27), "pool2": (256, 13, 13),
        "conv3": (384, 13, 13), "conv4": (384, 13, 13), "conv5": (256, 13, 13), "pool5": (256, 6, 6),
        "fc6": (4096,), "fc7": (4096,), "fc8": (1000,),
    }  # fmt: skip


def test_pooling_without_overlap_makes_maps_of_the_same_size():
    """Section 3.4: s = 2, z = 2 produces output of equivalent dimensions."""
    with torch.device("meta"):
        found = sizes(AlexNet(overlap=False))
    assert (found["pool1"], found["pool2"], found["pool5"]) == ((96, 27, 27), (256, 13, 13), (256, 6, 6))


# Parts --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["conv2", "conv4", "conv5"])
def test_a_layer_in_groups_is_a_full_one_with_zeros_between_the_halves(layer):
    grouped = small().double().get_submodule(layer)
    assert isinstance(grouped, nn.Conv2d)
    full = nn.Conv2d(grouped.in_channels, grouped.out_channels, grouped.kernel_size, padding=grouped.padding).double()
    n, c = grouped.out_channels // 2, grouped.in_channels // 2
    with torch.no_grad():
        full.weight.zero_()
        full.weight[:n, :c], full.weight[n:, c:] = grouped.weight[:n], grouped.weight[n:]
        full.bias.copy_(grouped.bias)
    x = torch.randn(2, grouped.in_channels, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(grouped(x), full(x), rtol=1e-12, atol=1e-12)


def test_halves_share_nothing_up_to_layer_3():
    """With the normalisation cut off between them."""
    model = small(response="halves")
    seen = {}
    model.conv3.register_forward_hook(lambda _, inputs, __: seen.update(read=inputs[0]))
    x = images(model).requires_grad_()
    model(x)
    (gradient,) = torch.autograd.grad(seen["read"][:, :8].sum(), model.conv1.weight)
    assert gradient[:4].any()
    assert not gradient[4:].any()


def test_first_weights_and_where_biases_are_one():
    model = AlexNet(**{**SMALL, "maps": [96, 64, 64, 64, 64], "hidden_sizes": [256, 256]})
    ones = {"conv2.bias", "conv4.bias", "conv5.bias", "fc6.bias", "fc7.bias"}
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert torch.equal(parameter, torch.full_like(parameter, float(name in ones))), name
        else:
            assert parameter.std().item() == pytest.approx(0.01, rel=0.1), name


def test_the_other_first_weights_grow_with_fewer_inputs_but_no_class_is_preferred():
    model = small(maps=[96, 64, 64, 64, 64], hidden_sizes=[256, 256])
    for name, parameter in model.named_parameters():
        width = 0.01 if name == "fc8.weight" else math.sqrt(2 / parameter[0].numel())
        if name.endswith("bias"):
            assert not parameter.any(), name
        else:
            assert parameter.std().item() == pytest.approx(width, rel=0.1), name


def test_dropout_is_of_the_two_hidden_full_layers_in_training_only():
    model = small(hidden_sizes=[400, 400])
    x = images(model)
    assert torch.equal(model(x), model(x))
    seen: dict[str, list[Tensor]] = {"fc6": [], "fc7": [], "fc8": []}
    for name, found in seen.items():
        model.get_submodule(name).register_forward_hook(lambda _, inputs, __, found=found: found.append(inputs[0]))
    model.train()
    model(x)
    model(x)
    assert torch.equal(*seen["fc6"]), "nothing is dropped below layer 6"
    for name in ("fc7", "fc8"):
        first, second = seen[name]
        assert not torch.equal(first, second)
    kept = seen["fc7"][0] != 0  # of rectified units, about half
    alive = F.linear(seen["fc6"][0], model.fc6.weight, model.fc6.bias) > 0
    assert kept[alive].double().mean().item() == pytest.approx(0.5, abs=0.1)
    plain = small(dropout=0.0)
    assert torch.equal(plain.train()(images(plain)), plain.eval()(images(plain)))


def test_each_cause_of_success_is_switched_off_alone():
    """Rectifiers and dropout; the third, deformed examples, is the data's."""
    tanh = small(activation="tanh")
    assert not any(isinstance(module, nn.ReLU) for module in tanh.modules())
    assert tanh.drop.p == 0.5
    plain = small(dropout=0.0)
    assert any(isinstance(module, nn.ReLU) for module in plain.modules())
    for other in (tanh, plain):
        assert [p.shape for p in other.parameters()] == [p.shape for p in small().parameters()]


@pytest.mark.parametrize("override", ["model.activation=tanh", "model.dropout=0.0", "data.augment=none"])
def test_a_recipe_switches_each_cause_off_alone(override):
    full = recipe.load("alexnet_imagenet2012", check_model=False)
    without = recipe.load("alexnet_imagenet2012", override, check_model=False)
    key = override.partition("=")[0]
    changed = {name for name, _, _ in recipe.difference(full.settings, without.settings)}
    assert changed
    assert all(name == key or name.startswith(f"{key}.") for name in changed)


# Every place of a larger image ---------------------------------------------------------------------------------------


def convolutions(model: nn.Module) -> Iterator[nn.Conv2d]:
    return (module for module in model.modules() if isinstance(module, nn.Conv2d))


@pytest.mark.parametrize("kind", ["alexnet", "vgg11"])
def test_without_borders_dense_scores_are_those_of_crops(kind):
    """Crops of the 195 (150) pixels that the layers below a full one look at, 32 pixels apart."""
    if kind == "alexnet":
        model, size = small(), 195
    else:
        torch.manual_seed(0)
        model, size = VGG11(num_classes=5, image=[3, 32, 32], narrow=16).eval(), 150
    for layer in convolutions(model):
        layer.padding = (0, 0)
    model = model.double()
    x = 60 * torch.randn(2, 3, size + 64, size + 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made = model.dense(x)
    assert made.shape == (2, 5, 3, 2)
    for row in range(3):
        for column in range(2):
            crop = x[:, :, 32 * row : 32 * row + size, 32 * column : 32 * column + size]
            alone = model.dense(crop)
            assert alone.shape == (2, 5, 1, 1)
            torch.testing.assert_close(made[:, :, row, column], alone[:, :, 0, 0], rtol=1e-9, atol=1e-9)


def test_an_image_of_the_right_size_has_one_place():
    model = small()
    x = images(model)
    torch.testing.assert_close(model.dense(x)[:, :, 0, 0], model(x))
    assert model.dense(x).shape == (2, 5, 1, 1)
    assert model.dense(torch.zeros(1, 3, 67 + 64, 67 + 32)).shape == (1, 5, 3, 2)
    with pytest.raises(ValueError, match=r"images are \(1, 3, 67, 66\)\. Give images of 3 channels, 67 x 67 pixels"):
        model.dense(torch.zeros(1, 3, 67, 66))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"maps": [8, 16, 12, 12]}, "maps is [8, 16, 12, 12]. Set five numbers of at least 1"),
        ({"maps": [8, 16, 13, 12, 8]}, "groups is 2, which does not divide 13 maps. Set maps to multiples of it"),
        ({"hidden_sizes": [8]}, "hidden_sizes is [8]. Set two numbers of at least 1"),
        ({"groups": 0}, "groups is 0, no part. Set at least 1"),
        ({"kernel": 0}, "kernel is 0, a side of windows. Set at least 1"),
        ({"stride": 0}, "stride is 0, a distance of windows. Set at least 1"),
        ({"alpha": -1.0}, "alpha is -1.0, a weight of squares. Set at least 0"),
        ({"dropout": 1.0}, "dropout is 1.0, the probability of dropping a unit"),
        ({"image": [3, 40, 62]}, "image is [3, 40, 62], too small for windows of 11 at every 4 pixels"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        AlexNet(**{**SMALL, **settings})
    assert str(caught.value).startswith(message)
