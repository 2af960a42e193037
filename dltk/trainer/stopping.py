"""Being told to stop: a signal or the run folder's STOP file only sets a vote; the processes agree at a batch's end.

In training they agree in every step, beside the computation, and leave after it. In validation and in the evaluation at
the end they agree after every batch: what was measured so far is dropped, and measured again when the run goes on.
"""

import signal
import time
from typing import Any

from lightning import Callback, Trainer

from dltk.data.gathering import gathered
from dltk.errors import ExitCode
from dltk.run.folder import RunFolder
from dltk.tasks.consensus import Consensus
from dltk.tasks.task import Task
from dltk.trainer.signals import Signals

LOOK = 1.0  # seconds between two looks at the STOP file


class Stopped(Exception):
    """The processes agreed to leave; the checkpoint is written.

    Args:
        reason: why, for the ledger.
        exit_code: with which code.
    """

    def __init__(self, reason: str, exit_code: ExitCode) -> None:
        super().__init__(reason)
        self.reason = reason
        self.exit_code = exit_code


class Stopping(Callback):
    """Votes to stop, and leaves when the processes agree.

    Args:
        signals: the process's signals.
        run: the run folder, whose STOP file rank 0 looks at once a second. Whether the run has gone to another process
            it sees then too, and leaves at once: nothing may be saved any more.
    """

    def __init__(self, signals: Signals, run: RunFolder) -> None:
        self.signals = signals
        self.run = run
        self._looked = 0.0
        self._request: dict[str, Any] | None = None
        self._consensus: Consensus | None = None

    def on_train_batch_start(self, trainer: Trainer, task: Task, batch: Any, batch_idx: int) -> None:
        """Vote in this step."""
        task.vote_to_stop = self._wants_to_stop(trainer)

    def on_validation_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Vote in this batch."""
        if self._consensus is None:
            self._consensus = Consensus(trainer.world_size)
        self._consensus.start(0.0, self._wants_to_stop(trainer))

    def on_validation_batch_end(self, trainer: Trainer, task: Task, *_: Any) -> None:
        """Hear what the processes agreed on; who saves comes after this."""
        assert self._consensus is not None
        task.stop_agreed = self._consensus.finish()[1]

    def on_test_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """Vote in this batch."""
        self.on_validation_batch_start(trainer)

    def on_test_batch_end(self, trainer: Trainer, task: Task, *_: Any) -> None:
        """Leave when the processes agreed to; the last step is saved already."""
        self.on_validation_batch_end(trainer, task)
        if task.stop_agreed:
            self.leave(trainer)

    def reason(self) -> tuple[str, ExitCode]:
        """Why this process wants to stop, and the code to leave with."""
        if self._request is not None:
            code = ExitCode.PREEMPTED if self._request.get("requeue") else ExitCode.INTERRUPTED
            return f"asked to stop by {self._request.get('who')}: {self._request.get('why')}", code
        if self.signals.received is None:
            return "", ExitCode.DONE
        name = signal.Signals(self.signals.received).name
        return name, ExitCode.INTERRUPTED if name == "SIGINT" else ExitCode.PREEMPTED

    def leave(self, trainer: Trainer) -> None:
        """Raise `Stopped` on every process, with the gravest of their reasons."""
        reasons = gathered(self.reason(), trainer.world_size)
        text, code = max(reasons, key=lambda reason: reason[1])
        raise Stopped(text, code)

    def _wants_to_stop(self, trainer: Trainer) -> bool:
        now = time.monotonic()
        if trainer.is_global_zero and now - self._looked >= LOOK:
            self._looked = now
            self.run.require_lease()
            self._request = self.run.stop_request()
        return self.signals.received is not None or self._request is not None
