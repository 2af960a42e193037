"""torch's LSTM, all of whose steps are one operation, on every CPU."""

# Shapes: b sequences, t steps, x numbers read at each, l layers, n cells.

from typing import Any

import torch
from torch import Tensor, nn


class FusedLSTM(nn.LSTM):
    """`nn.LSTM`, which under bf16 autocast computes in 32 bits where the CPU has no instructions for 16.

    torch hands such sequences to oneDNN, which then ends the program: it could not create a primitive descriptor.
    """

    def forward(self, input: Any, hx: tuple[Tensor, Tensor] | None = None) -> Any:
        """Sequences (b, t, x), or packed, and a state (l, b, n) twice, to what is written (b, t, n), and the state."""
        if not torch.is_autocast_enabled("cpu") or input.data.device.type != "cpu" or computes_in_16_bits():
            return super().forward(input, hx)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float(), None if hx is None else (hx[0].float(), hx[1].float()))


def computes_in_16_bits() -> bool:
    """Whether oneDNN, where torch has it, can compute in bf16 on this machine's CPU."""
    return not torch.backends.mkldnn.is_available() or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
