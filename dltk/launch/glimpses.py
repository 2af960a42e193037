"""What a run that still trains shows in W&B after validations: the same samples each time, confusions, filters.

Taken from what the validation computes anyway: the network is not asked again, and no process waits for another but to
add up small counts. Alignments, and where a captioner looked, would need that: they are shown at the run's end alone.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from lightning import Callback, Trainer
from torch import Tensor

from dltk.data.datamodule import DataModule
from dltk.launch import showing
from dltk.run.tracking import Tracker
from dltk.tasks.classification import Classification
from dltk.tasks.shards import Shards
from dltk.tasks.task import Task

# Shapes: b samples of a batch, k classes.

MOST = 40  # times in a run; validations between are passed over


class Glimpses(Callback):
    """Shows some samples of the validation part as the network sees them at a step.

    Args:
        data: the run's.
        tracker: of the first process; the others have none.
        count: samples shown.
        say: prints one line.
    """

    def __init__(self, data: DataModule, tracker: Tracker | None, count: int, say: Callable[[str], None]) -> None:
        self.data, self.tracker, self.count, self.say = data, tracker, count, say
        self._shown_at: int | None = None  # step; every process knows the same
        self._forget()

    def on_validation_start(self, trainer: Trainer, task: Task) -> None:
        """Begin anew: the last validation may have been cut off."""
        self._forget()

    def on_validation_batch_end(
        self, trainer: Trainer, task: Task, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Keep the first samples of this process's share, and count which class was taken for which."""
        if not (self._due(trainer, task) and isinstance(task, Classification) and isinstance(outputs, Mapping)):
            return
        scores, targets, real = outputs["scores"], batch["target"], batch["weight"] > 0  # (b, k), (b,), (b,)
        if scores.ndim != 2:
            return
        if scores.shape[1] <= showing.CLASSES:
            self._count(scores, targets, real)
        wanted = self.count - len(self._kept)
        if self.tracker is not None and wanted > 0:
            for at in real.nonzero()[:wanted, 0].tolist():
                self._kept.append((batch["info"].keys[at], int(targets[at]), scores[at].float().cpu().numpy()))

    def on_validation_end(self, trainer: Trainer, task: Task) -> None:
        """Hand it to W&B; whatever fails here is no reason for a training to fail."""
        if not self._due(trainer, task):
            return
        self._shown_at = task.step
        if self._counts is not None and trainer.world_size > 1:
            dist.all_reduce(self._counts)
        if self.tracker is None or self.tracker.mode == "disabled":
            return
        try:
            things = [{**thing, "name": f"val/{thing['name']}"} for thing in self._things(task)]
        except Exception as error:
            self.say(f"W&B: samples of the validation are left out ({type(error).__name__}: {error}).")
        else:
            self.tracker.show(task.step, things)
        self._forget()

    def _due(self, trainer: Trainer, task: Task) -> bool:
        """Whether this validation is shown; the same on every process."""
        if trainer.state.fn != "fit":
            return False
        return self._shown_at is None or task.step - self._shown_at >= self.data.total_steps / MOST

    def _forget(self) -> None:
        self._kept: list[tuple[str, int, np.ndarray]] = []  # key, class, scores (k,)
        self._counts: Tensor | None = None  # (k, k), by right and chosen class

    def _count(self, scores: Tensor, targets: Tensor, real: Tensor) -> None:
        k = scores.shape[1]
        if self._counts is None:
            self._counts = torch.zeros(k, k, dtype=torch.int64, device=scores.device)
        self._counts.view(-1).index_add_(0, targets * k + scores.argmax(1), real.to(torch.int64))

    def _things(self, task: Task) -> list[dict[str, Any]]:
        part = self.data.part("val")
        things: list[dict[str, Any]] = []
        if self._kept:
            keys, targets, scores = zip(*self._kept, strict=True)
            samples = {"keys": np.array(keys), "targets": np.array(targets), "scores": np.stack(scores)}
            things.append(showing.predictions(samples, part, "val"))
        if self._counts is not None:
            things += showing.confusion(self._counts.cpu().numpy(), part, f"val, step {task.step:,}")
        things += showing.written(task, part, "val", self.count)
        if type(task.shards) is Shards:  # else the layer is in pieces
            things += showing.filters_of(task.model)
        return things
