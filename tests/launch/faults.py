"""Callbacks that harm a training from inside, named by recipes of the tests as `faults:KillAt`."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

from dltk.errors import RecipeError
from dltk.run import checkpoint as saving
from dltk.run.atomic import replace_file

MOMENTS = {  # the function of dltk.run.checkpoint that is not reached any more
    "with half of the state written": "_HashedFile.write",
    "with the state written": "_refuse_unloadable",
    "before it is published": "Checkpoints._set_aside",
    "between publication and LATEST": "sync_folder",
}


def finish_saving(trainer: Trainer) -> None:
    """Wait until the checkpoint that is being written beside the training is published."""
    trainer.strategy.checkpoint_io.finish()


class KillAt(Callback):
    """Sends a signal to this process once after each of the given steps, whatever is being written, or not before."""

    def __init__(
        self, steps: list[int], marks: str, signal_name: str = "SIGKILL", rank: int = 0, saved: bool = False
    ) -> None:
        self.steps, self.marks, self.rank, self.saved = steps, Path(marks), rank, saved
        self.signal = signal.Signals[signal_name]

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, i: int) -> None:
        step = batch["info"].step + 1
        if step in self.steps and trainer.global_rank == self.rank and first_time(self.marks, f"killed-at-{step}"):
            if self.saved:
                finish_saving(trainer)
            os.kill(os.getpid(), self.signal)


class KillWhileSaving(Callback):
    """Kills this process once in the first save at or after a step, at one of the moments of a save."""

    def __init__(self, step: int, moment: str, marks: str) -> None:
        self.step, self.moment, self.marks = step, moment, Path(marks)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, i: int) -> None:
        if batch["info"].step + 1 == self.step and first_time(self.marks, f"killed-saving-{self.step}"):
            finish_saving(trainer)
            owner, _, name = MOMENTS[self.moment].rpartition(".")
            setattr(getattr(saving, owner) if owner else saving, name, write_and_die)


def write_and_die(file: Any, data: Any = b"") -> None:
    """Stands in for a function of dltk.run.checkpoint."""
    if isinstance(file, saving._HashedFile):
        file.file.write(memoryview(data).cast("B")[:1000])
        file.file.flush()
    os.kill(os.getpid(), signal.SIGKILL)


class Slow(Callback):
    """Where the test's file `plan` says (`train 20`, `validation 39`), says so by a file and takes its time."""

    def __init__(self, marks: str, seconds: float = 0.3) -> None:
        self.marks, self.seconds = Path(marks), seconds
        place, step = (self.marks / "plan").read_text().split()
        self.place, self.step = place, int(step)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        if self.place == "train" and module.step >= self.step:
            self._pause(trainer)

    def on_validation_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        if self.place == "validation" and module.step >= self.step:
            self._pause(trainer)

    def on_fit_end(self, trainer: Trainer, module: LightningModule) -> None:
        if self.place == "evaluation":
            self._pause(trainer)

    def _pause(self, trainer: Trainer) -> None:
        (self.marks / f"slow-{trainer.global_rank}").touch()
        time.sleep(self.seconds)


class Raise(Callback):
    """Raises in one process before a step, once where there are marks: a crash, or a user's mistake."""

    def __init__(self, step: int, rank: int, mistake: bool = False, marks: str | None = None) -> None:
        self.step, self.rank, self.mistake, self.marks = step, rank, mistake, marks

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, i: int) -> None:
        if batch["info"].step == self.step and trainer.global_rank == self.rank:
            if self.marks is not None and not first_time(Path(self.marks), f"raised-at-{self.step}"):
                return
            if self.mistake:
                raise RecipeError("small.yaml:3", "data.size", "9 is too many", "Set at most 8.")
            raise ZeroDivisionError("the planted crash")


class Exhaust(Callback):
    """Asks for more memory than any machine has, once in one process before a step."""

    def __init__(self, step: int, rank: int, marks: str) -> None:
        self.step, self.rank, self.marks = step, rank, Path(marks)

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, i: int) -> None:
        reached = batch["info"].step == self.step and trainer.global_rank == self.rank
        if reached and first_time(self.marks, f"exhausted-at-{self.step}"):
            torch.empty(1 << 50, dtype=torch.uint8)


class Known(Callback):
    """Notes each process's number and the port where all meet."""

    def __init__(self, marks: str) -> None:
        self.marks = Path(marks)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        known = {"pid": os.getpid(), "port": int(os.environ["MASTER_PORT"])}
        replace_file(self.marks / f"known-{trainer.global_rank}.json", json.dumps(known))


class Poison(Callback):
    """Makes a weight NaN: before the given step, or after its update."""

    def __init__(self, step: int, after: bool = False) -> None:
        self.step, self.after = step, after

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, i: int) -> None:
        self._poison(module, batch, after=False)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, i: int) -> None:
        self._poison(module, batch, after=True)

    def _poison(self, module: LightningModule, batch: Any, after: bool) -> None:
        if batch["info"].step == self.step and after == self.after:
            with torch.no_grad():
                next(module.parameters()).fill_(float("nan"))


class Steal(Callback):
    """Puts another machine's lease in place of this run's after a step, and keeps a copy of the run as it was then."""

    def __init__(self, step: int, copy: str, seconds: float = 0.0) -> None:
        self.step, self.copy, self.seconds = step, copy, seconds

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, i: int) -> None:
        if batch["info"].step + 1 == self.step and trainer.is_global_zero:
            finish_saving(trainer)
            record = {"host": "elsewhere", "pid": 7, "token": "another", "heartbeat": time.time(), "started": "then"}
            replace_file(Path(trainer.default_root_dir) / "LEASE", json.dumps(record))
            shutil.copytree(trainer.default_root_dir, self.copy)
            time.sleep(self.seconds)


class FillDisk(Callback):
    """Writes a file until the disk is full, once after a step."""

    def __init__(self, step: int, file: str) -> None:
        self.step, self.file = step, Path(file)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, i: int) -> None:
        if batch["info"].step + 1 == self.step:
            finish_saving(trainer)
            with self.file.open("wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    pass


def first_time(marks: Path, name: str) -> bool:
    """Whether a fault has not struck yet; it has from now on."""
    struck = (marks / name).exists()
    (marks / name).touch()
    return not struck


class Gate(Callback):
    """Lets steps take their time from the one on that the test's file `gate` says; each fifty the double of it."""

    def __init__(self, marks: str, seconds: float = 0.2) -> None:
        self.gate, self.seconds = Path(marks) / "gate", seconds

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        late = module.step - int(self.gate.read_text())
        if late >= 0:
            time.sleep(self.seconds * 2 ** min(late // 50, 4))
