"""Networks that are fitted at once instead of trained step by step: the baselines of the article.

They go through the same data, the same evaluation and the same checkpoints as everything else: one epoch gathers the
training part, and the last batch fits.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dltk.tasks.classification import Classification
from dltk.tasks.task import Batch, Procedure


class Fit(Classification):
    """Calls `model.fit(images, targets)` once, with the whole training part in the order of its keys' epoch.

    Args:
        model: has `fit(images (n, c, h, w), targets (n,))`, and gives scores (b, k) afterwards.
        mean: what is subtracted from the pixels, for each channel or for all (pixels run from 0 to 1).
        std: what the pixels are divided by, for each channel or for all.
        procedure: the seed; there is no optimiser.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        mean: list[float] = [0.0],  # noqa: B006 - read only; the signature is the schema
        std: list[float] = [1.0],  # noqa: B006
        procedure: Procedure | None = None,
    ) -> None:
        super().__init__(model, mean=mean, std=std, procedure=procedure)
        self.automatic_optimization = False
        self._gathered: list[tuple[Tensor, Tensor, Tensor]] = []

    def configure_optimizers(self) -> None:
        """Nothing moves by gradients."""

    def training_step(self, batch: Batch, batch_idx: int) -> None:  # type: ignore[override]
        """Gather one micro-batch; fit when the run's last one has come."""
        info = batch["info"]
        assert self._consensus is not None
        self._consensus.start(info.weight, self.vote_to_stop)
        good = batch["weight"] > 0
        places = torch.as_tensor(info.places)[good.cpu()]
        self._gathered.append((places, self.pixels(batch["image"])[good].cpu(), batch["target"][good].cpu()))
        if batch_idx + 1 == self.trainer.num_training_batches:
            self._fit()
            self.totals.add(self.measure(batch))
        self.step = info.step + 1
        _, self.stop_agreed = self._consensus.finish()

    def losses(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Scores (b, k), no log-probabilities, to the hinge loss of Crammer and Singer (JMLR 2, 2001) (b,)."""
        own = scores.gather(1, targets[:, None])  # (b, 1)
        others = scores.scatter(1, targets[:, None], -torch.inf)  # (b, k)
        return (1 + others.max(1).values - own.squeeze(1)).clamp(min=0)

    def expected_loss(self) -> None:
        """Unknown: before it is fitted the machine gives no scores."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what was gathered so far: a fit that goes on without it would see a part of the data only."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["gathered"] = self._all_gathered()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Go on gathering; the first process carries what all had."""
        super().on_load_checkpoint(checkpoint)
        self._gathered = [tuple(part) for part in checkpoint["gathered"]] if self.global_rank == 0 else []

    def _fit(self) -> None:
        places, images, targets = (torch.cat(column) for column in zip(*self._all_gathered(), strict=True))
        order = places.argsort()  # the same on any number of processes
        model: Any = self.model
        model.fit(images[order], targets[order])
        self._gathered = []

    def _all_gathered(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Places, images and targets of all processes."""
        if self.trainer.world_size == 1:
            return self._gathered
        everybody: list[Any] = [None] * self.trainer.world_size
        dist.all_gather_object(everybody, self._gathered)
        return [part for theirs in everybody for part in theirs]
