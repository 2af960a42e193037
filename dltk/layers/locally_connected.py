"""A layer of local windows as a convolution has, with weights of its own at each place.

LeCun, "Generalization and network design strategies", University of Toronto CRG-TR-89-4 (1989), and DeepFace's L4 to L6
(Taigman, Yang, Ranzato, Wolf, CVPR 2014, section 3). With the same weights at all places it is a convolution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Shapes: b images, c maps in, o maps out, k rows and columns of a window, h and w rows and columns of the output.


class LocallyConnected2d(nn.Module):
    """Windows of k x k of all maps, each place with its own weights and biases.

    Args:
        in_channels: maps that it reads.
        out_channels: maps that it gives.
        size: rows and columns of the maps that it reads.
        kernel_size: rows and columns of a window.
        stride: from one window to the next.

    Raises:
        ValueError: a window is larger than the maps.
    """

    def __init__(
        self, in_channels: int, out_channels: int, size: tuple[int, int], kernel_size: int, stride: int = 1
    ) -> None:
        super().__init__()
        self.size = tuple((side - kernel_size) // stride + 1 for side in size)  # of what it gives
        if min(size) < kernel_size:
            raise ValueError(f"windows of {kernel_size} x {kernel_size} do not fit into maps of {size[0]} x {size[1]}")
        self.kernel_size, self.stride = kernel_size, stride
        places = self.size[0] * self.size[1]
        self.weight = nn.Parameter(torch.empty(places, out_channels, in_channels * kernel_size**2))
        self.bias = nn.Parameter(torch.empty(places, out_channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (b, c, H, W) to maps (b, o, h, w)."""
        windows = F.unfold(maps, self.kernel_size, stride=self.stride)  # (b, c k k, h w)
        units = torch.baddbmm(self.bias[:, None], windows.permute(2, 0, 1), self.weight.mT)  # (h w, b, o)
        return units.permute(1, 2, 0).unflatten(2, self.size)
