"""A few steps under torch's profiler: a trace to look at, and tables of what took the time."""

from collections.abc import Callable
from pathlib import Path

import torch
from lightning import Callback, Trainer
from torch.profiler import ProfilerAction, ProfilerActivity, profile, schedule

from dltk.tasks.task import Task
from dltk.trainer import shares
from dltk.trainer.stopwatch import Stopwatch

SKIPPED, WARMED, TRACED = 5, 2, 8  # batches: the first are not like the others
ROWS = 30  # layers shown
OPERATIONS = 100  # kinds of operations in the file


class Profiling(Callback):
    """Traces some batches near the start of an attempt, on the first process.

    Args:
        folder: gets `trace-STEP.json` (for chrome://tracing or Perfetto), `shares-STEP.txt` (what is printed) and
            `operations-STEP.txt`, by the first step.
        stopwatch: opens a range in the trace for each part of a step.
        compiled: whether the network is; its layers cannot be told apart then.
        say: prints the tables.
    """

    def __init__(self, folder: Path, stopwatch: Stopwatch, say: Callable[[str], None], compiled: bool = False) -> None:
        self.folder, self.stopwatch, self.say, self.compiled = folder, stopwatch, say, compiled
        self._profile: profile | None = None
        self._layers: shares.LayerRanges | None = None

    def on_train_start(self, trainer: Trainer, task: Task) -> None:
        """Begin, on the first process."""
        if not trainer.is_global_zero:
            return
        self._first = task.step
        self._world = trainer.world_size
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        plan = schedule(wait=SKIPPED, warmup=WARMED, active=TRACED, repeat=1)
        self._profile = profile(activities=activities, schedule=plan, on_trace_ready=self._write)
        self._profile.start()

    def on_train_batch_start(self, trainer: Trainer, task: Task, *_: object) -> None:
        """Tell the profiler that a batch begins, outside of all timed parts; open ranges while it traces."""
        if self._profile is None:
            return
        self._profile.step()
        traces = self._profile.current_action in (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)
        self.stopwatch.tracing = traces
        if traces and self._layers is None and not self.compiled:
            self._layers = shares.LayerRanges(task.model)
        if not traces:
            self._remove_ranges()

    def on_train_end(self, trainer: Trainer, task: Task) -> None:
        """Stop; a run that ends too early is traced up to there."""
        self._stop()

    def on_exception(self, trainer: Trainer, task: Task, exception: BaseException) -> None:
        """Stop."""
        self._stop()

    def _stop(self) -> None:
        self._remove_ranges()
        if self._profile is not None:
            self._profile.stop()
            self._profile = None

    def _remove_ranges(self) -> None:
        self.stopwatch.tracing = False
        if self._layers is not None:
            self._layers.remove()
            self._layers = None

    def _write(self, finished: profile) -> None:
        self.folder.mkdir(exist_ok=True)
        trace = self.folder / f"trace-{self._first}.json"
        finished.export_chrome_trace(str(trace))
        on_device = torch.cuda.is_available()
        key = "self_cuda_time_total" if on_device else "self_cpu_time_total"
        operations = finished.key_averages().table(sort_by=key, row_limit=OPERATIONS, max_name_column_width=60)
        (self.folder / f"operations-{self._first}.txt").write_text(operations + "\n")
        text = _tables(list(finished.events() or []), on_device, self._world)
        (self.folder / f"shares-{self._first}.txt").write_text(text + "\n")
        self.say(f"{text}\n\n{TRACED} batches traced: {trace}")


def _tables(events: list[shares.FunctionEvent], on_device: bool, world: int) -> str:
    """Which share of the traced steps each part took, and each layer."""
    whole = shares.in_steps(events)
    parts = shares.by_part(events)
    rows = [(part, shares.percent(spent, whole)) for part, spent in parts.items()]
    rows.append(("the rest", shares.percent(whole - sum(parts.values()), whole)))
    if world > 1:
        rows.append(("beside: communication", shares.percent(shares.in_communication(events), whole)))
    layers = list(shares.by_layer(events, on_device).items())
    sums = sum(spent.both for _, spent in layers)
    of_layers = [
        (name, *(shares.percent(spent, sums) for spent in (each.both, each.forward, each.backward)))
        for name, each in layers[:ROWS]
    ]
    tables = [shares.table(["part of a step", "time"], rows)]
    if of_layers:
        heading = "layer, on the device" if on_device else "layer"
        tables.append(shares.table([heading, "time", "forward", "backward"], of_layers))
    return "\n\n".join(tables)
