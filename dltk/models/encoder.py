"""A ConvNet without its classifier: the maps in which a captioner looks.

Any of the networks in `NETWORKS`, whose papers of 2012 to 2014 stand in their own files, up to one of its poolings; the
layers behind it are left out.

Departs from the papers: convolutions begin with weights from N(0, 2/F) for F inputs where a network leaves the choice,
so that narrow forms learn. Captioners of photographs begin with those of a classifier (`init`).
"""

# Shapes: b images, c channels, d maps, h and w their rows and columns, l = h w locations.

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from dltk.layers import expect
from dltk.models.alexnet import AlexNet
from dltk.models.googlenet import GoogLeNet
from dltk.models.overfeat import OverFeatAccurate, OverFeatFast
from dltk.models.vgg import VGG11, VGG11LRN, VGG13, VGG16, VGG16C, VGG19


class Encoder(nn.Module):
    """The layers of a ConvNet up to a pooling.

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
        more: dict[str, Any] = {"auxiliary": False} if name == "googlenet" else {"first_weights": "he"}
        self.poolings = poolings
        if name not in NETWORKS:
            raise ValueError(f"encoder is '{name}', no ConvNet for images of colours. Choices: {', '.join(NETWORKS)}")
        self.network = NETWORKS[name](image=image, narrow=narrow, **more)
        self.input_shape: tuple[int, int, int] = self.network.input_shape
        called, shape = self._look()
        self.maps, self.rows, self.columns = shape
        _keep(self.network, called)

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

    def _look(self) -> tuple[set[str], tuple[int, int, int]]:
        """Which modules take part, and the shape (d, h, w) of the maps; nothing is computed."""
        called: set[str] = set()
        hooks = [
            module.register_forward_hook(lambda *_, path=path: called.add(path))
            for path, module in self.network.named_modules()
        ]
        tensors = {name: one.detach().to("meta") for name, one in (*self.named_parameters(), *self.named_buffers())}
        maps = functional_call(self, tensors, (torch.empty(1, *self.input_shape, device="meta"),))
        for hook in hooks:
            hook.remove()
        return called, (maps.shape[1], maps.shape[2], maps.shape[3])


def _keep(network: nn.Module, paths: set[str]) -> None:
    """Remove the modules of a network that are neither at one of the paths nor above it."""
    for name, child in list(network.named_children()):
        below = {path.removeprefix(f"{name}.") for path in paths if path == name or path.startswith(f"{name}.")}
        if not below:
            delattr(network, name)
        elif below != {name}:
            _keep(child, below)


def _alexnet(*, image: list[int], narrow: int, first_weights: Literal["he"]) -> AlexNet:
    maps = [max(2, maps // narrow // 2 * 2) for maps in (96, 256, 384, 384, 256)]  # two groups
    return AlexNet(image=image, maps=maps, hidden_sizes=[1, 1], first_weights=first_weights)


NETWORKS: dict[str, Any] = {
    "alexnet": _alexnet,
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
