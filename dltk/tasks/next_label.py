"""Next labels: which label follows in a transcript, from those before it; frames are not heard."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.layers.alignments import BLANK
from dltk.tasks.labelling import Labelling
from dltk.tasks.task import Batch, Procedure
from dltk.tasks.totals import Totals
from dltk.tasks.writing import with_perplexity

# Shapes: b utterances, u labels of a target, k labels.


class NextLabel(Labelling):
    """Trains a network to tell the labels of transcripts and their ends, with which a transducer begins.

    The loss of an utterance is -log P of its labels and its end, `token_loss` the mean over these, and perplexity its
    exponential. `token_error` is how often the likeliest is wrong, in per cent.

    Args:
        model: the network; targets (b, u) to scores (b, u + 1, k + 1), of the end at 0.
        procedure: optimiser, schedule, clipping, seed.
    """

    same_calls = False  # longer transcripts take more steps

    def __init__(self, model: nn.Module, *, procedure: Procedure | None = None) -> None:
        super().__init__(model, procedure)
        if len(self.metrics):
            raise ValueError("the next labels have no class scores for train.metrics. Remove them")
        self.totals, self.evaluation = Totals(with_perplexity), Totals(with_perplexity)

    def measure(self, batch: Batch) -> dict[str, Any]:
        """Loss and errors of one micro-batch, as sums."""
        counts = batch["weight"] > 0  # (b,)
        target: Tensor = batch["target"]  # (b, u)
        right = F.pad(target, (0, 1), value=BLANK)  # (b, u + 1), with the end
        places = torch.arange(right.shape[1], device=right.device)
        chosen = (places <= (target != BLANK).sum(1)[:, None]) & counts[:, None]  # (b, u + 1)
        scores = self.model(target)[chosen].float()  # (m, k + 1), m labels and ends
        losses = F.cross_entropy(scores, right[chosen], reduction="none")  # (m,)
        wrong = (scores.detach().argmax(1) != right[chosen]).sum()
        measures = {
            "loss": losses.sum(),
            "weight": counts.sum(),
            "token_loss": (losses.detach().sum(), chosen.sum()),
            "token_error": (100.0 * wrong, chosen.sum()),
        }
        if not self.training:  # -log P of each label and of the end, 0 of those that do not count (b, u + 1)
            measures["scores"] = losses.new_zeros(right.shape).masked_scatter(chosen, losses.detach())
        return measures

    def least_loss(self, batches: Sequence[Batch]) -> float:
        """The entropy of the transcripts, for nothing tells beforehand which of them it will be."""
        rows = (row for batch in batches for row in batch["target"][batch["weight"] > 0])
        often = Counter(tuple(row[row != BLANK].tolist()) for row in rows)
        return -sum(count * math.log(count / often.total()) for count in often.values()) / often.total()
