"""VGG: ConvNets of 11 to 19 layers whose windows are all 3 x 3.

Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR (2015), table 1
(configurations A, A-LRN, B, C, D, E), table 2 (their sizes), sections 2.1 and 3. With 1,000 classes A has 132,863,336
parameters, B 133,047,848, C 133,638,952, D 138,357,544, E 143,667,240.

Section 3.1 draws the weights of A from N(0, 0.01) - a variance, so a deviation of 0.1 - and starts B to E from A's
first four convolutions and its three full layers; then it adds that with the weights of Glorot and Bengio neither is
needed: `first_weights: glorot`, the default here. The recipe vgg16_imagenet2012 starts from A.

Where the paper is silent: which convolutions of B to E those four become. By the numbers of their maps they fit the
first of blocks 1, 2 and 3 and the second of block 3, which stand under A's names here.

Departs from the paper: kept units are scaled up while training instead of outputs halved at test time, which has the
same mean. `first_weights: he` is for narrow forms: those of Glorot and Bengio, made for units that nothing cuts off,
let the signals of 16 layers fade.
"""

# Shapes: b images, c channels, k classes, h and w rows and columns of the map of outputs (1 and 1 for `image`).

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dltk.layers import expect
from dltk.layers.first_weights import glorot, he, near_zero, normal
from dltk.layers.response_normalisation import ResponseNormalisation
from dltk.layers.sliding import slide

# Table 1: the windows of each convolution in the five blocks, and maps for each block.
CONFIGURATIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "A-LRN": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}
WIDTHS = (64, 128, 256, 512, 512)
HIDDEN = 4096
VARIANCE = 1e-2  # section 3.1


class VGG(nn.Module):
    """A configuration of table 1; the classes below name one each.

    Args:
        num_classes: number of classes.
        image: channels, rows and columns of an image.
        narrow: what the numbers of maps and hidden units are divided by, for small forms.
        dropout: probability of dropping a unit of the two hidden full layers while training.
        first_weights: as Glorot and Bengio (`glorot`), normal with variance 0.01 (`normal`), or N(0, 2/F) for F inputs,
            of the scores N(0, 0.01^2) (`he`); biases 0.
        recompute: while training keep each block's input alone, and compute its maps again in the backward pass: an
            eighth of what is kept between the passes, for one more forward pass.

    Raises:
        ValueError: a setting is impossible.
    """

    configuration: ClassVar[str] = "D"

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        image: list[int] = [3, 224, 224],  # noqa: B006 - read only; the signature is the schema
        narrow: int = 1,
        dropout: float = 0.5,
        first_weights: Literal["glorot", "normal", "he"] = "glorot",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        expect.at_least("num_classes", num_classes, 2, "too few to tell apart")
        expect.at_least("narrow", narrow, 1, "what widths are divided by")
        expect.probability("dropout", dropout)
        self.input_shape = expect.image_shape(image)
        if min(image[1:]) < 32:
            raise ValueError(f"image is {list(image)}, and five poolings halve it. Set rows and columns of at least 32")
        self.rows, self.columns = image[1] // 32, image[2] // 32
        self.first_weights, self.recompute = first_weights, recompute
        before = self.input_shape[0]
        for number, (kernels, width) in enumerate(zip(CONFIGURATIONS[self.configuration], WIDTHS, strict=True), 1):
            width = max(1, width // narrow)
            layers: list[nn.Module] = []
            for kernel in kernels:
                layers.append(nn.Conv2d(before, width, kernel, padding=kernel // 2))
                before = width
            self.add_module(f"block{number}", nn.ModuleList(layers))
        hidden = max(1, HIDDEN // narrow)
        self.normalise = ResponseNormalisation() if self.configuration == "A-LRN" else None
        self.fc6 = nn.Linear(before * self.rows * self.columns, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, num_classes)
        self.squash = nn.ReLU()
        self.drop = nn.Dropout(dropout)
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """Weights as `first_weights` says; biases 0 (section 3.1)."""
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif self.first_weights == "normal":
            normal(parameter, VARIANCE**0.5, generator)
        elif self.first_weights == "he":
            (near_zero if name == "fc8.weight" else he)(parameter, generator)
        else:
            glorot(parameter, generator)

    def tensor_plan(self) -> dict[str, str]:
        """Layers that several devices may share, and whether a device reads all units of the one before, or its own."""
        return dict.fromkeys(("fc6", "fc7", "fc8"), "all")

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, *image) to class scores (b, k)."""
        expect.images_of(images, self.input_shape, "Set model.image to the images' shape.")
        y = self.features(images).flatten(1)  # (b, 25088)
        y = self.drop(self.squash(self.fc6(y)))  # (b, 4096)
        y = self.drop(self.squash(self.fc7(y)))  # (b, 4096)
        return self.fc8(y)  # (b, k)

    def dense(self, images: Tensor) -> Tensor:
        """Images (b, c, H, W), not smaller than `image`, to class scores (b, k, h, w): section 3.2.

        Places are 32 pixels apart. Because of the convolutions' borders a place's scores are not quite those of its
        crop; the paper counts that as a gain.
        """
        expect.not_smaller(images, self.input_shape)
        y = self.squash(slide(self.fc6, self.features(images), self.rows, self.columns))  # (b, 4096, h, w)
        y = self.squash(slide(self.fc7, self.drop(y)))  # (b, 4096, h, w)
        return slide(self.fc8, self.drop(y))  # (b, k, h, w)

    def features(self, images: Tensor) -> Tensor:
        """Images to the maps that the full layers read, (b, 512, 7, 7)."""
        return self.maps(images, len(WIDTHS))

    def maps(self, images: Tensor, poolings: int) -> Tensor:
        """Images to the maps behind so many poolings, before the next: behind four (b, 512, 14, 14)."""
        y = images
        for number in range(1, 1 + min(poolings + 1, len(WIDTHS))):
            pool = number <= poolings
            if self.recompute and self.training and torch.is_grad_enabled():
                # Nothing in a block draws random numbers.
                y = checkpoint(self._block, number, y, pool, use_reentrant=False, preserve_rng_state=False)
            else:
                y = self._block(number, y, pool)
        return y

    def maps_behind(self, poolings: int) -> tuple[list[str], tuple[int, int, int]]:
        """The layers that `maps` calls, and the number of maps that it gives, their rows and columns."""
        names = [f"block{number}" for number in range(1, 1 + min(poolings + 1, len(WIDTHS)))]
        last = self.get_submodule(names[-1])[-1]  # type: ignore[index]
        h, w = (length // 2 ** min(poolings, len(WIDTHS)) for length in self.input_shape[1:])
        return names, (last.out_channels, h, w)

    def _block(self, number: int, maps: Tensor, pool: bool) -> Tensor:
        layers = self.get_submodule(f"block{number}")
        assert isinstance(layers, nn.ModuleList)
        for layer in layers:
            maps = self.squash(layer(maps))
            if number == 1 and self.normalise is not None:
                maps = self.normalise(maps)
        return F.max_pool2d(maps, 2) if pool else maps


class VGG11(VGG):
    """Configuration A."""

    configuration = "A"


class VGG11LRN(VGG):
    """Configuration A-LRN: A with the response normalisation of Krizhevsky et al. (2012) behind its first layer."""

    configuration = "A-LRN"


class VGG13(VGG):
    """Configuration B."""

    configuration = "B"


class VGG16C(VGG):
    """Configuration C: three of its 16 layers have windows of 1 x 1."""

    configuration = "C"


class VGG16(VGG):
    """Configuration D."""

    configuration = "D"


class VGG19(VGG):
    """Configuration E."""

    configuration = "E"
