"""Language models that are counted at once."""

from typing import Any

import torch
from torch import Tensor, nn

from dltk.tasks.at_once import AtOnce
from dltk.tasks.language import Language
from dltk.tasks.task import Batch, Procedure


class Counting(AtOnce, Language):
    """Calls `model.fit(lanes (l, n))` once, with every lane of the training part as it goes on.

    Args:
        model: as for `Language`, and with `fit`.
        procedure: the seed; there is no optimiser.
    """

    def __init__(self, model: nn.Module, *, procedure: Procedure | None = None) -> None:
        super().__init__(model, procedure=procedure)

    def gather(self, batch: Batch) -> tuple[Tensor, ...]:
        """Windows of words, the words that follow, and how many lanes there are."""
        lanes = torch.full((len(batch["words"]),), batch["info"].samples)
        target = batch["target"]  # (b, t)
        return batch["words"][:, -target.shape[1] :], target, lanes

    def pass_over(self, batch: Batch) -> None:
        """Read on, so that the last windows, by which the loss is told, are known with the words before them."""
        self.read_on(batch)

    def fit(self, *columns: Tensor) -> None:
        """Windows (w, t), the words one further on (w, t) and the number of lanes (w,), lane by lane in turn."""
        words, target, lanes = columns
        count = int(lanes[0])
        going_on = [part.unflatten(0, (-1, count)).transpose(0, 1).flatten(1) for part in (words, target)]  # (l, n)
        model: Any = self.model
        model.fit(torch.cat([going_on[0], going_on[1][:, -1:]], dim=1))
