"""Classification: scores for each class, one class is right."""

import math
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk.metrics import target_rank
from dltk.tasks.protocols import Scores
from dltk.tasks.seeing import Seeing
from dltk.tasks.task import Batch, Procedure
from dltk.tasks.totals import Later


class Classification(Seeing):
    """Trains a network that gives class scores, and measures top-1 and top-5 error.

    A network may have auxiliary classifiers: while training it gives a tuple, its scores first and theirs behind. Their
    losses are added by `auxiliary_weight`; the errors are those of its own scores.

    Losses of one sample with scores y and right class c:

    - `cross_entropy`: -log softmax(y)_c.
    - `squared_error`: 0.5 * sum over k of (y_k - t_k)^2, as in figure 1 of the article; t_k is `target_on` for the
      right class and `target_off` for the others.
    - `map`: d_c + log(exp(-rubbish) + sum over k of exp(-d_k)) with distances d = -y (LeCun et al. 1998, equation 9).

    Args:
        model: the network; images (b, c, h, w) to scores (b, k), or while training to several.
        loss: which of the losses above.
        mean: what is subtracted from the pixels, for each channel or for all (pixels run from 0 to 1).
        std: what the pixels are divided by, for each channel or for all.
        target_on: target of the right class for the squared error.
        target_off: target of the other classes for the squared error.
        rubbish: distance of the imagined class of everything that is no digit, for `map`.
        auxiliary_weight: of the loss of each auxiliary classifier, where the network has some (Szegedy et al. 2015,
            section 5).
        procedure: optimiser, schedule, clipping, seed.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        loss: Literal["cross_entropy", "squared_error", "map"] = "cross_entropy",
        mean: list[float] = [0.0],  # noqa: B006 - read only; the signature is the schema
        std: list[float] = [1.0],  # noqa: B006
        target_on: float = 1.0,
        target_off: float = 0.0,
        rubbish: float = 1.0,
        auxiliary_weight: float = 0.3,
        procedure: Procedure | None = None,
    ) -> None:
        super().__init__(model, procedure)
        self.see(mean, std)
        if auxiliary_weight < 0:
            raise ValueError(f"auxiliary_weight is {auxiliary_weight}, a share of a loss. Set 0 or more")
        self.loss, self.target_on, self.target_off, self.rubbish = loss, target_on, target_off, rubbish
        self.auxiliary_weight = auxiliary_weight
        self.num_classes: int | None = None
        self.auxiliaries = 0  # auxiliary classifiers that took part in the last loss
        self.averaged: Scores | None = None  # set by an evaluation that sees more of a picture than its middle

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, c, h, w), bytes, to class scores (b, k)."""
        return self.model(self.pixels(images))

    def measure(self, batch: Batch) -> dict[str, Any]:
        """Loss and errors of one micro-batch, as sums."""
        if self.averaged is not None:
            return self.measured(self.averaged(self, batch["image"]), batch["target"], batch["weight"])
        made = self.model(self.pixels(batch["image"], batch.get("colour")))
        scores, *auxiliary = (each.float() for each in (made if isinstance(made, tuple) else (made,)))  # each (b, k)
        losses = self._joint_losses(scores, auxiliary, batch["target"])  # (b,)
        return self._sums(scores, losses, batch["target"], batch["weight"])

    def measured(self, logs: Tensor, targets: Tensor, weight: Tensor) -> dict[str, Any]:
        """What `measure` gives, of log-probabilities (b, k): the loss is the right class's with its sign turned."""
        return self._sums(logs, F.nll_loss(logs, targets, reduction="none"), targets, weight)

    def _sums(self, scores: Tensor, losses: Tensor, targets: Tensor, weight: Tensor) -> dict[str, Any]:
        """Scores (b, k), losses (b,), right classes (b,) and weights (b,) as sums."""
        self.num_classes = scores.shape[1]
        return {
            "loss": (losses * weight).sum(),
            "weight": weight.sum(),
            "errors": Later(top_errors, scores.detach(), targets, weight),
            "scores": scores.detach(),
        }

    def _joint_losses(self, scores: Tensor, auxiliary: list[Tensor], targets: Tensor) -> Tensor:
        """The losses (b,) of scores (b, k), and those of auxiliary scores, each (b, k), by their weight."""
        self.auxiliaries = len(auxiliary)
        losses = self.losses(scores, targets)
        for others in auxiliary:
            losses = losses + self.auxiliary_weight * self.losses(others, targets)
        return losses

    def losses(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Scores (b, k) and right classes (b,) to the loss of each sample (b,)."""
        if self.loss == "cross_entropy":
            return F.cross_entropy(scores, targets, reduction="none")
        if self.loss == "squared_error":
            wanted = torch.full_like(scores, self.target_off).scatter_(1, targets[:, None], self.target_on)  # (b, k)
            return 0.5 * (scores - wanted).square().sum(1)
        rubbish = scores.new_full((scores.shape[0], 1), -self.rubbish)  # (b, 1)
        own = -scores.gather(1, targets[:, None]).squeeze(1)  # (b,)
        return own + torch.logsumexp(torch.cat([scores, rubbish], dim=1), dim=1)

    def probabilities(self, scores: Tensor) -> Tensor:
        """Scores (b, k, …) to probabilities of the classes (b, k, …), as the loss means them.

        The cross-entropy means a softmax, and so does `map` with its distances. A network trained by squared error
        estimates probabilities by its outputs themselves, off being 0 and on 1; they are cut to that and made to sum
        to one.
        """
        if self.loss != "squared_error":
            return torch.softmax(scores.float(), dim=1)
        shares = ((scores.float() - self.target_off) / (self.target_on - self.target_off)).clamp(1e-6, 1)
        return shares / shares.sum(1, keepdim=True)

    def log_probabilities(self, scores: Tensor) -> Tensor:
        """Scores (b, k, …) to the logarithms of `probabilities` (b, k, …)."""
        if self.loss != "squared_error":
            return torch.log_softmax(scores.float(), dim=1)
        return self.probabilities(scores).log()

    def expected_loss(self) -> float | None:
        """ln k for each cross-entropy of an untrained network; unknown for the other losses."""
        if self.loss != "cross_entropy" or not self.num_classes:
            return None
        return (1 + self.auxiliaries * self.auxiliary_weight) * math.log(self.num_classes)


def top_errors(scores: Tensor, targets: Tensor, weight: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Scores (b, k), right classes (b,) and weights (b,) to errors in per cent, as sums; top-5 from six classes on."""
    rank, total = target_rank(scores, targets), weight.sum()  # (b,)
    errors = {"top1_error": (100.0 * ((rank >= 1) * weight).sum(), total)}
    if scores.shape[1] > 5:
        errors["top5_error"] = (100.0 * ((rank >= 5) * weight).sum(), total)
    return errors
