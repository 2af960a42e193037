"""The network with its first weights on the run's first batches: losses, gradients, rectifiers, what is not finite."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from lightning import Callback
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

from dltk.launch.debugging.context import Context
from dltk.launch.debugging.training import train
from dltk.tasks.task import Batch, Task

RECTIFIERS = (F.relu, F.relu_, F.relu6, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)


@dataclass
class Rectifier:
    """A layer of rectifiers: which of its units were above zero on any sample so far."""

    alive: Tensor  # bool (units,)
    samples: int = 0


@dataclass
class FirstLook:
    """What was seen."""

    losses: list[float] = field(default_factory=list)  # mean of each global batch
    expected_loss: float | None = None
    detached: bool = False  # the loss has no gradient at all
    not_finite: str = ""  # where the first NaN or infinity stood
    gradients: dict[str, float] = field(default_factory=dict)  # largest component of each parameter; absent: none came
    rectifiers: dict[str, Rectifier] = field(default_factory=dict)  # by the layer before them

    @property
    def loss(self) -> float:
        """Mean over the batches."""
        return sum(self.losses) / len(self.losses) if self.losses else math.nan


class Detached(Exception):
    """The loss has no gradient, so there is nothing to go back through."""


def look(context: Context) -> FirstLook:
    """Train on the first batches with a learning rate of zero, and watch."""
    seen = FirstLook()
    task = context.task(rate=0.0)
    watching = _Watching(seen, mixed=context.settings["train"]["precision"] == "16-mixed")
    try:
        with _rectifiers(task.model, seen.rectifiers), _first_not_finite(task.model, watching.suspect):
            seen.losses = train(context, task, context.first_batches, callbacks=[watching]).losses
    except Detached:
        seen.detached = True
    seen.expected_loss = task.expected_loss()
    return seen


class Gradients(Callback):
    """The largest component of each parameter's gradient over all steps."""

    def __init__(self, largest: dict[str, float]) -> None:
        self.largest = largest

    def on_before_optimizer_step(self, trainer: lightning.Trainer, task: Task, optimizer: Optimizer) -> None:
        """Look at the gradients of a global batch."""
        for name, parameter in task.model.named_parameters():
            if parameter.requires_grad and parameter.grad is not None and parameter.numel():
                size = float(parameter.grad.abs().max())
                self.largest[name] = max(size, self.largest.get(name, 0.0))


class _Watching(Gradients):
    """Fills a FirstLook."""

    def __init__(self, seen: FirstLook, *, mixed: bool) -> None:
        super().__init__(seen.gradients)
        self.seen, self.mixed = seen, mixed
        self.module: str | None = None  # whose output was the first that is not finite, in this pass

    def suspect(self, name: str) -> None:
        """Hear of a module whose output is not finite."""
        self.module = name if self.module is None else self.module

    def on_train_batch_start(self, trainer: lightning.Trainer, task: Task, batch: Batch, number: int) -> None:
        """Look at the batch itself."""
        self.module = None
        for name, value in batch.items():
            if isinstance(value, Tensor) and not value.isfinite().all() and not self.seen.not_finite:
                bad = (~value.isfinite()).flatten(1).any(1) if value.ndim > 1 else ~value.isfinite()  # (b,)
                self.seen.not_finite = f"'{name}' of the sample '{batch['info'].keys[int(bad.int().argmax())]}'"

    def on_before_backward(self, trainer: lightning.Trainer, task: Task, loss: Tensor) -> None:
        """Look at the loss."""
        if not loss.isfinite() and not self.seen.not_finite:
            place = {None: "the loss", "": "the network's output"}
            self.seen.not_finite = place.get(self.module, f"the output of '{self.module}'")
        if not loss.requires_grad:
            raise Detached

    def on_before_optimizer_step(self, trainer: lightning.Trainer, task: Task, optimizer: Optimizer) -> None:
        """Look at the gradients of a global batch."""
        super().on_before_optimizer_step(trainer, task, optimizer)
        # With 16-mixed infinite gradients are how the scale of the loss is found.
        bad = [name for name, p in task.model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
        if bad and not self.mixed and not self.seen.not_finite:
            self.seen.not_finite = f"the gradient of '{bad[-1]}'"


@contextmanager
def _first_not_finite(model: nn.Module, suspect: Callable[[str], None]) -> Iterator[None]:
    def hook(name: str) -> Any:
        def after(module: nn.Module, inputs: Any, output: Any) -> None:
            outputs = output if isinstance(output, tuple | list) else [output]
            if any(isinstance(one, Tensor) and not one.isfinite().all() for one in outputs):
                suspect(name)

        return after

    handles = [module.register_forward_hook(hook(name)) for name, module in model.named_modules()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _rectifiers(model: nn.Module, found: dict[str, Rectifier]) -> Iterator[None]:
    """While it lasts, note the outputs of all rectifiers in a network, modules and functions alike."""
    mode = _Rectifiers(found)
    own = [(name, module) for name, module in model.named_modules() if [*module.parameters(recurse=False)]]
    handles = [module.register_forward_hook(lambda *_, name=name: mode.passed(name)) for name, module in own]
    handles.append(model.register_forward_pre_hook(lambda *_: mode.passed("the input")))
    try:
        with mode:
            yield
    finally:
        for handle in handles:
            handle.remove()


class _Rectifiers(TorchFunctionMode):
    def __init__(self, found: dict[str, Rectifier]) -> None:
        super().__init__()
        self.found, self.before = found, "the input"

    def passed(self, name: str) -> None:
        self.before = name

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        if function in RECTIFIERS and isinstance(output, Tensor) and output.ndim > 1:
            self._note(output.detach())
        return output

    def _note(self, output: Tensor) -> None:
        units = 1 if output.ndim in (2, 4, 5) else output.ndim - 1  # channels; the last of (b, t, n)
        alive = (output > 0).movedim(units, 0).flatten(1).any(1)  # (units,)
        known = self.found.setdefault(self.before, Rectifier(torch.zeros_like(alive)))
        if known.alive.shape == alive.shape:
            known.alive |= alive
            known.samples += output.shape[0]
