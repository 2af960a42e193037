"""Weights of torchvision and timm under our names: the same network gives the same scores."""

from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from dltk.errors import LaunchError
from dltk.layouts import CONFIGURATION, LAYOUTS, translated
from dltk.models import vgg

OURS = {"vgg11": vgg.VGG11, "vgg13": vgg.VGG13, "vgg16": vgg.VGG16, "vgg19": vgg.VGG19}
EVERY = [(name, layout) for name in CONFIGURATION for layout in LAYOUTS]


def original(name: str, layout: str, device: str = "cpu", **settings: Any) -> nn.Module:
    """The other library's network, its weights so that signals keep their size, its biases not 0."""
    with torch.device("meta"):
        if layout == "timm":
            net = timm.create_model(name, pretrained=False, **settings)
        else:
            net = getattr(torchvision.models, name)(init_weights=False, **settings)
    if device == "meta":
        return net
    net.to_empty(device=device)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in net.parameters():
            inputs = parameter[0].numel() if parameter.dim() > 1 else 200
            parameter.normal_(0, (2 / inputs) ** 0.5, generator=generator)
    return net.eval()


@pytest.mark.parametrize(("name", "layout"), [(name, layout) for name, layout in EVERY if name in ("vgg11", "vgg16")])
def test_scores_are_the_originals(name: str, layout: str) -> None:
    theirs = original(name, layout, num_classes=20)
    with torch.device("meta"):
        ours = OURS[name](num_classes=20)
    ours.load_state_dict(translated(theirs.state_dict(), name, layout, "file"), assign=True)
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted, got = theirs(images), ours.eval()(images)
    assert wanted.std() > 0.1  # they tell the images and classes apart
    assert (wanted[0] - wanted[1]).abs().max() > 0.1
    assert (got - wanted).abs().max() < 1e-4 * wanted.abs().max()


@pytest.mark.parametrize(("name", "layout"), EVERY)
def test_every_tensor_has_its_place(name: str, layout: str) -> None:
    with torch.device("meta"):
        ours = OURS[name](num_classes=1000)
    found = translated(original(name, layout, "meta").state_dict(), name, layout, "file")
    assert {key: value.shape for key, value in found.items()} == {
        key: value.shape for key, value in ours.state_dict().items()
    }


@pytest.mark.parametrize(
    ("architecture", "reason"),
    [
        ("alexnet", "theirs is the network of 2014"),
        ("googlenet", "theirs has batch normalisation"),
        ("overfeat_fast", "they have no such network"),
        ("vgg16c", "they have no configuration C"),
        ("lenet5", "neither torchvision nor timm has the network 'lenet5'"),
        ("vgg17", "there is no network 'vgg17'"),
    ],
)
def test_networks_that_are_not_the_same_are_refused(architecture: str, reason: str) -> None:
    with pytest.raises(LaunchError, match=r"vgg11, vgg13, vgg16, vgg19") as raised:
        translated({}, architecture, "torchvision", "file")
    assert reason in str(raised.value)


def test_another_network_is_named() -> None:
    tensors = original("vgg16", "torchvision", "meta").state_dict()
    with pytest.raises(LaunchError, match=r"file: --as: holds vgg16 in the layout of torchvision, not vgg19 "):
        translated(tensors, "vgg19", "torchvision", "file")
    with pytest.raises(LaunchError, match=r"Say --as vgg16 --layout torchvision"):
        translated(tensors, "vgg16", "timm", "file")
    tensors["extra"] = tensors.pop("classifier.6.bias")
    with pytest.raises(LaunchError, match=r"holds no vgg16 .*missing: classifier\.6\.bias; unknown: extra"):
        translated(tensors, "vgg16", "torchvision", "file")
    normalised = original("vgg16_bn", "torchvision", "meta").state_dict()
    with pytest.raises(LaunchError, match=r"has batch normalisation \(features\.1\), which vgg16 has not"):
        translated(normalised, "vgg16", "torchvision", "file")
