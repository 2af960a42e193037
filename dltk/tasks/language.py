"""Language models: which token follows, from all before it."""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dltk.data.loader import BatchInfo
from dltk.errors import DataError
from dltk.layers import tokens
from dltk.tasks.task import Batch, Procedure, Task
from dltk.tasks.totals import Totals

# Shapes: b lanes or windows, t tokens of a window, m numbers of a state.


class Language(Task):
    """Trains a network to tell the next token, and measures its perplexity.

    While it trains, lanes of the text go on from batch to batch, and so does the network's state (truncated
    back-propagation through time); it is kept in checkpoints, all lanes' in one tensor, whichever process reads them.
    An evaluation begins every window from a new state some tokens before it.

    The loss is -log P of a token, the mean over those of a global batch; `perplexity` is its exponential, `bits` are
    its value in bits: of characters the bits for each.

    Args:
        model: the network; `start(count)` gives first states (b, m), `read(words (b, t), state (b, m))` what is known
            after each word and the last state, `losses(known, right)` of places the losses.
        procedure: optimiser, schedule, clipping, seed.
    """

    def __init__(self, model: nn.Module, *, procedure: Procedure | None = None) -> None:
        super().__init__(model, procedure)
        if len(self.metrics):
            raise ValueError("a language model has no class scores for train.metrics. Remove them")
        self.totals, self.evaluation = Totals(with_bits), Totals(with_bits)
        self.carried: Tensor | None = None  # (lanes, m), of which this process keeps its own rows up to date
        self._window = 0  # tokens of a training window

    def setup(self, stage: str) -> None:
        """See that a global batch holds one window of each lane.

        Raises:
            DataError: it does not.
        """
        data: Any = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and data is not None:
            lanes = getattr(data.part("train"), "lanes", None)
            if lanes != data.batch:
                what = f"{data.batch} samples make a batch, and the text has {lanes} lanes"
                raise DataError("", "batch.global", what, "Set it and data.lanes to the same number.")

    def measure(self, batch: Batch) -> dict[str, Any]:
        """Loss and counted tokens of one micro-batch, as sums; in training the lanes' states go on."""
        model: Any = self.model
        words, target = batch["words"], batch["target"]  # (b, t)
        first = model.start(len(words)).to(words.device)  # (b, m)
        carried, rows = self._lanes(first, batch["info"]) if self.training else (None, None)
        if carried is not None:
            first = torch.where(batch["fresh"][:, None] > 0, first, carried[rows])
        known, state = model.read(words, first)
        if carried is not None:
            carried[rows] = state.detach().to(carried.dtype)
        self._window = words.shape[1]
        chosen = tokens.real(target) & (batch["weight"] > 0)[:, None]  # (b, t)
        losses = model.losses(known[chosen], target[chosen])  # (n,)
        measures = {"loss": losses.sum(), "weight": chosen.sum()}
        if not self.training:  # -log P of each token, 0 of those that do not count (b, t)
            measures["scores"] = losses.new_zeros(target.shape).masked_scatter(chosen, losses.detach())
        return measures

    def _lanes(self, first: Tensor, info: BatchInfo) -> tuple[Tensor, Tensor]:
        """The states of all lanes, as states are (b, m), and which are a micro-batch's: a batch has them in order."""
        if self.carried is None or len(self.carried) != info.samples:  # none yet, or a fork's text has other lanes
            model: Any = self.model
            self.carried = model.start(info.samples).to(first.device)
        return self.carried, torch.as_tensor(info.places % info.samples, device=first.device)

    def weigh(self, info: BatchInfo) -> tuple[float, float]:
        """What a micro-batch and its global batch weigh: their tokens; windows of a training are full."""
        return info.weight * self._window, info.planned * self._window

    def expected_loss(self) -> float | None:
        """ln v, where the network says how many words it knows."""
        model: Any = self.model
        return math.log(model.embedding.num_embeddings) if hasattr(model, "embedding") else None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the states of all lanes."""
        super().on_save_checkpoint(checkpoint)
        if self.carried is None:
            return
        whole, world = self.carried.clone(), self.trainer.world_size
        if world > 1:  # lane k is read by the process k % world, in each pass
            everybody: list[Any] = [None] * world
            dist.all_gather_object(everybody, self.carried.cpu())
            for rank, theirs in enumerate(everybody):
                whole[rank::world] = theirs[rank::world].to(whole.device)
        checkpoint["lanes"] = whole.cpu()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Go on where each lane was."""
        super().on_load_checkpoint(checkpoint)
        lanes = checkpoint.get("lanes")
        self.carried = None if lanes is None else lanes.to(self.trainer.strategy.root_device)


def with_bits(means: dict[str, float]) -> dict[str, float]:
    """Means of measures, and the perplexity per token and the bits for each."""
    if "loss" not in means:
        return means
    loss = means["loss"]
    return {**means, "perplexity": math.inf if loss >= 700 else math.exp(loss), "bits": loss / math.log(2)}
