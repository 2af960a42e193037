"""A few steps under torch's profiler: a trace to look at, and a table of what took the time."""

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from torch.profiler import ProfilerActivity, profile, schedule

from dltk.tasks.task import Task

SKIPPED, WARMED, TRACED = 5, 2, 8  # batches: the first are not like the others
ROWS = 15


class Profiling(Callback):
    """Traces some batches near the start of an attempt, on the first process.

    Args:
        folder: gets `trace-STEP.json` (for chrome://tracing or Perfetto) and `table-STEP.txt`, by the first step.
        say: prints the table.
    """

    def __init__(self, folder: Path, say: Any) -> None:
        self.folder, self.say = folder, say
        self._profile: profile | None = None

    def on_train_start(self, trainer: Trainer, task: Task) -> None:
        """Begin, on the first process."""
        if not trainer.is_global_zero:
            return
        self._first = task.step
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        plan = schedule(wait=SKIPPED, warmup=WARMED, active=TRACED, repeat=1)
        self._profile = profile(activities=activities, schedule=plan, on_trace_ready=self._write)
        self._profile.start()

    def on_train_batch_end(self, trainer: Trainer, task: Task, *_: Any) -> None:
        """Tell the profiler that a batch is over."""
        if self._profile is not None:
            self._profile.step()

    def on_train_end(self, trainer: Trainer, task: Task) -> None:
        """Stop; a run that ends too early is traced up to there."""
        self._stop()

    def on_exception(self, trainer: Trainer, task: Task, exception: BaseException) -> None:
        """Stop."""
        self._stop()

    def _stop(self) -> None:
        if self._profile is not None:
            self._profile.stop()
            self._profile = None

    def _write(self, finished: profile) -> None:
        self.folder.mkdir(exist_ok=True)
        trace = self.folder / f"trace-{self._first}.json"
        finished.export_chrome_trace(str(trace))
        key = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        table = finished.key_averages().table(sort_by=key, row_limit=ROWS, max_name_column_width=40)
        (self.folder / f"table-{self._first}.txt").write_text(table + "\n")
        self.say(f"{TRACED} batches traced: {trace}\n{table}")
