"""The ConvNet of Simard, Steinkraus and Platt: two convolutions with strides, two full layers, no pooling.

Simard, Steinkraus, Platt, "Best practices for convolutional neural networks applied to visual document analysis", ICDAR
(2003), section 5 and figure 3. 132,540 weights. Images are 29 x 29, so that both layers of 5 x 5 kernels come out even:
13 x 13 and 5 x 5 places. Trained with cross-entropy on digits that are distorted elastically (`data.augment: elastic`).

Departs from the paper: it does not name nonlinearity and first weights. Here they are the scaled tanh and
U(-2.4/F, 2.4/F) of the networks that it goes on from (LeCun et al., Proc. IEEE 86, 1998).
"""

# Shapes: b images, k classes.

import torch
from torch import Tensor, nn

from dltk.layers import expect
from dltk.layers.fan_in import uniform_by_fan_in
from dltk.layers.scaled_tanh import ScaledTanh


class SimardNet(nn.Module):
    """Figure 3: 5 maps of 13 x 13, 50 of 5 x 5, 100 units, and one for each class.

    Args:
        num_classes: number of classes.

    Raises:
        ValueError: a setting is impossible.
    """

    input_shape = (1, 29, 29)

    def __init__(self, *, num_classes: int = 10) -> None:
        super().__init__()
        expect.at_least("num_classes", num_classes, 2, "too few to tell apart")
        self.conv1 = nn.Conv2d(1, 5, 5, stride=2)
        self.conv2 = nn.Conv2d(5, 50, 5, stride=2)
        self.full = nn.Linear(50 * 5 * 5, 100)
        self.output = nn.Linear(100, num_classes)
        self.squash = ScaledTanh()
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """Weights and biases from U(-2.4/F, 2.4/F), F inputs to the unit."""
        uniform_by_fan_in(self, name, parameter, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, 1, 29, 29) to class scores (b, k)."""
        expect.images_of(images, self.input_shape, "Set data.image_size=29, one channel.")
        y = self.squash(self.conv1(images))  # (b, 5, 13, 13)
        y = self.squash(self.conv2(y))  # (b, 50, 5, 5)
        return self.output(self.squash(self.full(y.flatten(1))))
