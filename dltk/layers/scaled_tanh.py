"""The scaled hyperbolic tangent of the LeNets: f(a) = 1.7159 tanh(2a/3).

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 86 (1998),
equation 6 and appendix A. The two constants make f(1) = 1 and f(-1) = -1 (to 2e-5), with the greatest curvature there.
"""

import torch
from torch import Tensor, nn

AMPLITUDE = 1.7159
SLOPE = 2 / 3


class ScaledTanh(nn.Module):
    """1.7159 tanh(2a/3), element by element."""

    def forward(self, activations: Tensor) -> Tensor:
        """Activations of any shape to outputs of the same shape, between -1.7159 and 1.7159."""
        return AMPLITUDE * torch.tanh(SLOPE * activations)
