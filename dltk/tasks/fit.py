"""Classifiers that are fitted at once."""

from typing import Any

import torch
from torch import Tensor, nn

from dltk.tasks.at_once import AtOnce
from dltk.tasks.classification import Classification
from dltk.tasks.task import Batch, Procedure


class Fit(AtOnce, Classification):
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

    def gather(self, batch: Batch) -> tuple[Tensor, ...]:
        """Images and their classes."""
        return self.pixels(batch["image"]), batch["target"]

    def fit(self, *columns: Tensor) -> None:
        """Fit to images (n, c, h, w) and their classes (n,)."""
        model: Any = self.model
        model.fit(*columns)

    def losses(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Scores (b, k), no log-probabilities, to the hinge loss of Crammer and Singer (JMLR 2, 2001) (b,)."""
        own = scores.gather(1, targets[:, None])  # (b, 1)
        others = scores.scatter(1, targets[:, None], -torch.inf)  # (b, k)
        return (1 + others.max(1).values - own.squeeze(1)).clamp(min=0)
