"""A column of the multi-column network for traffic signs; a committee is several, each with its own preprocessing.

Ciresan, Meier, Masci, Schmidhuber, "Multi-column deep neural network for traffic sign classification", Neural Networks
32 (2012), section 2 and table 1. Images of 48 x 48 go through three layers of convolutions, each with a pooling of
maxima over 2 x 2, and two full layers: 1,543,443 weights. 25 columns, five seeds for each of the five preprocessings,
are trained by themselves, and the means of their probabilities decide: `dltk evaluate RUN RUN …`.

Departs from the paper: images are preprocessed here behind the random changes of training, as the first layer of a
column, so that whatever a column is shown is prepared in its way. First weights are U(-0.05, 0.05) in the widths of the
paper only; narrower columns draw them with variance 1/F for units with F inputs, and their biases begin at zero.
"""

# Shapes: b images, k classes.

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.layers import expect
from dltk.layers.contrast import Contrast, Preprocessing
from dltk.layers.fan_in import unit_variance
from dltk.layers.scaled_tanh import ScaledTanh

MAPS, HIDDEN = (100, 150, 250), 300  # table 1


class Column(nn.Module):
    """Table 1's layers: 7 x 7, 4 x 4 and 4 x 4 windows, 300 units, and one for each class.

    It reads pixels from 0 to 1, as a task gives them whose mean is 0 and whose std is 1.

    Args:
        num_classes: number of classes.
        preprocessing: how images are prepared; see dltk.layers.contrast.
        narrow: what the widths of all layers but the last are divided by.

    Raises:
        ValueError: a setting is impossible.
    """

    input_shape = (3, 48, 48)

    def __init__(self, *, num_classes: int = 43, preprocessing: Preprocessing = "raw", narrow: int = 1) -> None:
        super().__init__()
        expect.at_least("num_classes", num_classes, 2, "too few to tell apart")
        expect.at_least("narrow", narrow, 1, "what widths are divided by")
        self.as_published = narrow == 1
        one, two, three, hidden = (max(1, width // narrow) for width in (*MAPS, HIDDEN))
        self.contrast = Contrast(preprocessing)
        self.conv1 = nn.Conv2d(3, one, 7)
        self.conv2 = nn.Conv2d(one, two, 4)
        self.conv3 = nn.Conv2d(two, three, 4)
        self.full = nn.Linear(three * 3 * 3, hidden)
        self.output = nn.Linear(hidden, num_classes)
        self.squash = ScaledTanh()
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """Weights and biases from U(-0.05, 0.05); in a narrower column variance 1/F, biases 0."""
        if self.as_published:
            nn.init.uniform_(parameter, -0.05, 0.05, generator=generator)
        else:
            unit_variance(self, name, parameter, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, 3, 48, 48), pixels from 0 to 1, to class scores (b, k)."""
        expect.images_of(images, self.input_shape, "Set data.image_size=48, three channels.")
        y = self.contrast(images)
        if self.contrast.preprocessing != "conorm":
            y = 2 * y - 1  # from -1 to 1, as differences are
        y = F.max_pool2d(self.squash(self.conv1(y)), 2)  # (b, 100, 42, 42), then 21 x 21
        y = F.max_pool2d(self.squash(self.conv2(y)), 2)  # (b, 150, 18, 18), then 9 x 9
        y = F.max_pool2d(self.squash(self.conv3(y)), 2)  # (b, 250, 6, 6), then 3 x 3
        return self.output(self.squash(self.full(y.flatten(1))))
