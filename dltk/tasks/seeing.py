"""Tasks whose network reads images: bytes to the numbers that it is given."""

import torch
from torch import Tensor

from dltk.tasks.task import Task


class Seeing(Task):
    """Brings bytes to a mean and a scale on the device; a subclass calls `see` when it is made."""

    scale: Tensor  # (c or 1, 1, 1)
    shift: Tensor

    def see(self, mean: list[float], std: list[float]) -> None:
        """Set what is subtracted from pixels, which run from 0 to 1, and what they are divided by.

        Raises:
            ValueError: a scale is none.
        """
        if min(std) <= 0:
            raise ValueError(f"std is {list(std)}, a scale. Set numbers above 0")
        # (x / 255 - mean) / std as one multiplication and one addition, on the device.
        scale = 1 / (255 * torch.tensor(std)).view(-1, 1, 1)  # (c or 1, 1, 1)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", -torch.tensor(mean).view(-1, 1, 1) / torch.tensor(std).view(-1, 1, 1), False)

    def pixels(self, images: Tensor, colour: Tensor | None = None) -> Tensor:
        """Images (b, c, h, w), bytes, to what the network reads (b, c, h, w); `colour` (b, c) is added to the bytes."""
        # Data sets give them as they lie; sorted while they are bytes, a quarter of what they become.
        layout = torch.channels_last if self.procedure.channels_last else torch.contiguous_format
        images = images.contiguous(memory_format=layout)
        pixels = torch.addcmul(self.shift, images.to(self.scale.dtype), self.scale)
        if colour is not None:
            pixels = torch.addcmul(pixels, colour[:, :, None, None].to(pixels.dtype), self.scale)
        return pixels
