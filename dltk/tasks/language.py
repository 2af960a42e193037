"""Language models: which token follows, from all before it."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dltk.data.gathering import gathered
from dltk.data.loader import BatchInfo
from dltk.errors import DataError
from dltk.layers import tokens
from dltk.tasks.lexical import Lexical
from dltk.tasks.task import Batch, Procedure
from dltk.tasks.totals import Totals

# Shapes: b lanes or windows, t tokens of a window, c tokens read before it, m numbers of a state.


class Language(Lexical):
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
        """Take the vocabulary of the training data, and see that a global batch holds one window of each lane.

        Raises:
            DataError: it does not, or the vocabulary is another than the checkpoint's.
        """
        super().setup(stage)
        data: Any = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and data is not None:
            lanes = getattr(data.part("train"), "lanes", None)
            if lanes != data.batch:
                what = f"{data.batch} samples make a batch, and the text has {lanes} lanes"
                raise DataError("", "batch.global", what, "Set it and data.lanes to the same number.")

    def measure(self, batch: Batch) -> dict[str, Any]:
        """Loss and counted tokens of one micro-batch, as sums; in training the lanes' states go on."""
        model: Any = self.model
        target = batch["target"]  # (b, t)
        known = self.read_on(batch)[:, -target.shape[1] :]
        self._window = target.shape[1]
        chosen = tokens.real(target) & (batch["weight"] > 0)[:, None]  # (b, t)
        losses = model.losses(known[chosen], target[chosen])  # (n,)
        measures = {"loss": losses.sum(), "weight": chosen.sum()}
        if not self.training:  # -log P of each token, 0 of those that do not count (b, t)
            measures["scores"] = losses.new_zeros(target.shape).masked_scatter(chosen, losses.detach())
        return measures

    def read_on(self, batch: Batch) -> Tensor:
        """What is known after each word of a micro-batch (b, c + t, ...); in training the lanes' states go on."""
        model: Any = self.model
        words = batch["words"]  # (b, c + t)
        first = model.start(len(words)).to(words.device)  # (b, m)
        if not self.training:
            return model.read(words, first)[0]
        carried, rows = self._lanes(first, batch["info"])
        known, state = model.read(words, torch.where(batch["fresh"][:, None] > 0, first, carried[rows]))
        carried[rows] = state.detach().to(carried.dtype)
        return known

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
        """Keep the states of all lanes, and of which text they are."""
        super().on_save_checkpoint(checkpoint)
        if self.carried is None:
            return
        whole, world = self.carried.clone(), self.trainer.world_size
        if world > 1:  # lane k is read by the process k % world, in each pass
            for rank, theirs in enumerate(gathered(self.carried.cpu(), world)):
                whole[rank::world] = theirs[rank::world].to(whole.device)
        checkpoint["lanes"] = whole.cpu()
        checkpoint["text"] = self._text()

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Go on where each lane was; a fork onto another text begins anew, as many lanes as it may have."""
        super().on_load_checkpoint(checkpoint)
        lanes = checkpoint.get("lanes")
        same = checkpoint.get("text") in (None, self._text())  # earlier versions kept no text
        self.carried = lanes.to(self.trainer.strategy.root_device) if same and lanes is not None else None

    def _text(self) -> str | None:
        """What tells the training text from others; None where it does not say."""
        data: Any = getattr(self.trainer, "datamodule", None)
        return None if data is None else getattr(data.part("train"), "index_hash", None)


def with_bits(means: dict[str, float]) -> dict[str, float]:
    """Means of measures, and the perplexity per token and the bits for each."""
    if "loss" not in means:
        return means
    loss = means["loss"]
    return {**means, "perplexity": math.inf if loss >= 700 else math.exp(loss), "bits": loss / math.log(2)}
