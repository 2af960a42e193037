"""Linear classifier: one weighted sum of the pixels for each class.

Duda, Hart, "Pattern classification and scene analysis", Wiley (1973), chapter 5, linear discriminant functions; the
article's section "Supervised learning" names it as what most systems put on top of hand-made features.

Departs from the book: trained by gradient descent on softmax scores (or squared error) instead of the perceptron rule.
"""

# Shapes: b images, c channels, h rows, w columns, k classes.

import torch
from torch import Tensor, nn

from dltk.layers import expect


class Linear(nn.Module):
    """One linear layer on the pixels: d + 1 parameters for each class, d = c h w.

    Args:
        num_classes: number of classes.
        image: channels, rows and columns of an image.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(self, *, num_classes: int, image: list[int] = [1, 28, 28]) -> None:  # noqa: B006 - read only
        super().__init__()
        expect.at_least("num_classes", num_classes, 2, "too few to tell apart")
        self.input_shape = expect.image_shape(image)
        c, h, w = self.input_shape
        self.output = nn.Linear(c * h * w, num_classes)
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """Zero: the loss is convex, so there is no symmetry to break."""
        nn.init.zeros_(parameter)

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, c, h, w) to class scores (b, k)."""
        expect.images_of(images, self.input_shape, "Set model.image to the images' shape.")
        return self.output(images.flatten(1))  # output (b, k)
