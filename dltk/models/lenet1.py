"""LeNet-1: the zip-code network of 1990, with 2,578 weights.

LeCun, Boser, Denker, Henderson, Howard, Hubbard, Jackel, "Handwritten digit recognition with a back-propagation
network", NIPS 2 (1990), section 4, figure 3 and table 1. 4,635 units, 98,442 connections.

Images are the paper's 28 x 28 plane: a digit of 16 x 16 in its middle, background all around. Of the data,
`image_size: 28` gives that; the border keeps strokes at the digit's edge within reach of every feature.

Departs from the paper: first weights are drawn from U(-2.4/F, 2.4/F), as its authors describe it elsewhere.
Trained as in the paper with `task: {loss: squared_error, target_on: 1, target_off: -1}`; the optimiser is the recipe's.
"""

# Shapes: b images, k classes.

import torch
from torch import Tensor, nn

from dltk.layers import expect
from dltk.layers.fan_in import uniform_by_fan_in
from dltk.layers.scaled_tanh import ScaledTanh
from dltk.layers.subsampling import Subsampling
from dltk.layers.table_conv import TableConv2d

# Table 1: which of H2's maps each of H3's twelve reads. Two halves that share nothing.
H3_TABLE = ((0,), (0, 1), (0, 1), (1,), (0, 1), (0, 1), (2,), (2, 3), (2, 3), (3,), (2, 3), (2, 3))


class LeNet1(nn.Module):
    """Two convolutions and two averagings, all squashed, then one full layer.

    Args:
        num_classes: number of classes.

    Raises:
        ValueError: a setting is impossible.
    """

    input_shape = (1, 28, 28)

    def __init__(self, *, num_classes: int = 10) -> None:
        super().__init__()
        expect.at_least("num_classes", num_classes, 2, "too few to tell apart")
        self.h1 = nn.Conv2d(1, 4, 5)
        self.h2 = Subsampling(4, average=True)
        self.h3 = TableConv2d(4, H3_TABLE, 5)
        self.h4 = Subsampling(12, average=True)
        self.output = nn.Linear(12 * 4 * 4, num_classes)
        self.squash = ScaledTanh()
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """Weights and biases from U(-2.4/F, 2.4/F), F inputs to the unit."""
        uniform_by_fan_in(self, name, parameter, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, 1, 28, 28) to class scores (b, k) between -1.7159 and 1.7159."""
        expect.images_of(images, self.input_shape, "Set data.image_size=28, one channel.")
        y = self.squash(self.h1(images))  # H1 (b, 4, 24, 24)
        y = self.squash(self.h2(y))  # H2 (b, 4, 12, 12)
        y = self.squash(self.h3(y))  # H3 (b, 12, 8, 8)
        y = self.squash(self.h4(y))  # H4 (b, 12, 4, 4)
        return self.squash(self.output(y.flatten(1)))  # output (b, k)
