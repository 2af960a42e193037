"""Faults on demand, for trying out what a run survives: a process that dies, a process that is slow."""

import json
import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lightning import Callback, Trainer

from dltk.tasks.task import Task

VARIABLE = "DLTK_FAULTS"  # of the environment of a simulation's processes


@dataclass(frozen=True)
class Kill:
    """A process that is killed when it begins a step."""

    rank: int
    step: int  # counted from 1


@dataclass(frozen=True)
class Slow:
    """A process of which every step takes longer."""

    rank: int
    milliseconds: int


def write(faults: Iterable[Kill | Slow]) -> str:
    """As `of_environment` reads them."""
    return json.dumps([asdict(fault) for fault in faults])


class Faults(Callback):
    """Makes the faults of this process.

    Args:
        faults: those of all.
    """

    def __init__(self, faults: Iterable[Kill | Slow]) -> None:
        self._faults = list(faults)

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> "list[Faults]":
        """The callback, where there are faults to make."""
        said = json.loads(environment.get(VARIABLE) or "[]")
        faults = [Kill(**one) if "step" in one else Slow(**one) for one in said]
        return [cls(faults)] if faults else []

    def on_train_batch_start(self, trainer: Trainer, task: Task, batch: Any, batch_idx: int) -> None:
        """Be slow; die."""
        for fault in self._faults:
            if fault.rank != trainer.global_rank:
                continue
            if isinstance(fault, Slow):
                time.sleep(fault.milliseconds / 1000)
            elif fault.step == batch["info"].step + 1:
                os.kill(os.getpid(), signal.SIGKILL)
