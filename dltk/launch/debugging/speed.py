"""What a step costs: time, waiting for data, memory."""

import time
from statistics import median
from typing import Any

import lightning
import torch
from lightning import Callback
from torch import Tensor
from torch.optim import Optimizer

from dltk.launch.debugging.context import Context
from dltk.launch.debugging.finding import Finding, passed
from dltk.launch.debugging.training import train
from dltk.tasks.task import Batch, Task
from dltk.trainer.stopwatch import Stopwatch

WARM = 5  # steps not counted
MUCH_WAIT = 0.2


class Clock(Callback):
    """Seconds of each step, and those of it spent waiting for data; bytes of the optimiser's state."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self.stopwatch = stopwatch
        self.steps: list[float] = []
        self.waits: list[float] = []
        self.optimizer_bytes = 0
        self._at = time.perf_counter()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, task: Task, outputs: Any, batch: Batch, number: int
    ) -> None:
        """Read the clocks at a global batch's end."""
        if (number + 1) % trainer.accumulate_grad_batches:
            return
        if task.device.type == "cuda":
            torch.cuda.synchronize(task.device)
        now = time.perf_counter()
        self.steps.append(now - self._at)
        self.waits.append(self.stopwatch.read()["data_wait"])
        self._at = now

    def on_train_end(self, trainer: lightning.Trainer, task: Task) -> None:
        """Look at the optimiser's state."""
        self.optimizer_bytes = sum(_state_bytes(optimizer) for optimizer in trainer.optimizers)


def speed(context: Context) -> Finding:
    """How long a step and a batch take, and what the parameters need of memory."""
    stopwatch = Stopwatch()
    clock = Clock(stopwatch)
    task = context.task()
    data = context.data(steps=context.budget.timed_steps)
    train(context, task, data, callbacks=[clock], profiler=stopwatch, seconds=context.budget.seconds)
    warm = min(WARM, len(clock.steps) - 1)
    step, wait = median(clock.steps[warm:]), median(clock.waits[warm:])
    share = sum(clock.waits[warm:]) / sum(clock.steps[warm:])
    samples = data.samples_per_step
    weights = sum(parameter.numel() * parameter.element_size() for parameter in task.model.parameters())
    numbers = {
        "step_seconds": step,
        "batch_seconds": wait,
        "data_wait": share,
        "samples_per_second": samples / step,
        "parameter_bytes": weights,
        "optimizer_bytes": clock.optimizer_bytes,
    }
    peak = ""
    if context.place.accelerator == "cuda":
        numbers["device_bytes"] = torch.cuda.max_memory_allocated(context.place.device)
        peak = f", {size(numbers['device_bytes'])} on the device at most"
    advice = "; raise data.workers" if share > MUCH_WAIT else ""
    return passed(
        f"{1000 * step:.3g} ms a step of {samples:.4g} samples, {1000 * wait:.3g} ms of it waiting for the batch "
        f"({100 * share:.0f} %{advice}); parameters {size(weights)}, optimiser {size(clock.optimizer_bytes)}{peak}",
        **numbers,
    )


def size(count: float) -> str:
    """A number of bytes in the unit that suits it."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _state_bytes(optimizer: Optimizer) -> int:
    tensors = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
