"""OverFeat: the winner of ImageNet 2013's localisation, as a classifier; a fast and an accurate network.

Sermanet, Eigen, Zhang, Mathieu, Fergus, LeCun, "OverFeat: integrated recognition, localization and detection using
convolutional networks", ICLR (2014), section 3.1 and tables 1 and 3. 145,920,872 parameters (fast) and 144,656,488
(accurate) with 1,000 classes. Rectifiers, no response normalisation, windows of pooling that do not overlap.

Sections 3.3 and 3.5: the network is evaluated at every place of an image at once, and finer than its pooling allows:
the last pooling runs from every one of its offsets, the full layers read each result, and all are interleaved
(`dense`). So places are 12 pixels apart for the accurate network instead of 36, and 16 instead of 32 for the fast one.

Where the paper is silent: of first biases, which are 0 here, and of the tables' zero padding 1 x 1 x 1 x 1, which is a
border of 1 pixel on each side of the convolutions of 3 x 3.

Departs from the paper: kept units are scaled up while training instead of weights down at test time, which has the same
mean. `first_weights: he` is for narrow forms: N(0, 0.01^2) is too little for them.
"""

# Shapes: b images, c channels or maps, h and w rows and columns of the map of outputs, k classes.

from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.layers import expect
from dltk.layers.first_weights import he, near_zero, normal
from dltk.layers.sliding import side, slide

STD = 0.01  # section 3.1


class Stage(NamedTuple):
    """A convolution and the pooling behind it."""

    maps: int
    kernel: int
    stride: int = 1
    padding: int = 0
    pool: int = 1  # side and distance of its windows; 1 for none


# Table 1, layers 1 to 6.
FAST = (
    Stage(96, 11, stride=4, pool=2),
    Stage(256, 5, pool=2),
    Stage(512, 3, padding=1),
    Stage(1024, 3, padding=1),
    Stage(1024, 3, padding=1, pool=2),
)
# Table 3, layers 1 to 7.
ACCURATE = (
    Stage(96, 7, stride=2, pool=3),
    Stage(256, 7, pool=2),
    Stage(512, 3, padding=1),
    Stage(512, 3, padding=1),
    Stage(1024, 3, padding=1),
    Stage(1024, 3, padding=1, pool=3),
)


class OverFeat(nn.Module):
    """The convolutions of one of the tables, then three full layers; the classes below name a table each.

    Args:
        stages: the convolutions.
        hidden_sizes: units of the two hidden full layers.
        num_classes: as below.
        image: as below.
        narrow: as below.
        dropout: as below.
        first_weights: as below.

    Raises:
        ValueError: a setting is impossible.
    """

    dense_by: ClassVar = "max"  # section 3.3: of each class the greatest score over the places

    def __init__(
        self,
        stages: Sequence[Stage],
        hidden_sizes: Sequence[int],
        *,
        num_classes: int,
        image: list[int],
        narrow: int,
        dropout: float,
        first_weights: Literal["paper", "he"],
    ) -> None:
        super().__init__()
        expect.at_least("num_classes", num_classes, 2, "too few to tell apart")
        expect.at_least("narrow", narrow, 1, "what widths are divided by")
        expect.probability("dropout", dropout)
        self.input_shape = expect.image_shape(image)
        self.first_weights, self.stages = first_weights, tuple(stages)
        self.rows, self.columns = (_last_map(length, stages, image) for length in image[1:])
        widths = [self.input_shape[0], *(max(1, stage.maps // narrow) for stage in stages)]
        n6, n7 = (max(1, size // narrow) for size in hidden_sizes)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, stage.kernel, stage.stride, stage.padding)
            for before, after, stage in zip(widths, widths[1:], stages, strict=False)
        )
        self.full1 = nn.Linear(widths[-1] * self.rows * self.columns, n6)
        self.full2 = nn.Linear(n6, n7)
        self.output = nn.Linear(n7, num_classes)
        self.squash = nn.ReLU()
        self.drop = nn.Dropout(dropout)
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """Weights as `first_weights` says, section 3.1 for the paper's; biases 0."""
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif self.first_weights == "paper":
            normal(parameter, STD, generator)
        else:
            (near_zero if name == "output.weight" else he)(parameter, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, *image) to class scores (b, k)."""
        expect.images_of(images, self.input_shape, "Set model.image to the images' shape.")
        y = self._pool(self.features(images)).flatten(1)
        y = self.drop(self.squash(self.full1(y)))  # (b, 3072 or 4096)
        y = self.drop(self.squash(self.full2(y)))  # (b, 4096)
        return self.output(y)  # (b, k)

    def dense(self, images: Tensor, *, offsets: bool = False) -> Tensor:
        """Images (b, c, H, W), not smaller than `image`, to class scores (b, k, h, w): the network at every place.

        Args:
            images: of any size.
            offsets: run the last pooling from each of its offsets, and interleave (section 3.3, figure 3); rows and
                columns that not every offset reaches are left out.
        """
        expect.not_smaller(images, self.input_shape)
        maps, pool = self.features(images), self.stages[-1].pool
        if not offsets:
            return self._full(self._pool(maps))
        lengths, least = maps.shape[-2:], (self.rows, self.columns)
        # The last offset has the fewest places.
        h, w = ((length - pool + 1) // pool - own + 1 for length, own in zip(lengths, least, strict=True))
        if min(h, w) < 1:
            raise ValueError(f"images are {tuple(images.shape)}, too small for offsets. Give larger ones")
        every = [[self._full(self._pool(maps[..., i:, j:])) for j in range(pool)] for i in range(pool)]
        rows = [torch.stack([y[..., :h, :w] for y in row], dim=-1).flatten(-2) for row in every]  # (b, k, h, w pool)
        return torch.stack(rows, dim=-2).flatten(-3, -2)  # (b, k, h pool, w pool)

    def features(self, images: Tensor) -> Tensor:
        """Images to the maps of the last convolution, before its pooling."""
        return self.maps(images, self.poolings - 1)

    @property
    def poolings(self) -> int:
        """How many there are."""
        return sum(stage.pool > 1 for stage in self.stages)

    def maps(self, images: Tensor, poolings: int) -> Tensor:
        """Images to the maps behind so many poolings, before the next."""
        y = images
        for convolution, stage in zip(self.convolutions, self.stages, strict=True):
            y = self.squash(convolution(y))
            if stage.pool > 1:
                if not poolings:
                    break
                y, poolings = F.max_pool2d(y, stage.pool), poolings - 1
        return y

    def maps_behind(self, poolings: int) -> tuple[list[str], tuple[int, int, int]]:
        """The layers that `maps` calls, and the number of maps that it gives, their rows and columns."""
        sides, names = list(self.input_shape[1:]), []
        for number, stage in enumerate(self.stages):
            names.append(f"convolutions.{number}")
            sides = [side(length, stage.kernel, stage.stride, stage.padding) for length in sides]
            if stage.pool > 1:
                if not poolings:
                    break
                sides, poolings = [length // stage.pool for length in sides], poolings - 1
        last = self.convolutions[len(names) - 1]
        assert isinstance(last, nn.Conv2d)
        return names, (last.out_channels, sides[0], sides[1])

    def _pool(self, maps: Tensor) -> Tensor:
        return F.max_pool2d(maps, self.stages[-1].pool)

    def _full(self, maps: Tensor) -> Tensor:
        """Pooled maps to scores (b, k, h, w)."""
        y = self.squash(slide(self.full1, maps, self.rows, self.columns))
        y = self.squash(slide(self.full2, self.drop(y)))
        return slide(self.output, self.drop(y))


class OverFeatFast(OverFeat):
    """Table 1.

    Args:
        num_classes: number of classes.
        image: channels, rows and columns of an image.
        narrow: what the numbers of maps and hidden units are divided by, for small forms.
        dropout: probability of dropping a unit of the hidden full layers while training.
        first_weights: N(0, 0.01^2) (`paper`), or N(0, 2/F) for F inputs, of the scores N(0, 0.01^2) (`he`).

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        image: list[int] = [3, 231, 231],  # noqa: B006 - read only; the signature is the schema
        narrow: int = 1,
        dropout: float = 0.5,
        first_weights: Literal["paper", "he"] = "paper",
    ) -> None:
        super().__init__(
            FAST, (3072, 4096), num_classes=num_classes, image=image, narrow=narrow, dropout=dropout,
            first_weights=first_weights,
        )  # fmt: skip


class OverFeatAccurate(OverFeat):
    """Table 3.

    Args:
        num_classes: number of classes.
        image: channels, rows and columns of an image.
        narrow: what the numbers of maps and hidden units are divided by, for small forms.
        dropout: probability of dropping a unit of the hidden full layers while training.
        first_weights: N(0, 0.01^2) (`paper`), or N(0, 2/F) for F inputs, of the scores N(0, 0.01^2) (`he`).

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        image: list[int] = [3, 221, 221],  # noqa: B006 - read only; the signature is the schema
        narrow: int = 1,
        dropout: float = 0.5,
        first_weights: Literal["paper", "he"] = "paper",
    ) -> None:
        super().__init__(
            ACCURATE, (4096, 4096), num_classes=num_classes, image=image, narrow=narrow, dropout=dropout,
            first_weights=first_weights,
        )  # fmt: skip


def _last_map(length: int, stages: Sequence[Stage], image: Sequence[int]) -> int:
    """A side of the maps that the full layers read."""
    for stage in stages:
        length = side(length, stage.kernel, stage.stride, stage.padding)
        length = length // stage.pool
        if length < 1:
            raise ValueError(f"image is {list(image)}, too small for the convolutions and poolings. Set a larger one")
    return length
