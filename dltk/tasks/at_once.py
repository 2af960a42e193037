"""Tasks whose networks are fitted at once instead of trained step by step: the baselines of the article.

They go through the same data, the same evaluation and the same checkpoints as everything else: one epoch gathers the
training part, and the last batch fits.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dltk.data.gathering import gathered
from dltk.tasks.task import Batch, Task


class AtOnce(Task):
    """Gathers the whole training part, and calls `fit` once with it, in the order of its epoch.

    It stands before the task that measures among a class's bases.
    """

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self.automatic_optimization = False
        self._gathered: list[tuple[Tensor, ...]] = []

    def gather(self, batch: Batch) -> tuple[Tensor, ...]:
        """What is kept of a micro-batch, each (b, ...)."""
        raise NotImplementedError

    def fit(self, *columns: Tensor) -> None:
        """Fit the network to what was kept of all samples that are not damaged, each (n, ...)."""
        raise NotImplementedError

    def pass_over(self, batch: Batch) -> None:
        """Do what a micro-batch asks for beside being gathered; the last one is measured instead. Here: nothing."""

    def configure_optimizers(self) -> None:
        """Nothing moves by gradients."""

    def training_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]
        """Gather one micro-batch; fit when the run's last one has come."""
        info = batch["info"]
        assert self._consensus is not None
        self._consensus.start(info.weight, self.vote_to_stop)
        good = (batch["weight"] > 0).cpu()
        kept = (torch.as_tensor(info.places), *(column.cpu() for column in self.gather(batch)))
        self._gathered.append(tuple(column[good] for column in kept))
        if batch_idx + 1 == self.trainer.num_training_batches:
            self._fit()
            self.totals.add(self.measure(batch))
        else:
            self.pass_over(batch)
        self.step = info.step + 1
        _, self.stop_agreed = self._consensus.finish()

    def expected_loss(self) -> None:
        """Unknown: before it is fitted the network says nothing."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what was gathered so far: a fit that goes on without it would see a part of the data only."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["gathered"] = self._everybody_s()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Go on gathering; the first process carries what all had."""
        super().on_load_checkpoint(checkpoint)
        self._gathered = [tuple(part) for part in checkpoint["gathered"]] if self.global_rank == 0 else []

    def _fit(self) -> None:
        places, *columns = (torch.cat(column) for column in zip(*self._everybody_s(), strict=True))
        order = places.argsort()  # the same on any number of processes
        self.fit(*(column[order] for column in columns))
        self._gathered = []

    def _everybody_s(self) -> list[tuple[Tensor, ...]]:
        """What all processes gathered."""
        return [part for theirs in gathered(self._gathered, self.trainer.world_size) for part in theirs]
