"""A running average of the weights, used for evaluation (Polyak and Juditsky, SIAM J. Control Optim. 30, 1992)."""

from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor

from dltk.tasks.task import Task


class Average(Callback):
    """Keeps average <- decay * average + (1 - decay) * weights, and puts it in place while evaluating.

    Args:
        decay: share of the old average kept at each step; early steps use min(decay, (1 + t) / (10 + t)).
    """

    def __init__(self, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"ema is {decay}, the share of the average kept at each step. Set it between 0 and 1")
        self.decay = decay
        self._saved: dict[str, Tensor] = {}  # whole, from a checkpoint
        self._average: dict[str, Tensor] = {}  # this process's parts
        self._weights: dict[str, Tensor] = {}  # the trained ones, while the average stands in their place

    def on_train_start(self, trainer: Trainer, task: Task) -> None:
        """Begin with the weights themselves, unless a checkpoint brought an average."""
        shards = task.shards
        for name, parameter in task.model.named_parameters():
            saved = self._saved.pop(name, None)
            begun = shards.part(parameter) if saved is None else shards.cut(parameter, saved)
            self._average[name] = begun.clone()

    def on_train_batch_end(self, trainer: Trainer, task: Task, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Move the average after each optimiser step."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        step = batch["info"].step
        decay = min(self.decay, (1 + step) / (10 + step))
        with torch.no_grad():
            weights = [task.shards.part(parameter) for parameter in task.model.parameters()]
            torch._foreach_lerp_(list(self._average.values()), weights, 1 - decay)

    def on_validation_start(self, trainer: Trainer, task: Task) -> None:
        """Evaluate the average."""
        if self._average:
            self._weights = _exchange(task, self._average)

    def on_validation_end(self, trainer: Trainer, task: Task) -> None:
        """Go on training the weights."""
        if self._weights:
            _exchange(task, self._weights)
            self._weights = {}

    def on_save_checkpoint(self, trainer: Trainer, task: Task, checkpoint: dict[str, Any]) -> None:
        """Save the trained weights, also when they have stepped aside (a stop in the middle of a validation)."""
        if self._weights:
            checkpoint["state_dict"] |= {f"model.{name}": value for name, value in _joined(task, self._weights).items()}
        checkpoint["callbacks"][self.state_key]["average"] = _joined(task, self._average)

    def state_dict(self) -> dict[str, Any]:
        """A place for the average, by parameter name; it is put there by `on_save_checkpoint`, which knows the task."""
        return {"average": {}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with a saved average."""
        self._saved = dict(state_dict["average"])


def _joined(task: Task, parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """The whole tensors by parameter name; all processes must call it."""
    parameters = dict(task.model.named_parameters())
    return {name: task.shards.join(parameters[name], part) for name, part in parts.items()}


def _exchange(task: Task, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Put this process's parts of values in place of those of the parameters; returns what stood there."""
    before = {}
    with torch.no_grad():
        for name, parameter in task.model.named_parameters():
            part = task.shards.part(parameter)
            before[name] = part.clone()
            part.copy_(values[name])
    return before
