"""Sums over all ways in which labels may be laid along frames, in logarithms.

`ctc_alignment`: Graves, Fernández, Gomez, Schmidhuber, "Connectionist temporal classification", ICML (2006), section
4.1. Between and around the labels of a target stand blanks; a frame keeps its place or goes on to the next, over a
blank too where the labels beside it differ. (Its loss is torch's.)

`transducer_losses`, `transducer_alignment`: Graves, "Sequence transduction with recurrent neural networks", arXiv
1211.3711 (2012), equations 16 to 18. At each frame any number of labels is written, and then a blank, which goes on to
the next frame.
"""

# Shapes: b utterances, t frames, u labels of a target, s = 2u + 1 places of labels and blanks, k labels.

import torch
import torch.nn.functional as F
from torch import Tensor

BLANK = 0  # and what stands behind a target's end


def ctc_needs(target: Tensor) -> Tensor:
    """Targets (b, u) to the frames that each needs at least (b,): one a label, and a blank between equal ones."""
    repeated = (target[:, 1:] == target[:, :-1]) & (target[:, 1:] != BLANK)
    return (target != BLANK).sum(1) + repeated.sum(1)


def ctc_losses(logs: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
    """Log-probabilities (b, t, k + 1) of frames to -log P of the targets (b,); 0 where no way leads through the frames.

    Args:
        logs: of blank and labels.
        lengths: frames that are real (b,), 1 at least.
        target: labels (b, u), blanks behind the shorter ones.
    """
    # torch has no deterministic gradient of it for CUDA and raises, where only such are allowed: the CPU's is one.
    where = "cpu" if torch.are_deterministic_algorithms_enabled() else logs.device
    on, target, lengths = logs.transpose(0, 1).to(where), target.to(where), lengths.to(where)
    losses = F.ctc_loss(on, target, lengths, (target != BLANK).sum(1), BLANK, reduction="none", zero_infinity=True)
    return losses.to(logs.device)


def ctc_alignment(logs: Tensor, target: Tensor) -> Tensor:
    """Log-probabilities (t, k + 1) and a target (u,) to how likely each frame is at each place (t, s).

    Each frame's sum to 1; where no way leads through the frames, they are not numbers.
    """
    places = target.new_full((2 * len(target) + 1,), BLANK)
    places[1::2] = target
    over = torch.zeros_like(places, dtype=torch.bool)  # whether the blank before a place may be left out (s,)
    over[3::2] = target[1:] != target[:-1]
    each = logs[:, places].double()  # (t, s)
    before = _reached(each, over)
    # The same from the end, where what may be left out is the blank behind.
    behind = _reached(each.flip(0, 1), torch.cat([over[2:], over[:2]]).flip(0)).flip(0, 1)
    return torch.softmax(before + behind - each, dim=1)


def _reached(each: Tensor, over: Tensor) -> Tensor:
    """The log-probability of all beginnings that end at each frame and place (t, s), from those of frames (t, s)."""
    never = each.new_tensor(-torch.inf)
    first = torch.full_like(each[0], -torch.inf)
    first[:2] = each[0, :2]
    found = [first]
    for row in each[1:]:
        last = found[-1]
        one = torch.cat([never[None], last[:-1]])
        two = torch.where(over, torch.cat([never.expand(min(2, len(last))), last[:-2]]), never)
        found.append(torch.logsumexp(torch.stack([last, one, two]), 0) + row)
    return torch.stack(found)


def transducer_losses(scores: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
    """Scores (b, t, u + 1, k + 1) of what follows so many labels at a frame to -log P of the targets (b,).

    Args:
        scores: of the blank, 0, and of labels.
        lengths: frames that are real (b,), 1 at least.
        target: labels (b, u), blanks behind the shorter ones.
    """
    on, write = _moves(scores.float() if scores.dtype != torch.float64 else scores, target)
    return _losses(on, write, lengths, (target != BLANK).sum(1))


def transducer_alignment(scores: Tensor, target: Tensor) -> Tensor:
    """Scores (t, u + 1, k + 1) and a target (u,) to how likely each label is written at each frame (t, u).

    Each label's sum to 1. They are the derivatives of log P by the logarithms of what is written, for P sums products
    of these over all ways.
    """
    on, write = (one.detach() for one in _moves(scores[None].double(), target[None]))
    with torch.enable_grad():
        write.requires_grad_(True)
        ends = torch.tensor([len(scores)], device=scores.device), torch.tensor([len(target)], device=scores.device)
        (found,) = torch.autograd.grad(-_losses(on, write, *ends).sum(), write)
    return found[0]


def _moves(scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of going on to the next frame (b, t, u + 1), and of writing the next label (b, t, u)."""
    logs = torch.log_softmax(scores, dim=3)
    places = target[:, None, :, None].expand(-1, logs.shape[1], -1, 1)
    return logs[..., BLANK], logs[:, :, :-1].gather(3, places).squeeze(3)


def _losses(on: Tensor, write: Tensor, lengths: Tensor, labels: Tensor) -> Tensor:
    """Both moves (b, t, u + 1) and (b, t, u), numbers of frames and of labels (b,), to -log P (b,)."""
    # All sums along a frame at once: a beginning that ends with u labels came to the frame with v of them, and wrote
    # the labels between, whose logarithms are a difference of sums.
    written = torch.cat([torch.zeros_like(on[:, :, :1]), write.cumsum(2)], dim=2)  # (b, t, u + 1)
    reached = written[:, 0]
    each = [reached]  # (b, u + 1) at each frame
    for step in range(1, on.shape[1]):
        arrived = reached + on[:, step - 1]
        reached = torch.logcumsumexp(arrived - written[:, step], dim=1) + written[:, step]
        each.append(reached)
    ends = torch.stack(each, dim=1) + on  # (b, t, u + 1)
    return -ends[torch.arange(len(on), device=on.device), lengths - 1, labels]
