"""How long a training takes until its first step is done."""

from typing import Any

from lightning import Callback, Trainer

from dltk.run import phases
from dltk.run.folder import RunFolder
from dltk.tasks.task import Task


class Beginning(Callback):
    """Ends the phase in which the processes meet, and the one of the first step, and keeps how long they took.

    Args:
        run: the run folder.
    """

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    def setup(self, trainer: Trainer, task: Task, stage: str) -> None:
        """The processes have met."""
        if stage == "fit":
            phases.begin("first_step")

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """The first batch is done; no later one is looked at."""
        phases.end()
        if trainer.is_global_zero:
            self._run.note_seconds(phases.taken())
        self.on_train_batch_end = None  # type: ignore[method-assign,assignment]
