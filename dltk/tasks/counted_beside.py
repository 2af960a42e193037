"""Language models of which a part is counted before the rest is trained."""

from typing import Any

import torch

from dltk.tasks.language import Language
from dltk.tasks.task import Batch


class CountedBeside(Language):
    """Calls `model.count(lanes (l, n))` before the first step, with the lanes of the training part.

    Each process counts the same; a checkpoint keeps the counts, and a run that goes on does not count again. Where
    there are batches alone and no data set, as in checks of a recipe, the first one is counted.

    Args:
        model: as for `Language`, and with `count`; `counted.fitted` tells whether that was done.
        procedure: optimiser, schedule, clipping, seed.
    """

    def expected_loss(self) -> None:
        """Unknown: the counts know the text before the network does."""

    def on_fit_start(self) -> None:
        """Count what has not been counted."""
        super().on_fit_start()
        model: Any = self.model
        data: Any = getattr(self.trainer, "datamodule", None)
        if data is not None and not model.counted.fitted:
            model.count(data.part("train").texts().to(self.device))

    def measure(self, batch: Batch) -> dict[str, Any]:
        """As every language model."""
        model: Any = self.model
        if not model.counted.fitted:
            model.count(torch.cat([batch["words"], batch["target"][:, -1:]], dim=1))
        return super().measure(batch)
