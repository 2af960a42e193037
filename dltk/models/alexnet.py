"""AlexNet: the ConvNet that won ImageNet 2012; five convolutions, three full layers, 60 million weights.

Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural networks", NIPS (2012),
section 3.5 and figure 2 (the network), 3.1 (rectifiers), 3.3 (response normalisation), 3.4 (overlapping pooling),
4.2 (dropout), 5 (first weights). 60,965,224 parameters with 1,000 classes. Layers 2, 4 and 5 read only the half of the
maps that lie on the same one of two GPUs (`groups: 2`), so each half is a network of its own up to layer 3.

It is not the network that torchvision and timm call alexnet: that is the one of Krizhevsky, "One weird trick for
parallelizing convolutional neural networks", arXiv 1404.5997 (2014), with other widths, no groups, no response
normalisation and 61,100,840 parameters.

Where the paper is silent:

- Windows of 11 x 11 at every fourth pixel have 55 places on a side of 227 pixels, not on the 224 of the text. Images of
  224 get a border of 2 pixels here, which gives the 55 x 55 of figure 2.
- The normalisation's sum runs over neighbouring maps, up to the last of the layer. Between the halves that would take
  talk of the GPUs, which figure 2 does not show: `response: halves` cuts the window off there. It concerns two maps on
  each side. On two devices (`launch.tensor_plan: groups`) the network of `whole` talks there. The sum is weighed by
  alpha = 1e-4 as printed; the released code divides it by n first: `alpha: 2.0e-5`.
- Nothing is said of the border of layers 2 to 5: 2 pixels and 1 keep the size, as figure 2 shows.

Departs from the paper: kept units are scaled up while training instead of outputs halved at test time, which has the
same mean. `first_weights: he` is for the narrow forms that small images want: N(0, 0.01^2) is too little for them.
"""

# Shapes: b images, c channels, k classes, h and w rows and columns of the map of outputs (1 and 1 for `image`).

from typing import Literal

import torch
from torch import Tensor, nn

from dltk.layers import expect
from dltk.layers.first_weights import he, near_zero, normal
from dltk.layers.response_normalisation import ResponseNormalisation
from dltk.layers.sliding import side, slide

STD = 0.01  # section 5
ONES = ("conv2.bias", "conv4.bias", "conv5.bias", "fc6.bias", "fc7.bias")  # section 5: rectifiers start alive


class AlexNet(nn.Module):
    """The network of figure 2.

    Args:
        num_classes: number of classes.
        image: channels, rows and columns of an image.
        maps: maps of the five convolutions.
        hidden_sizes: units of the two hidden full layers.
        kernel: side of the first convolution's windows.
        stride: their distance.
        groups: parts of the maps that do not see each other in layers 2, 4 and 5; 2 in the paper, 1 for none.
        activation: the units' function; the paper compares both in figure 1.
        response: response normalisation over the whole layer, within its `groups` (`halves`), or not at all.
        alpha: its weight of the sum of squares.
        overlap: pool windows of 3 x 3 at every second place; without it windows of 2 x 2.
        dropout: probability of dropping a unit of the hidden full layers while training.
        first_weights: N(0, 0.01^2) and some biases 1 (`paper`); or N(0, 2/F) for F inputs, N(0, 0.01^2) for the scores,
            and biases 0 (`he`).

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        image: list[int] = [3, 224, 224],  # noqa: B006 - read only; the signature is the schema
        maps: list[int] = [96, 256, 384, 384, 256],  # noqa: B006
        hidden_sizes: list[int] = [4096, 4096],  # noqa: B006
        kernel: int = 11,
        stride: int = 4,
        groups: int = 2,
        activation: Literal["relu", "tanh"] = "relu",
        response: Literal["whole", "halves", "none"] = "whole",
        alpha: float = 1e-4,
        overlap: bool = True,
        dropout: float = 0.5,
        first_weights: Literal["paper", "he"] = "paper",
    ) -> None:
        super().__init__()
        expect.at_least("num_classes", num_classes, 2, "too few to tell apart")
        expect.at_least("kernel", kernel, 1, "a side of windows")
        expect.at_least("stride", stride, 1, "a distance of windows")
        expect.at_least("alpha", alpha, 0, "a weight of squares")
        expect.probability("dropout", dropout)
        _check_sizes(maps, hidden_sizes, groups)
        self.input_shape = expect.image_shape(image)
        self.first_weights = first_weights
        window = 3 if overlap else 2
        self.rows, self.columns = _last_map(self.input_shape, kernel, stride, window)
        c1, c2, c3, c4, c5 = maps
        n6, n7 = hidden_sizes
        parts = groups if response == "halves" else 1
        self.conv1 = nn.Conv2d(self.input_shape[0], c1, kernel, stride, padding=2)
        self.norm1 = nn.Identity() if response == "none" else ResponseNormalisation(alpha=alpha, groups=parts)
        self.pool1 = nn.MaxPool2d(window, 2)
        self.conv2 = nn.Conv2d(c1, c2, 5, padding=2, groups=groups)
        self.norm2 = nn.Identity() if response == "none" else ResponseNormalisation(alpha=alpha, groups=parts)
        self.pool2 = nn.MaxPool2d(window, 2)
        self.conv3 = nn.Conv2d(c2, c3, 3, padding=1)
        self.conv4 = nn.Conv2d(c3, c4, 3, padding=1, groups=groups)
        self.conv5 = nn.Conv2d(c4, c5, 3, padding=1, groups=groups)
        self.pool5 = nn.MaxPool2d(window, 2)
        self.fc6 = nn.Linear(c5 * self.rows * self.columns, n6)
        self.fc7 = nn.Linear(n6, n7)
        self.fc8 = nn.Linear(n7, num_classes)
        self.squash = nn.ReLU() if activation == "relu" else nn.Tanh()
        self.drop = nn.Dropout(dropout)
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """As section 5 says, or as `first_weights` does."""
        if name.endswith("bias"):
            nn.init.constant_(parameter, float(self.first_weights == "paper" and name in ONES))
        elif self.first_weights == "paper":
            normal(parameter, STD, generator)
        else:
            (near_zero if name == "fc8.weight" else he)(parameter, generator)

    def tensor_plan(self) -> dict[str, str]:
        """Layers that several devices may share, and whether a device reads all units of the one before, or its own."""
        return dict.fromkeys(("fc6", "fc7", "fc8"), "all")

    def group_plan(self) -> dict[str, str]:
        """As `tensor_plan`, of all layers: figure 2, where each device has a part of the maps of every layer.

        Devices meet at layer 3 and in the full layers; at the normalisations too, unless `response` is `halves`.
        """
        own = "own" if self.conv2.groups > 1 else "all"
        plan = {"conv1": "all", "norm1": "", "conv2": own, "norm2": "", "conv3": "all", "conv4": own, "conv5": own}
        for name in ("norm1", "norm2"):
            norm = self.get_submodule(name)
            if isinstance(norm, ResponseNormalisation):
                plan[name] = "own" if norm.groups > 1 else "all"
            else:
                del plan[name]
        return plan | self.tensor_plan()

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, *image) to class scores (b, k)."""
        expect.images_of(images, self.input_shape, "Set model.image to the images' shape.")
        y = self.features(images).flatten(1)  # (b, 9216)
        y = self.drop(self.squash(self.fc6(y)))  # layer 6 (b, 4096)
        y = self.drop(self.squash(self.fc7(y)))  # layer 7 (b, 4096)
        return self.fc8(y)  # layer 8 (b, k)

    def dense(self, images: Tensor) -> Tensor:
        """Images (b, c, H, W), not smaller than `image`, to class scores (b, k, h, w): the network at every place.

        Places are 32 pixels apart (eight strides). Because of the borders of layers 1 to 5 a place's scores are not
        quite those of its crop.
        """
        expect.not_smaller(images, self.input_shape)
        y = self.squash(slide(self.fc6, self.features(images), self.rows, self.columns))  # (b, 4096, h, w)
        y = self.squash(slide(self.fc7, self.drop(y)))  # (b, 4096, h, w)
        return slide(self.fc8, self.drop(y))  # (b, k, h, w)

    def features(self, images: Tensor) -> Tensor:
        """Images to the maps that the full layers read, (b, 256, 6, 6)."""
        return self.maps(images, 3)

    def maps(self, images: Tensor, poolings: int) -> Tensor:
        """Images to the maps behind so many poolings, before the next: behind two (b, 256, 13, 13)."""
        y = self.norm1(self.squash(self.conv1(images)))  # layer 1 (b, 96, 55, 55)
        if poolings > 0:
            y = self.pool1(y)  # (b, 96, 27, 27)
            y = self.norm2(self.squash(self.conv2(y)))  # layer 2 (b, 256, 27, 27)
        if poolings > 1:
            y = self.pool2(y)  # (b, 256, 13, 13)
            y = self.squash(self.conv3(y))  # layer 3 (b, 384, 13, 13)
            y = self.squash(self.conv4(y))  # layer 4 (b, 384, 13, 13)
            y = self.squash(self.conv5(y))  # layer 5 (b, 256, 13, 13)
        return self.pool5(y) if poolings > 2 else y  # (b, 256, 6, 6)

    def maps_behind(self, poolings: int) -> tuple[list[str], tuple[int, int, int]]:
        """The layers that `maps` calls, and the number of maps that it gives, their rows and columns."""
        names = ["conv1", "conv2", "conv3", "conv4", "conv5"][: (1, 2, 5)[min(poolings, 2)]]
        last, window = self.get_submodule(names[-1]), self.pool1.kernel_size
        assert isinstance(last, nn.Conv2d)
        assert isinstance(window, int)
        sides = []
        for length in self.input_shape[1:]:
            length = side(length, self.conv1.kernel_size[0], self.conv1.stride[0], padding=2)
            for _ in range(min(poolings, 3)):
                length = side(length, window, 2)
            sides.append(length)
        return names, (last.out_channels, sides[0], sides[1])


def _check_sizes(maps: list[int], hidden_sizes: list[int], groups: int) -> None:
    if len(maps) != 5 or min(maps) < 1:
        raise ValueError(f"maps is {list(maps)}. Set five numbers of at least 1, one for each convolution")
    if len(hidden_sizes) != 2 or min(hidden_sizes) < 1:
        raise ValueError(f"hidden_sizes is {list(hidden_sizes)}. Set two numbers of at least 1")
    expect.at_least("groups", groups, 1, "no part")
    uneven = [number for number in maps if number % groups]  # each is read or made by layer 2, 4 or 5
    if uneven:
        raise ValueError(f"groups is {groups}, which does not divide {uneven[0]} maps. Set maps to multiples of it")


def _last_map(image: tuple[int, int, int], kernel: int, stride: int, window: int) -> tuple[int, int]:
    """Rows and columns of the maps after the last pooling."""
    sides = []
    for length in image[1:]:
        first = side(length, kernel, stride, padding=2)
        sides.append(side(side(side(first, window, 2), window, 2), window, 2))
    if min(sides) < 1:
        raise ValueError(
            f"image is {list(image)}, too small for windows of {kernel} at every {stride} pixels and three poolings. "
            "Set a larger one, or a smaller kernel and stride"
        )
    return sides[0], sides[1]
