"""A softmax whose words lie on several devices: each has some rows of the output's matrix, and scores no others.

As the softmax over 80,000 words of Sutskever, Vinyals, Le, "Sequence to sequence learning with neural networks", NIPS
(2014), section 3.5, is spread over four GPUs. The scores are never gathered: what devices tell each other of a readout
are its largest score, the sum of the exponentials, and the right word's score, of whichever has it. With p =
softmax(s), dL/ds_k = p_k - (1 - e) [k is right] - e / v for targets that are smoothed by e.
"""

# Shapes: n a device's own readouts, N those of all devices of the group, m numbers of a readout, v words, u a device's.

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from dltk.layers.exchange import Group, gather_samples, sample_counts


def losses(
    output: nn.Linear, readout: Tensor, right: Tensor, group: Group, smoothing: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Readouts (n, m) and the right words (n,) to what becomes of them over all words.

    Args:
        output: this device's rows of the matrix (u, m) and of the biases.
        readout: of this device's samples.
        right: numbers of words among all v.
        group: the devices that have the others; all must call it, one with no readout too.
        smoothing: share of the target that is spread over all words.

    Returns:
        Losses (n,), those without smoothing, without a gradient (n,), and whether another word scores higher (n,).
    """
    counts = sample_counts(readout, group)
    scores = output(gather_samples(readout, counts, group)).float()  # (N, u)
    place = gather_samples(right, counts, group) - group.rank * scores.shape[1]  # (N,), of the right word among the u
    smoothed, plain, wrong = _Loss.apply(scores, place, counts, group, smoothing)
    return smoothed, plain, wrong


class _Loss(Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, place: Tensor, counts: list[int], group: Group, smoothing: float) -> Any:
        rows, u = torch.arange(len(scores), device=scores.device), scores.shape[1]
        here = (place >= 0) & (place < u)  # (N,)
        at = place.clamp(0, u - 1)
        own_most, own_best = scores.max(1)  # (N,)
        most = own_most.clone()
        dist.all_reduce(most, dist.ReduceOp.MAX, group=group.processes)
        # The first of the words that score most, as argmax would have it.
        best = torch.where(own_most == most, own_best + group.rank * u, group.size * u)
        dist.all_reduce(best, dist.ReduceOp.MIN, group=group.processes)
        shifted = scores - most[:, None]
        sums = torch.stack([shifted.sum(1), shifted[rows, at] * here, shifted.exp_().sum(1)])  # (3, N); exp comes last
        dist.all_reduce(sums, group=group.processes)
        everything, target, total = sums
        plain = total.log() - target
        loss = plain
        if smoothing:
            mean = total.log() - everything / (group.size * u)
            loss = (1 - smoothing) * plain + smoothing * mean
        ctx.save_for_backward(shifted.div_(total[:, None]), rows[here], at[here])
        ctx.counts, ctx.group, ctx.smoothing = counts, group, smoothing
        own = (part.split(counts)[group.rank].clone() for part in (loss, plain, best != place + group.rank * u))
        loss, plain, wrong = own
        ctx.mark_non_differentiable(plain, wrong)
        return loss, plain, wrong

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Each device knows what its own readouts' losses weigh, and needs it of all."""
        p, rows, at = ctx.saved_tensors
        weight = gather_samples(gradients[0], ctx.counts, ctx.group)  # (N,)
        gradient = p.clone() if not ctx.smoothing else p - ctx.smoothing / (ctx.group.size * p.shape[1])
        gradient[rows, at] -= 1 - ctx.smoothing
        return gradient.mul_(weight[:, None]), None, None, None, None
