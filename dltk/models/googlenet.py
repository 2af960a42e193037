"""GoogLeNet: 22 layers with weights, nine of them modules that look through windows of several sizes at once.

Szegedy et al., "Going deeper with convolutions", CVPR (2015), arXiv 1409.4842 of 2014, table 1 (the network), figure 2b
(its modules), section 5 (the auxiliary classifiers; the weight of their losses, 0.3, is the task's). 6,998,552
parameters with 1,000 classes, 13,378,280 with the auxiliary classifiers, which are left out at test time. The paper's
table rounds to thousands of 1,024 and sums to some 6.8 million.

It is the network of 2014. torchvision's googlenet has batch normalisation, no biases in its convolutions, and windows
of 3 x 3 where this one has 5 x 5.

Where the paper is silent:

- The constants of the two response normalisations: those of Krizhevsky et al. 2012.
- First weights: N(0, 2/F) for F inputs, N(0, 0.01^2) for the scores, so that no class is preferred; biases 0.
- Poolings of 3 x 3 at every second place make 112, 56, 28, 14, 7 of a side of 224, so their last windows reach over the
  border.

Departs from the paper: nothing.
"""

# Shapes: b images, c channels or maps, h rows, w columns, k classes.

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.layers import expect
from dltk.layers.first_weights import he, near_zero
from dltk.layers.response_normalisation import ResponseNormalisation

# Units of an auxiliary classifier: maps of its convolution, and of its hidden full layer.
AUXILIARY_MAPS, AUXILIARY_HIDDEN = 128, 1024


class Widths(NamedTuple):
    """Maps of a module, as the columns of table 1."""

    one: int
    three_reduce: int
    three: int
    five_reduce: int
    five: int
    pool: int


STEM = (64, 64, 192)
MODULES = {
    "3a": Widths(64, 96, 128, 16, 32, 32),
    "3b": Widths(128, 128, 192, 32, 96, 64),
    "4a": Widths(192, 96, 208, 16, 48, 64),
    "4b": Widths(160, 112, 224, 24, 64, 64),
    "4c": Widths(128, 128, 256, 24, 64, 64),
    "4d": Widths(112, 144, 288, 32, 64, 64),
    "4e": Widths(256, 160, 320, 32, 128, 128),
    "5a": Widths(256, 160, 320, 32, 128, 128),
    "5b": Widths(384, 192, 384, 48, 128, 128),
}


STAGES = (("3a", "3b"), ("4a", "4b", "4c", "4d", "4e"), ("5a", "5b"))  # between poolings


class Inception(nn.Module):
    """Windows of 1, 3 and 5 and a pooling of 3, each behind or before a convolution of 1 x 1; their maps put together.

    Args:
        maps: number of maps read.
        widths: maps of each convolution.
    """

    def __init__(self, maps: int, widths: Widths) -> None:
        super().__init__()
        self.one = nn.Conv2d(maps, widths.one, 1)
        self.three_reduce = nn.Conv2d(maps, widths.three_reduce, 1)
        self.three = nn.Conv2d(widths.three_reduce, widths.three, 3, padding=1)
        self.five_reduce = nn.Conv2d(maps, widths.five_reduce, 1)
        self.five = nn.Conv2d(widths.five_reduce, widths.five, 5, padding=2)
        self.pool = nn.Conv2d(maps, widths.pool, 1)
        self.made = widths.one + widths.three + widths.five + widths.pool

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (b, c, h, w) to maps (b, one + three + five + pool, h, w)."""
        branches = (
            self.one(maps),
            self.three(self.three_reduce(maps).relu()),
            self.five(self.five_reduce(maps).relu()),
            self.pool(F.max_pool2d(maps, 3, stride=1, padding=1)),
        )
        return torch.cat(branches, dim=1).relu()


class AuxiliaryClassifier(nn.Module):
    """A small classifier on a middle layer, whose gradient helps the layers below (section 5).

    Args:
        maps: number of maps read.
        rows: rows of the pooled maps.
        columns: columns of the pooled maps.
        num_classes: number of classes.
        narrow: what widths are divided by.
        dropout: probability of dropping a hidden unit.
    """

    def __init__(self, maps: int, rows: int, columns: int, num_classes: int, narrow: int, dropout: float) -> None:
        super().__init__()
        width, hidden = max(1, AUXILIARY_MAPS // narrow), max(1, AUXILIARY_HIDDEN // narrow)
        self.reduce = nn.Conv2d(maps, width, 1)
        self.full = nn.Linear(width * rows * columns, hidden)
        self.output = nn.Linear(hidden, num_classes)
        self.drop = nn.Dropout(dropout)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (b, c, 14, 14) to class scores (b, k)."""
        y = F.avg_pool2d(maps, 5, stride=3)  # (b, c, 4, 4)
        y = self.reduce(y).relu().flatten(1)  # (b, 2048)
        return self.output(self.drop(self.full(y).relu()))


class GoogLeNet(nn.Module):
    """The network of table 1 and figure 3.

    While training, `forward` gives the scores and, behind them, those of the auxiliary classifiers on 4a and 4d; in
    evaluation the scores alone.

    Args:
        num_classes: number of classes.
        image: channels, rows and columns of an image.
        narrow: what the numbers of maps and hidden units are divided by, for small forms.
        auxiliary: have the auxiliary classifiers.
        dropout: probability of dropping a pooled map before the last layer while training.
        auxiliary_dropout: probability of dropping a hidden unit of an auxiliary classifier while training.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        num_classes: int = 1000,
        image: list[int] = [3, 224, 224],  # noqa: B006 - read only; the signature is the schema
        narrow: int = 1,
        auxiliary: bool = True,
        dropout: float = 0.4,
        auxiliary_dropout: float = 0.7,
    ) -> None:
        super().__init__()
        expect.at_least("num_classes", num_classes, 2, "too few to tell apart")
        expect.at_least("narrow", narrow, 1, "what widths are divided by")
        expect.probability("dropout", dropout)
        expect.probability("auxiliary_dropout", auxiliary_dropout)
        self.input_shape = expect.image_shape(image)
        if min(_side(length, 4) for length in image[1:]) < 1:
            raise ValueError(f"image is {list(image)}, too small. Set rows and columns of at least 31")
        c1, c2, c3 = (max(1, width // narrow) for width in STEM)
        self.conv1 = nn.Conv2d(self.input_shape[0], c1, 7, stride=2, padding=3)
        self.conv2_reduce = nn.Conv2d(c1, c2, 1)
        self.conv2 = nn.Conv2d(c2, c3, 3, padding=1)
        self.norm1, self.norm2 = ResponseNormalisation(), ResponseNormalisation()
        self.pool1, self.pool2, self.pool3, self.pool4 = (nn.MaxPool2d(3, 2, ceil_mode=True) for _ in range(4))
        widths = {name: Widths(*(max(1, width // narrow) for width in row)) for name, row in MODULES.items()}
        self.inception3a = Inception(c3, widths["3a"])
        self.inception3b = Inception(self.inception3a.made, widths["3b"])
        self.inception4a = Inception(self.inception3b.made, widths["4a"])
        self.inception4b = Inception(self.inception4a.made, widths["4b"])
        self.inception4c = Inception(self.inception4b.made, widths["4c"])
        self.inception4d = Inception(self.inception4c.made, widths["4d"])
        self.inception4e = Inception(self.inception4d.made, widths["4e"])
        self.inception5a = Inception(self.inception4e.made, widths["5a"])
        self.inception5b = Inception(self.inception5a.made, widths["5b"])
        self.output = nn.Linear(self.inception5b.made, num_classes)
        self.drop = nn.Dropout(dropout)
        self.auxiliary4a: AuxiliaryClassifier | None = None
        self.auxiliary4d: AuxiliaryClassifier | None = None
        if auxiliary:
            sides = _auxiliary_sides(image)
            made4a, made4d = self.inception4a.made, self.inception4d.made
            self.auxiliary4a = AuxiliaryClassifier(made4a, *sides, num_classes, narrow, auxiliary_dropout)
            self.auxiliary4d = AuxiliaryClassifier(made4d, *sides, num_classes, narrow, auxiliary_dropout)
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """Weights from N(0, 2/F) for F inputs, of the scores N(0, 0.01^2); biases 0. The paper does not say."""
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif name.endswith("output.weight"):
            near_zero(parameter, generator)
        else:
            he(parameter, generator)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """Images (b, *image) to class scores (b, k); while training the auxiliary ones (b, k) stand behind."""
        expect.images_of(images, self.input_shape, "Set model.image to the images' shape.")
        y = self.norm1(self.pool1(self.conv1(images).relu()))  # (b, 64, 56, 56)
        y = self.conv2(self.conv2_reduce(y).relu()).relu()  # (b, 192, 56, 56)
        y = self.pool2(self.norm2(y))  # (b, 192, 28, 28)
        y = self.pool3(self.inception3b(self.inception3a(y)))  # (b, 480, 14, 14)
        y4a = self.inception4a(y)  # (b, 512, 14, 14)
        y4d = self.inception4d(self.inception4c(self.inception4b(y4a)))  # (b, 528, 14, 14)
        y = self.pool4(self.inception4e(y4d))  # (b, 832, 7, 7)
        y = self.inception5b(self.inception5a(y))  # (b, 1024, 7, 7)
        scores = self.output(self.drop(y.mean((2, 3))))  # (b, k)
        if self.auxiliary4a is None or self.auxiliary4d is None or not self.training:
            return scores
        return scores, self.auxiliary4a(y4a), self.auxiliary4d(y4d)

    def maps(self, images: Tensor, poolings: int) -> Tensor:
        """Images to the maps behind so many poolings, before the next: behind four (b, 1024, 7, 7)."""
        y = self.conv1(images).relu()  # (b, 64, 112, 112)
        if poolings > 0:
            y = self.norm1(self.pool1(y))  # (b, 64, 56, 56)
            y = self.norm2(self.conv2(self.conv2_reduce(y).relu()).relu())  # (b, 192, 56, 56)
        for number, names in list(enumerate(STAGES, 2))[: max(0, poolings - 1)]:
            y = self.get_submodule(f"pool{number}")(y)
            for name in names:
                y = self.get_submodule(f"inception{name}")(y)
        return y

    def maps_behind(self, poolings: int) -> tuple[list[str], tuple[int, int, int]]:
        """The layers that `maps` calls, and the number of maps that it gives, their rows and columns."""
        names = ["conv1", "conv2_reduce", "conv2"][: 3 if poolings else 1]
        names += [f"inception{name}" for stage in STAGES[: max(0, poolings - 1)] for name in stage]
        last = self.get_submodule(names[-1])
        made = last.made if isinstance(last, Inception) else last.out_channels
        h, w = (_side(length, min(poolings, 4)) for length in self.input_shape[1:])
        return names, (int(made), h, w)  # type: ignore[arg-type]


def _auxiliary_sides(image: list[int]) -> tuple[int, int]:
    """Rows and columns that the auxiliary classifiers' pooling of 5 x 5 leaves."""
    sides = [(_side(length, 3) - 5) // 3 + 1 for length in image[1:]]
    if min(sides) < 1:
        raise ValueError(
            f"image is {list(image)}, too small for the auxiliary classifiers. Set rows and columns of at least 79, or "
            "auxiliary to false"
        )
    return sides[0], sides[1]


def _side(length: int, poolings: int) -> int:
    """A side of the maps behind the first convolution and so many poolings."""
    return -(-length // 2) // 2**poolings
