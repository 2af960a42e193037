"""Callbacks that harm a training from inside, named by recipes of the tests as `faults:KillAt`."""

import os
import signal
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer


class KillAt(Callback):
    """Sends a signal to this process once after each of the given steps."""

    def __init__(self, steps: list[int], marks: str, signal_name: str = "SIGKILL", rank: int = 0) -> None:
        self.steps, self.marks, self.rank = steps, Path(marks), rank
        self.signal = signal.Signals[signal_name]

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, i: int) -> None:
        step = batch["info"].step + 1
        mark = self.marks / f"killed-at-{step}"
        if step in self.steps and trainer.global_rank == self.rank and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), self.signal)


class Poison(Callback):
    """Makes a weight NaN before the given step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, i: int) -> None:
        if batch["info"].step == self.step:
            with torch.no_grad():
                next(module.parameters()).fill_(float("nan"))
