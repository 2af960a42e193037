"""How a network learns where to look: terms of the loss beside the words' own.

Xu et al., "Show, attend and tell", ICML (2015): sections 4.1 (hard attention, equations 9 to 12) and 4.2.1 (soft
attention that sees all of a picture).
"""

# Shapes: b captions, t words, l locations of the picture.

import torch
import torch.nn.functional as F
from torch import Tensor


def unseen(weights: Tensor, real: Tensor) -> Tensor:
    """How far each location is from being looked at once, over all words: sum over i of (1 - sum over t alpha_ti)^2.

    Equation 14, without its factor. It is 0 for even weights and as many words as locations.

    Args:
        weights: alpha (b, t, l).
        real: which words are no padding (b, t).
    """
    return (1 - (weights * real[:, :, None]).sum(1)).square().sum(1)  # (b,)


def drawn(weights: Tensor, levels: Tensor) -> Tensor:
    """One location of each caption.

    Args:
        weights: alpha (b, l).
        levels: numbers from [0, 1) (b,), float64; a location is drawn where the sum of the weights reaches it.

    Returns:
        1 there, 0 elsewhere (b, l).
    """
    sums = weights.detach().double().cumsum(1)  # (b, l)
    places = torch.searchsorted(sums, levels[:, None] * sums[:, -1:], right=True).squeeze(1)  # (b,)
    return F.one_hot(places.clamp(max=weights.shape[1] - 1), weights.shape[1]).to(weights.dtype)


def reinforced(weights: Tensor, seen: Tensor, real: Tensor, reward: Tensor) -> Tensor:
    """What is added to the loss of captions whose locations were drawn, so that its gradient is right in the mean.

    The gradient of the loss by the weights is that of log p(y | s) and (log p(y | s) - b) times that of log p(s)
    (equation 11); of the second this is the negative.

    Args:
        weights: alpha (b, t, l).
        seen: the locations drawn, 1 there and 0 elsewhere (b, t, l).
        real: which words are no padding (b, t).
        reward: log p(y | s) - b (b,), through which no gradient flows.
    """
    chosen = (weights * seen).sum(2).clamp(min=torch.finfo(weights.dtype).tiny).log()  # (b, t)
    return -reward.detach() * (chosen * real).sum(1)  # (b,)


def entropy(weights: Tensor, real: Tensor) -> Tensor:
    """The entropy of the weights, summed over a caption's words (b,); equation 11's H[s]."""
    return (-torch.xlogy(weights, weights).sum(2) * real).sum(1)
