"""Trained subsampling: each map is shrunk by 2 with one weight and one bias of its own.

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 86 (1998),
section II.B, layers S2 and S4. The squashing function that follows is a layer of its own.
"""

# Shapes: b images, c maps, h rows, w columns.

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Subsampling(nn.Module):
    """The sum (or the average) of each 2 x 2 block, times the map's weight, plus the map's bias.

    Args:
        maps: number of maps.
        average: take the average, as the network of 1990 does, instead of the sum; the weight then means four times as
            much.
    """

    def __init__(self, maps: int, *, average: bool = False) -> None:
        super().__init__()
        self.average = average
        self.weight = nn.Parameter(torch.ones(maps))
        self.bias = nn.Parameter(torch.zeros(maps))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (b, c, h, w), h and w even, to maps (b, c, h/2, w/2)."""
        assert not any(size % 2 for size in maps.shape[-2:]), f"maps of {tuple(maps.shape[-2:])} cannot be halved"
        blocks = F.avg_pool2d(maps, 2, divisor_override=4 if self.average else 1)  # (b, c, h/2, w/2)
        return blocks * self.weight[:, None, None] + self.bias[:, None, None]

    def fan_in(self, kind: str) -> float:
        """How many inputs a unit has, in the measure of its weight: an averaging weight is spread over the four."""
        return 1.0 if kind == "weight" and self.average else 4.0
