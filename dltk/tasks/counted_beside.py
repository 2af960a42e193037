"""Language models of which a part is counted before the rest is trained."""

from typing import Any

from dltk.tasks.language import Language


class CountedBeside(Language):
    """Calls `model.count(lanes (l, n))` before the first step, with the lanes of the training part.

    Each process counts the same; a checkpoint keeps the counts, and a run that goes on does not count again.

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
        if not model.counted.fitted:
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            model.count(data.part("train").texts().to(self.device))
