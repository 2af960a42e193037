"""What a person sees of a training: a bar on a terminal, one plain line every few seconds elsewhere."""

import sys
import time
from typing import Any

from lightning import Callback, Trainer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dltk.tasks.task import Task

SHOWN = ("train/loss", "train/top1_error", "val/top1_error", "time/samples_per_second")


class Display(Callback):
    """Shows step, loss, error, samples a second and the time left.

    Args:
        total: steps of the run.
        console: where to; a terminal gets a bar.
        seconds_between_lines: elsewhere.
    """

    def __init__(self, total: int, console: Console | None = None, seconds_between_lines: float = 5.0) -> None:
        self.total = total
        self.console = console or Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self.seconds_between_lines = seconds_between_lines
        self._bar: Progress | None = None
        self._latest: dict[str, float] = {}
        self._started = 0.0
        self._first = 0
        self._shown_at = 0.0

    def say(self, line: str) -> None:
        """Print one line, above the bar where there is one."""
        (self._bar.console if self._bar else self.console).print(escape(line))

    def hear(self, step: int, metrics: dict[str, Any]) -> None:
        """Remember the numbers of a metrics line."""
        self._latest |= {name: metrics[name] for name in SHOWN if isinstance(metrics.get(name), float)}

    def on_train_start(self, trainer: Trainer, task: Task) -> None:
        """Put up the bar."""
        self._started = self._shown_at = time.monotonic()
        self._first = task.step
        if trainer.is_global_zero and self.console.is_terminal:
            self._bar = Progress(
                TextColumn("step"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.fields[numbers]}"),
                TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=self.console,
            )  # fmt: skip
            self._row = self._bar.add_task("train", total=self.total, completed=task.step, numbers="")
            self._bar.start()

    def on_train_batch_end(self, trainer: Trainer, task: Task, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move on; the display refreshes itself ten times a second."""
        if not trainer.is_global_zero:
            return
        step = batch["info"].step + 1
        if self._bar is not None:
            self._bar.update(self._row, completed=step, numbers=self._numbers())
        elif time.monotonic() - self._shown_at >= self.seconds_between_lines:
            self._shown_at = time.monotonic()
            self.say(f"step {step}/{self.total}  {self._numbers()}  left {self._left(step)}")

    def teardown(self, trainer: Trainer, task: Task, stage: str) -> None:
        """Take the bar down, also after an exception."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _numbers(self) -> str:
        units = {"time/samples_per_second": ("", " samples/s", ".0f"), "train/loss": ("loss ", "", ".4f")}
        texts = []
        for name, value in self._latest.items():
            before, after, form = units.get(name, (name.replace("train/", "") + " ", " %", ".2f"))
            texts.append(f"{before}{value:{form}}{after}")
        return "  ".join(texts)

    def _left(self, step: int) -> str:
        rate = (time.monotonic() - self._started) / max(1, step - self._first)
        seconds = int(rate * (self.total - step))
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
