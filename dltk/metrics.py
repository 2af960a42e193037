"""Measures of single samples; the tasks sum them, so that any split over batches and processes gives the same number.

Only what torchmetrics lacks: its top-k breaks ties by the sort's order; here a tie between two classes goes to the
lower index, as in argmax, and a network that returns NaN is wrong about everything.
"""

import torch
from torch import Tensor


def target_rank(scores: Tensor, targets: Tensor) -> Tensor:
    """How many classes stand before the right one, for each sample.

    Args:
        scores: class scores (b, k), higher is better.
        targets: right classes (b,), int64.

    Returns:
        Ranks (b,), int64: 0 when the right class is the first choice. Equal scores go to the lower index. A sample
        whose scores hold a NaN gets rank k.
    """
    own = scores.gather(1, targets[:, None])  # (b, 1)
    order = torch.arange(scores.shape[1], device=scores.device)  # (k,)
    before = (scores > own) | ((scores == own) & (order < targets[:, None]))  # (b, k)
    return before.sum(1).masked_fill(scores.isnan().any(1), scores.shape[1])
