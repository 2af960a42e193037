"""C3D: convolutions of 3 x 3 x 3 over frames, rows and columns of a video.

Tran, Bourdev, Fergus, Torresani, Paluri, "Learning spatiotemporal features with 3D convolutional networks", ICCV
(2015), section 3.3 and figure 3. Eight convolutions, five poolings of maxima, two full layers of 4,096 units:
79,991,015 weights with the 487 classes of Sports-1M. Clips are 16 frames of 112 x 112. The first pooling leaves the
frames alone, the others halve them too; a last window that reaches over the edge is kept, as 7 x 7 places become 4 x 4.

Departs from the paper: it does not give the first weights; here N(0, 2/F) for units with F inputs, and biases of 0.
A clip comes as one image with the channels of all frames one behind the other, so that all that holds for images (data,
random changes, reports) holds for clips.
"""

# Shapes: b clips, t frames, c channels of a frame, h rows, w columns, k classes.

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.layers import expect
from dltk.layers.first_weights import he, near_zero

STAGES, HIDDEN = ((64,), (128,), (256, 256), (512, 512), (512, 512)), 4096  # maps between poolings, units


class C3D(nn.Module):
    """Figure 3's layers.

    Args:
        num_classes: number of classes.
        frames: of a clip; with one it is a network of pictures.
        image: channels, rows and columns of a frame.
        narrow: what the widths of all layers but the last are divided by.
        dropout: probability of dropping a unit of the full layers.

    Raises:
        ValueError: a setting is impossible.
    """

    def __init__(
        self,
        *,
        num_classes: int = 487,
        frames: int = 16,
        image: list[int] = [3, 112, 112],  # noqa: B006 - read only; the signature is the schema
        narrow: int = 1,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        expect.at_least("num_classes", num_classes, 2, "too few to tell apart")
        expect.at_least("frames", frames, 1, "nothing to see")
        expect.at_least("narrow", narrow, 1, "what widths are divided by")
        expect.probability("dropout", dropout)
        channels, rows, columns = expect.image_shape(image)
        self.frames = frames
        self.input_shape = (frames * channels, rows, columns)
        before, size = channels, (frames, rows, columns)
        for stage, widths in enumerate(STAGES, 1):
            for letter, width in zip("ab", widths, strict=False):
                maps = max(1, width // narrow)
                name = f"conv{stage}{letter}"
                self.add_module(name, nn.Conv3d(before, maps, 3, padding=1))
                before = maps
            size = (-(-size[0] // _stride(stage)[0]), -(-size[1] // 2), -(-size[2] // 2))
        hidden = max(1, HIDDEN // narrow)
        self.fc6 = nn.Linear(before * size[0] * size[1] * size[2], hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = nn.Linear(hidden, num_classes)
        self.drop = nn.Dropout(dropout)
        for name, parameter in self.named_parameters():
            self.initialise(name, parameter, None)

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """Weights from N(0, 2/F), those of the scores from N(0, 0.01^2), biases 0."""
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            (near_zero if name.startswith("fc8") else he)(parameter, generator)

    def forward(self, clips: Tensor) -> Tensor:
        """Clips (b, t c, h, w), the frames one behind the other, to class scores (b, k)."""
        expect.images_of(clips, self.input_shape, "Set model.image and model.frames to the clips' shape.")
        y = clips.unflatten(1, (self.frames, -1)).transpose(1, 2)  # (b, c, t, h, w)
        for stage, widths in enumerate(STAGES, 1):  # (b, 64, 16, 112, 112) … (b, 512, 2, 7, 7)
            for letter in "ab"[: len(widths)]:
                y = F.relu(self.get_submodule(f"conv{stage}{letter}")(y))
            y = F.max_pool3d(y, _stride(stage), ceil_mode=True)  # (b, 64, 16, 56, 56) … (b, 512, 1, 4, 4)
        y = self.drop(F.relu(self.fc6(y.flatten(1))))
        return self.fc8(self.drop(F.relu(self.fc7(y))))


def _stride(stage: int) -> tuple[int, int, int]:
    """Frames, rows and columns of a pooling's windows."""
    return (1 if stage == 1 else 2, 2, 2)
