"""A time-delay neural network: convolutions along time tell phonemes apart wherever they begin.

Waibel, Hanazawa, Hinton, Shikano, Lang, "Phoneme recognition using time-delay neural networks", IEEE Trans. ASSP 37
(1989), section II.B and figure 2. 521 weights and 6,233 connections for /b, d, g/. Its inputs are 16 mel-scale
coefficients of 15 frames, 10 ms from one to the next. The first layer's 8 units see 3 frames, the second's, one for
each class, 5 of those; an output sums the squares of its class's unit over time, all with one weight.

Departs from the paper: the outputs' sums are scores for a cross-entropy, without the paper's sigmoid and squared error,
and first weights are from U(-2.4/F, 2.4/F).
"""

# Shapes: b utterances, k classes, f coefficients, t frames.

import torch
from torch import Tensor, nn

from dltk.layers import expect
from dltk.layers.fan_in import uniform_by_fan_in


class TimeDelayNet(nn.Module):
    """Figure 2's two layers of time-delay units, and one output for each class.

    Args:
        num_classes: number of classes.
        coefficients: numbers of a frame.
        frames: of an utterance.
        units: of the first layer.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(self, *, num_classes: int = 3, coefficients: int = 16, frames: int = 15, units: int = 8) -> None:
        super().__init__()
        expect.at_least("num_classes", num_classes, 2, "too few to tell apart")
        expect.at_least("coefficients", coefficients, 1, "nothing")
        expect.at_least("frames", frames, 7, "less than the second layer's units see of the input")
        expect.at_least("units", units, 1, "nothing")
        self.input_shape = (1, coefficients, frames)
        self.first = nn.Conv1d(coefficients, units, 3)
        self.second = nn.Conv1d(units, num_classes, 5)
        self.output = SumOfSquares(num_classes)
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """Weights and biases from U(-2.4/F, 2.4/F), F inputs to the unit; the outputs' weights 1, their biases 0."""
        if name.startswith("output"):
            nn.init.constant_(parameter, float(name.endswith("weight")))
        else:
            uniform_by_fan_in(self, name, parameter, generator)

    def forward(self, images: Tensor) -> Tensor:
        """Utterances (b, 1, f, t) to class scores (b, k)."""
        expect.images_of(images, self.input_shape, "Set model.coefficients and model.frames to theirs.")
        return self.output(self.evidence(images[:, 0]))

    def evidence(self, frames: Tensor) -> Tensor:
        """Frames (b, f, t) to how each class's unit sees each stretch of seven (b, k, t - 6), from 0 to 1."""
        return torch.sigmoid(self.second(torch.sigmoid(self.first(frames))))


class SumOfSquares(nn.Module):
    """Each class's evidence squared and summed over time, times a weight of its own, plus a bias."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes))
        self.bias = nn.Parameter(torch.empty(num_classes))

    def forward(self, evidence: Tensor) -> Tensor:
        """Evidence (b, k, t) to scores (b, k)."""
        return self.weight * evidence.square().sum(2) + self.bias
