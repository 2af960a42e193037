"""A convolution whose maps read only some of the maps before them, as a table says.

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 86 (1998),
section II.B, table I: layer C3 of LeNet-5. The same device stands in layer H3 of the network of 1990.
"""

# Shapes: b images, c maps read, o maps made, l links of the table, s the kernel's size, h rows, w columns.

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TableConv2d(nn.Module):
    """Convolution over the links of a table. Only links that exist are parameters.

    Args:
        in_maps: number of maps read.
        table: for each map made, the numbers (from 0) of the maps that it reads.
        kernel_size: rows and columns of each kernel.

    Raises:
        ValueError: the table names a map that does not exist, names one twice, or leaves a map without input.
    """

    outputs: Tensor
    inputs: Tensor
    links: Tensor

    def __init__(self, in_maps: int, table: Sequence[Sequence[int]], kernel_size: int) -> None:
        super().__init__()
        _check(in_maps, table)
        self.in_maps, self.out_maps = in_maps, len(table)
        pairs = torch.tensor([(o, c) for o, row in enumerate(table) for c in row])  # (l, 2)
        self.register_buffer("outputs", pairs[:, 0].contiguous(), persistent=False)  # (l,) map made by each link
        self.register_buffer("inputs", pairs[:, 1].contiguous(), persistent=False)  # (l,) map read by each link
        self.register_buffer("links", torch.tensor([float(len(row)) for row in table]), persistent=False)  # (o,)
        self.weight = nn.Parameter(torch.zeros(len(pairs), kernel_size, kernel_size))  # (l, s, s)
        self.bias = nn.Parameter(torch.zeros(self.out_maps))  # (o,)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (b, c, h, w) to maps (b, o, h-s+1, w-s+1)."""
        return F.conv2d(maps, self.kernels(), self.bias)

    def kernels(self) -> Tensor:
        """The kernels (o, c, s, s) of the ordinary convolution that does the same: zero where the table has no link."""
        empty = self.weight.new_zeros(self.out_maps, self.in_maps, *self.weight.shape[1:])  # (o, c, s, s)
        return empty.index_put((self.outputs, self.inputs), self.weight)

    def fan_in(self, kind: str) -> Tensor:
        """How many inputs the unit of each weight (l, 1, 1) or bias (o,) has."""
        inputs = self.links * self.weight[0].numel()  # (o,)
        return inputs if kind == "bias" else inputs[self.outputs, None, None]


def _check(in_maps: int, table: Sequence[Sequence[int]]) -> None:
    for number, row in enumerate(table):
        if not row or len(set(row)) != len(row):
            raise ValueError(f"table: map {number} reads {list(row)}. Name at least one map, and each once")
        if not all(0 <= c < in_maps for c in row):
            raise ValueError(f"table: map {number} reads {list(row)}. Use the numbers 0 to {in_maps - 1}")
