"""LeNet-5: two convolutions, two trained subsamplings, three full layers.

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 86 (1998),
section II.B, figure 2 and table I. 60,000 trained parameters and 340,908 connections with the paper's output
(`output: rbf`); replication over wider images is section VII.

Images are 32 x 32, digits of 28 x 28 with a border of 2. The paper scales pixels to -0.1 (background) and 1.175 (ink):
`task: {mean: [0.0784314], std: [0.7843137]}`.

Departs from the paper: by default the output layer is linear and trained (`output: softmax`, 85 parameters more for
each class), for a cross-entropy; the fixed pictures of the digits that the paper compares with (`output: rbf`) are
redrawn; its scores are minus the squared distances, so that the greatest score wins with either output.
"""

# Shapes: b images, k classes, h and w rows and columns of the map of outputs (1 and 1 for images of 32 x 32).

from typing import Literal

import torch
from torch import Tensor, nn

from dltk.layers import expect
from dltk.layers.fan_in import uniform_by_fan_in, unit_variance
from dltk.layers.rbf_output import RBFOutput, digit_codes
from dltk.layers.scaled_tanh import ScaledTanh
from dltk.layers.subsampling import Subsampling
from dltk.layers.table_conv import TableConv2d

# Table I: which of S2's maps each of C3's sixteen reads.
C3_TABLE = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)


class LeNet5(nn.Module):
    """The network of figure 2; every layer up to F6 is squashed by 1.7159 tanh(2a/3).

    Args:
        num_classes: number of classes.
        output: a trained linear layer (`softmax`), or the paper's fixed pictures of the ten digits (`rbf`).
        first_weights: U(-2.4/F, 2.4/F) for units with F inputs, as in the paper (`fan_in`); or variance 1/F, as its
            authors advise in "Efficient backprop" of the same year (`unit_variance`), with which plain gradient descent
            starts at once instead of after hundreds of steps.

    Raises:
        ValueError: a setting is impossible.
    """

    input_shape = (1, 32, 32)

    def __init__(
        self,
        *,
        num_classes: int = 10,
        output: Literal["softmax", "rbf"] = "softmax",
        first_weights: Literal["fan_in", "unit_variance"] = "fan_in",
    ) -> None:
        super().__init__()
        expect.at_least("num_classes", num_classes, 2, "too few to tell apart")
        if output == "rbf" and num_classes != 10:
            raise ValueError(f"num_classes is {num_classes}, but output=rbf has ten digits. Set output=softmax")
        self.c1 = nn.Conv2d(1, 6, 5)
        self.s2 = Subsampling(6)
        self.c3 = TableConv2d(6, C3_TABLE, 5)
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.output = RBFOutput(digit_codes()) if output == "rbf" else nn.Linear(84, num_classes)
        self.squash = ScaledTanh()
        self.draw = uniform_by_fan_in if first_weights == "fan_in" else unit_variance
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """As `first_weights` says; appendix A for the paper's."""
        self.draw(self, name, parameter, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, 1, 32, 32) to class scores (b, k)."""
        expect.images_of(images, self.input_shape, "Set data.image_size=32, one channel; see also LeNet5.replicate.")
        return self._slide(images)[:, 0, 0]

    def replicate(self, images: Tensor) -> Tensor:
        """Images (b, 1, 28 + 4h, 28 + 4w) to class scores (b, k, h, w): the network at every fourth place.

        Raises:
            ValueError: the images are smaller than 32 x 32, or do not grow from it by fours.
        """
        rows, columns = images.shape[-2:]
        if min(rows, columns) < 32 or rows % 4 or columns % 4:
            raise ValueError(f"images are {rows} x {columns}. Pad rows and columns to multiples of 4, at least 32")
        return self._slide(images).movedim(-1, 1)

    def _slide(self, images: Tensor) -> Tensor:
        y = self.squash(self.c1(images))  # C1 (b, 6, 28, 28)
        y = self.squash(self.s2(y))  # S2 (b, 6, 14, 14)
        y = self.squash(self.c3(y))  # C3 (b, 16, 10, 10)
        y = self.squash(self.s4(y))  # S4 (b, 16, 5, 5)
        y = self.squash(self.c5(y))  # C5 (b, 120, h, w)
        y = self.squash(self.f6(y.movedim(1, -1)))  # F6 (b, h, w, 84)
        y = self.output(y)  # output (b, h, w, k)
        return -y if isinstance(self.output, RBFOutput) else y
