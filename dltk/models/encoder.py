"""A ConvNet without its classifier: the maps in which a captioner looks.

Any of the networks in `NETWORKS`, whose papers of 2012 to 2014 stand in their own files, up to one of its poolings; the
layers behind it are left out.

Departs from the papers: convolutions begin with weights from N(0, 2/F) for F inputs where a network leaves the choice,
so that narrow forms learn. Captioners of photographs begin with those of a classifier (`init`).
"""

# Shapes: b images, c channels, d maps, h and w their rows and columns, l = h w locations.

from typing import Any

import torch
from torch import Tensor, nn

from dltk.layers import expect
from dltk.models.alexnet import AlexNet
from dltk.models.googlenet import GoogLeNet
from dltk.models.overfeat import OverFeatAccurate, OverFeatFast
from dltk.models.vgg import VGG11, VGG11LRN, VGG13, VGG16, VGG16C, VGG19


class Encoder(nn.Module):
    """The layers of a ConvNet up to a pooling. Whoever has it draws its first weights by `initialise`.

    Args:
        name: of the ConvNet.
        image: channels, rows and columns of an image.
        narrow: what its widths are divided by, for small forms.
        poolings: which are passed; the maps are those before the next one.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(self, name: str, image: list[int], narrow: int, poolings: int) -> None:
        super().__init__()
        expect.at_least("poolings", poolings, 0, "poolings to pass")
        if name not in NETWORKS:
            raise ValueError(f"encoder is '{name}', no ConvNet for images of colours. Choices: {', '.join(NETWORKS)}")
        self.poolings = poolings
        rest: dict[str, Any] = {"narrow": narrow, "first_weights": "he"}
        if name == "alexnet":
            rest = _of_widths(narrow)
        if name == "googlenet":
            rest = {"narrow": narrow, "auxiliary": False}
        self.network = _undrawn(NETWORKS[name], image=image, **rest)
        self.input_shape: tuple[int, int, int] = self.network.input_shape
        called, (self.maps, self.rows, self.columns) = self.network.maps_behind(poolings)
        _keep(self.network, set(called))

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """As the network does."""
        self.network.initialise(name.removeprefix("network."), parameter, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, *image) to maps (b, d, h, w)."""
        maps: Tensor = self.network.maps(images, self.poolings)
        return maps

    def annotations(self, images: Tensor) -> Tensor:
        """Images (b, *image) to what the maps say at each location, row after row (b, l, d)."""
        expect.images_of(images, self.input_shape, "Set model.image to the images' shape.")
        return self(images).flatten(2).transpose(1, 2)


def _keep(network: nn.Module, paths: set[str]) -> None:
    """Remove the modules of a network that have weights and are neither at one of the paths nor above it."""
    for name, child in list(network.named_children()):
        below = {path.removeprefix(f"{name}.") for path in paths if path == name or path.startswith(f"{name}.")}
        if not below and any(True for _ in child.parameters()):
            delattr(network, name)
        elif below and below != {name}:
            _keep(child, below)


def _undrawn(make: Any, **settings: Any) -> Any:
    """A network of ours whose first weights are not drawn: whoever has it does so, by name."""
    silent = type(make.__name__, (make,), {"initialise": lambda *_: None})
    made = silent(**settings)
    made.__class__ = make
    return made


def _of_widths(narrow: int) -> dict[str, Any]:
    """AlexNet's settings; its maps are in two groups."""
    expect.at_least("narrow", narrow, 1, "what widths are divided by")
    maps = [max(2, maps // narrow // 2 * 2) for maps in (96, 256, 384, 384, 256)]
    return {"maps": maps, "hidden_sizes": [1, 1], "first_weights": "he"}


NETWORKS: dict[str, Any] = {
    "alexnet": AlexNet,
    "googlenet": GoogLeNet,
    "overfeat_fast": OverFeatFast,
    "overfeat_accurate": OverFeatAccurate,
    "vgg11": VGG11,
    "vgg11_lrn": VGG11LRN,
    "vgg13": VGG13,
    "vgg16c": VGG16C,
    "vgg16": VGG16,
    "vgg19": VGG19,
}
