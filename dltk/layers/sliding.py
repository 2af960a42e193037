"""A network at every place of a larger image: its full layers as convolutions.

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 86 (1998),
section VII; Sermanet et al., "OverFeat", ICLR (2014), section 3.5; Simonyan, Zisserman, ICLR (2015), section 3.2.
Convolutions and pooling run over any image as they are. The first full layer reads maps of a fixed size, so it is a
convolution with kernels of that size; those after it have kernels of 1 x 1.
"""

# Shapes: b images, c maps, h and w rows and columns of the map, r and s those that the full layer reads, n units.

import torch.nn.functional as F
from torch import Tensor, nn


def slide(layer: nn.Linear, maps: Tensor, rows: int = 1, columns: int = 1) -> Tensor:
    """What a full layer gives at every place of a map.

    Args:
        layer: reads maps (c, r, s), flattened.
        maps: (b, c, h, w).
        rows: r, at most h.
        columns: s, at most w.

    Returns:
        (b, n, h-r+1, w-s+1).
    """
    return F.conv2d(maps, layer.weight.view(layer.out_features, -1, rows, columns), layer.bias)


def side(length: int, kernel: int, stride: int = 1, padding: int = 0) -> int:
    """How many places a window has along a side of a map; less than 1 where it does not fit."""
    return (length + 2 * padding - kernel) // stride + 1
