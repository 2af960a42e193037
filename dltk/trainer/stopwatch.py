"""Where the time of a step goes: waiting for data, computing, the optimiser, logging.

Lightning calls a profiler around each part of its loop; this one only adds up seconds, so that it can stay on. While
steps are traced it also opens a range in the trace for each part.
Times are the host's: work that a device does beside the host counts where the host waits for it.
"""

import contextlib
import time
from collections import defaultdict
from contextlib import AbstractContextManager

from lightning.pytorch.profilers import Profiler
from torch.profiler import record_function

from dltk.trainer.shares import PART

PARTS = ("data_wait", "compute", "optimizer", "logging")
NOT_TIMED = contextlib.nullcontext("")  # reusable, it holds nothing


class Stopwatch(Profiler):
    """Seconds of each part of the training loop since the last reading."""

    def __init__(self) -> None:
        super().__init__()
        self._started: dict[str, float] = {}
        self._seconds: dict[str, float] = defaultdict(float)
        self._part_of: dict[str, str | None] = {}
        self.tracing = False
        self._ranges: dict[str, record_function] = {}

    def profile(self, action_name: str) -> AbstractContextManager[str]:
        """Around one part of the loop. Lightning calls this some sixty times a step, most of them for nothing."""
        return NOT_TIMED if self._part(action_name) is None else super().profile(action_name)

    def start(self, action_name: str) -> None:
        """Lightning enters a part of its loop."""
        if self._part(action_name) is not None:
            self._started[action_name] = time.perf_counter()
            if self.tracing:
                self._ranges[action_name] = record_function(PART + _title(action_name))
                self._ranges[action_name].__enter__()

    def stop(self, action_name: str) -> None:
        """Lightning leaves it."""
        if action_name in self._ranges:
            self._ranges.pop(action_name).__exit__(None, None, None)
        began = self._started.pop(action_name, None)
        part = self._part(action_name)
        if began is not None and part is not None:
            self._seconds[part] += time.perf_counter() - began

    def read(self) -> dict[str, float]:
        """Seconds by part since the last reading."""
        seconds = dict(self._seconds)
        self._seconds.clear()
        # The optimiser's step runs forward and backward inside itself.
        seconds["optimizer"] = max(0.0, seconds.get("optimizer", 0.0) - seconds.get("compute", 0.0))
        return {part: seconds.get(part, 0.0) for part in PARTS}

    def _part(self, action_name: str) -> str | None:
        if action_name not in self._part_of:
            self._part_of[action_name] = _part_of(action_name)
        return self._part_of[action_name]


def _part_of(action_name: str) -> str | None:
    if action_name == "[_TrainingEpochLoop].train_dataloader_next":
        return "data_wait"
    if action_name.startswith("[Strategy]") and action_name.endswith((".training_step", ".backward")):
        return "compute"
    if action_name.endswith(".optimizer_step"):
        return "optimizer"
    if action_name.startswith("[Callback]") and action_name.endswith(".on_train_batch_end"):
        return "logging"
    return None


def _title(action_name: str) -> str:
    """What a part is called in a trace, where the passes can be told apart."""
    part = _part_of(action_name)
    assert part is not None
    if part == "compute":
        return "backward" if action_name.endswith(".backward") else "forward"
    return part.replace("_", " ")
