"""Being told to stop: a signal or the run folder's STOP file only sets a vote; the processes agree at a batch's end.

SIGTERM, SIGUSR1 and SIGUSR2 mean preemption, SIGINT means that somebody pressed Ctrl-C. A second Ctrl-C leaves at once.
"""

import os
import signal
import time
from types import FrameType
from typing import Any

import torch.distributed as dist
from lightning import Callback, Trainer

from dltk.errors import ExitCode
from dltk.run.folder import RunFolder
from dltk.tasks.task import Task

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


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


class Signals:
    """Remembers the first signal of the process. Installed before anything slow is imported."""

    def __init__(self) -> None:
        self.received: int | None = None

    def install(self) -> None:
        """Take the signals over (also from those who took them meanwhile)."""
        for number in SIGNALS:
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received == signal.SIGINT == number:
            os._exit(ExitCode.INTERRUPTED)
        self.received = number


class Stopping(Callback):
    """Votes to stop, and leaves when the processes agree.

    Args:
        signals: the process's signals.
        run: the run folder, whose STOP file rank 0 looks at once a second.
    """

    def __init__(self, signals: Signals, run: RunFolder) -> None:
        self.signals = signals
        self.run = run
        self._looked = 0.0
        self._request: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, task: Task) -> None:
        """Lightning has put a handler of its own for SIGTERM, which saves nothing: ours goes on top."""
        self.signals.install()

    def on_train_batch_start(self, trainer: Trainer, task: Task, batch: Any, batch_idx: int) -> None:
        """Look for a signal and, now and then, for the STOP file."""
        now = time.monotonic()
        if trainer.is_global_zero and now - self._looked >= 1.0:
            self._looked = now
            self._request = self.run.stop_request()
        task.vote_to_stop = self.signals.received is not None or self._request is not None

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
        reasons = [self.reason()]
        if trainer.world_size > 1:
            everybody: list[Any] = [None] * trainer.world_size
            dist.all_gather_object(everybody, (reasons[0][0], int(reasons[0][1])))
            reasons = [(text, ExitCode(code)) for text, code in everybody]
        text, code = max(reasons, key=lambda reason: reason[1])
        raise Stopped(text, code)
