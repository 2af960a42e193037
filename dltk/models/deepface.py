"""DeepFace: a convolutional front, then layers whose windows have weights of their own at each place of the face.

Taigman, Yang, Ranzato, Wolf, "DeepFace: closing the gap to human-level performance in face verification", CVPR (2014),
section 3 and figure 2. Images are 152 x 152, of faces that were turned to the front, so that each place shows the same
part of a face. Layers as printed, with 4,030 people, have 118,923,774 weights, nearly all in the local and full ones;
the paper says "more than 120 million", and 95 % of them there.

Departs from the paper: faces are not aligned here (`dltk.data.frontal` does that). That C1's 142 x 142 places are
pooled to 71 x 71 is read as a last window that reaches over the edge.
"""

# Shapes: b images, k classes, c channels.

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.layers import expect
from dltk.layers.first_weights import normal
from dltk.layers.locally_connected import LocallyConnected2d

KERNELS = [11, 9, 9, 7, 5]  # of C1, C3, L4, L5, L6
MAPS, HIDDEN = (32, 16, 16, 16, 16), 4096


class DeepFace(nn.Module):
    """Two convolutions, three locally connected layers, two full ones.

    Args:
        num_classes: number of people.
        image: channels, rows and columns.
        kernels: rows and columns of the windows of C1, C3, L4, L5 and L6; smaller ones let smaller images through.
        narrow: what the widths of all layers but the last are divided by.
        dropout: probability of dropping a unit of F7; the paper drops some of that layer only.
        first_weights: N(0, 0.01^2) and biases of 0.5, as in the paper (`normal`); or N(0, 2/F) for units with F inputs,
            N(0, 0.01^2) for class scores, and biases of 0 (`he`).

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        num_classes: int = 4030,
        image: list[int] = [3, 152, 152],  # noqa: B006 - read only; the signature is the schema
        kernels: list[int] = KERNELS,
        narrow: int = 1,
        dropout: float = 0.5,
        first_weights: Literal["normal", "he"] = "normal",
    ) -> None:
        super().__init__()
        expect.at_least("num_classes", num_classes, 2, "too few to tell apart")
        expect.at_least("narrow", narrow, 1, "what widths are divided by")
        expect.probability("dropout", dropout)
        self.input_shape = expect.image_shape(image)
        if len(kernels) != 5 or min(kernels) < 1:
            raise ValueError(f"kernels is {kernels}, not one for each of C1, C3, L4, L5, L6. Set five of at least 1")
        self.first_weights = first_weights
        c1, c3, *local = (max(1, maps // narrow) for maps in MAPS)
        pooled = tuple(-(-(side - kernels[0] + 1 - 3) // 2) + 1 for side in image[1:])  # M2, its last window cut off
        size: tuple[int, ...] = tuple(side - kernels[1] + 1 for side in pooled)
        if min(size) < 1:
            what = f"image is {list(image)}, and nothing is left of it behind C3"
            raise ValueError(f"{what}. Set smaller kernels, or a larger image")
        self.c1 = nn.Conv2d(image[0], c1, kernels[0])
        self.c3 = nn.Conv2d(c1, c3, kernels[1])
        before = c3
        for number, (maps, kernel, stride) in enumerate(zip(local, kernels[2:], (1, 2, 1), strict=True), 4):
            try:
                layer = LocallyConnected2d(before, maps, (size[0], size[1]), kernel, stride)
            except ValueError as error:
                raise ValueError(f"image is {list(image)}, and in L{number} {error}. Set smaller kernels") from None
            self.add_module(f"l{number}", layer)
            before, size = maps, layer.size
        hidden = max(1, HIDDEN // narrow)
        self.f7 = nn.Linear(before * size[0] * size[1], hidden)
        self.f8 = nn.Linear(hidden, num_classes)
        self.drop = nn.Dropout(dropout)
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """Weights and biases as `first_weights` says; section 3.2 for the paper's."""
        as_published = self.first_weights == "normal"
        if name.endswith("bias"):
            nn.init.constant_(parameter, 0.5 if as_published else 0.0)
        elif as_published or name == "f8.weight":
            normal(parameter, 0.01, generator)
        else:
            local = isinstance(self.get_submodule(name.rpartition(".")[0]), LocallyConnected2d)
            inputs = (parameter[0, 0] if local else parameter[0]).numel()
            normal(parameter, (2 / inputs) ** 0.5, generator)

    def tensor_plan(self) -> dict[str, str]:
        """Layers that several devices may share, and whether a device reads all units of the one before, or its own."""
        return dict.fromkeys(("f7", "f8"), "all")

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, c, 152, 152) to class scores (b, k)."""
        return self.f8(self.drop(self.features(images)))

    def features(self, images: Tensor) -> Tensor:
        """Images (b, c, 152, 152) to what stands for a face, F7's units (b, 4096), none below zero.

        For comparing faces the paper divides each by its largest value over the training set, and the vector by its
        length (section 3.3).
        """
        expect.images_of(images, self.input_shape, "Set model.image to the images' shape.")
        y = F.relu(self.c1(images))  # (b, 32, 142, 142)
        y = F.max_pool2d(y, 3, 2, ceil_mode=True)  # M2 (b, 32, 71, 71)
        y = F.relu(self.c3(y))  # (b, 16, 63, 63)
        for name in ("l4", "l5", "l6"):
            y = F.relu(self.get_submodule(name)(y))  # (b, 16, 55, 55), (b, 16, 25, 25), (b, 16, 21, 21)
        return F.relu(self.f7(y.flatten(1)))
