"""Training for some steps under Lightning, as a run does, without anything that a run writes."""

import math
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning
import torch
from lightning import Callback
from lightning.pytorch.profilers import Profiler

from dltk.data.datamodule import DataModule
from dltk.launch.debugging.context import Context
from dltk.tasks.task import Batch, Task
from dltk.trainer.config import TrainConfig, section
from dltk.trainer.make import bare_trainer

Until = Callable[[int, dict[str, float]], bool]  # steps done, the last step's means -> enough


class _Again:
    """The same batches again and again.

    Args:
        batches: micro-batches, whole global batches.
        count: micro-batches in all.
    """

    def __init__(self, batches: Sequence[Batch], count: int) -> None:
        self.batches, self.count = batches, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Any:
        return (self.batches[i % len(self.batches)] for i in range(self.count))


class Watch(Callback):
    """Keeps each step's means, and ends the training when it has seen enough or time is up.

    Args:
        until: tells whether it is enough.
        seconds: time from now.
    """

    def __init__(self, until: Until | None, seconds: float) -> None:
        self.until, self.deadline = until, time.monotonic() + seconds
        self.means: list[dict[str, float]] = []
        self.late = False

    def on_train_batch_end(
        self, trainer: lightning.Trainer, task: Task, outputs: Any, batch: Batch, number: int
    ) -> None:
        """Read a global batch's means."""
        if (number + 1) % trainer.accumulate_grad_batches:
            return
        self.means.append(task.totals.read())
        self.late = time.monotonic() > self.deadline
        if self.late or (self.until is not None and self.until(len(self.means), self.means[-1])):
            trainer.should_stop = True

    @property
    def losses(self) -> list[float]:
        """Each step's mean loss, before its update; NaN where the task has none."""
        return [means.get("loss", math.nan) for means in self.means]


def train(
    context: Context,
    task: Task,
    batches: Sequence[Batch] | DataModule,
    *,
    steps: int | None = None,
    until: Until | None = None,
    seconds: float = math.inf,
    callbacks: Sequence[Callback] = (),
    profiler: Profiler | None = None,
) -> Watch:
    """Train a task under Lightning, without anything that a run writes.

    Args:
        context: of the checks.
        task: fresh.
        batches: the recipe's data, or micro-batches of whole global batches.
        steps: optimiser steps on the same `batches`, again and again; default: each once.
        until: tells after each step whether it is enough.
        seconds: time at most.
        callbacks: who else watches.
        profiler: where the time goes.
    """
    config = section(context.settings, "train", TrainConfig)
    watch = Watch(until, seconds)
    trainer = bare_trainer(
        context.place,
        precision=config.precision,
        deterministic=config.deterministic,
        max_epochs=1,
        limit_val_batches=0,
        accumulate_grad_batches=context.accumulate,
        callbacks=[*callbacks, watch],
        profiler=profiler,
    )
    source: dict[str, Any] = {"datamodule": batches}
    if not isinstance(batches, DataModule):
        count = len(batches) if steps is None else steps * context.accumulate
        source = {"train_dataloaders": _Again(batches, count)}
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*no `val_dataloader`.*")
            trainer.fit(task, **source)
    except SystemExit as left:
        if isinstance(left.__context__, KeyboardInterrupt):  # Lightning leaves with code 1, and deaf
            signal.signal(signal.SIGINT, on_interrupt)
            raise KeyboardInterrupt from None
        raise
    return watch


def to_device(context: Context, task: Task, batch: Batch) -> Batch:
    """A batch where the task computes."""
    return task.transfer_batch_to_device(batch, context.place.device, 0)


@contextmanager
def frozen(context: Context, task: Task) -> Iterator[None]:
    """While it lasts, a task is in evaluation mode on the context's device, and records no gradients."""
    modes = {module: module.training for module in task.modules()}
    task.to(context.place.device).eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
