"""What a person sees of a training: a bar on a terminal, one plain line every few seconds elsewhere."""

import sys
import time
from typing import Any

from lightning import Callback, Trainer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from dltk.tasks.task import Task

SHOWN = ("train/loss", "train/top1_error", "val/top1_error", "time/samples_per_second")
BETWEEN_REFRESHES = 0.25  # seconds between two pictures of the bar


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
            # It is drawn from here: rich's own thread would take the interpreter from the training ten times a second.
            count, left = (
                TextColumn(text, table_column=Column(min_width=width))
                for text, width in (
                    ("{task.completed}/{task.total}", 2 * len(str(self.total)) + 1),
                    ("left {task.fields[left]}", len("left 0:00:00")),
                )
            )
            columns = count, BarColumn(None), left, TextColumn("{task.fields[numbers]}")
            self._bar = Progress(*columns, console=self.console, auto_refresh=False, expand=True)
            self._row = self._bar.add_task("train", total=self.total, completed=task.step, left="-:--:--", numbers="")
            self._bar.start()

    def on_train_batch_end(self, trainer: Trainer, task: Task, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move on, now and then."""
        now, step = time.monotonic(), batch["info"].step + 1
        between = self.seconds_between_lines if self._bar is None else BETWEEN_REFRESHES
        due = now - self._shown_at >= between or (step == self.total and self._bar is not None)
        if due and trainer.is_global_zero:
            self._shown_at = now
            self._show(step)

    def _show(self, step: int) -> None:
        if self._bar is not None:
            left, numbers = self._left(step), self._numbers()
            self._bar.update(self._row, completed=step, refresh=True, left=left, numbers=numbers)
        else:
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
