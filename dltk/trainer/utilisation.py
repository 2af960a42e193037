"""Which share of the devices' arithmetic a training uses: model FLOPs utilisation.

Chowdhery et al., "PaLM: scaling language modeling with pathways", arXiv 2204.02311 (2022), section 4.1: operations of
one forward and one backward pass of the model, not those that an implementation adds to them by computing activations
again, times the samples a second, over what the devices could do. Operations are those of matrix products and
convolutions, a multiplication and an addition being two.

What a device could do is measured, not read from a data sheet: large matrix products in the training's precision, with
the threads that the process has.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, flop_registry

from dltk.tasks.task import Batch, Task

TYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
SIDES = (256, 512, 1024, 2048, 4096, 8192)  # of the matrices multiplied; the largest are for GPUs
SECONDS = 0.02  # products of one size are timed until they took so long,
REPEATS = 2  # and there were so many
LONGEST = 0.4  # seconds that those of the next size may take, as it seems


class ModelFlops:
    """Counts the operations of a forward and a backward pass while its `with` block lasts."""

    def __init__(self) -> None:
        self._in_backward = False
        formulas = {**flop_registry, torch.ops.aten.convolution_backward: _convolution_backward}
        once = {operation: self._once(formula) for operation, formula in formulas.items()}
        self._counter = FlopCounterMode(display=False, custom_mapping=once)

    def __enter__(self) -> "ModelFlops":
        """Begin."""
        self._counter.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """End; the count stays."""
        self._counter.__exit__(*error)

    def begin_backward(self) -> None:
        """The forward pass is over."""
        self._in_backward = True

    @property
    def total(self) -> int:
        """Operations so far."""
        return self._counter.get_total_flops()

    def _once(self, formula: Callable[..., int]) -> Callable[..., int]:
        """A formula that leaves out what is computed again: of a backward pass only that builds a graph."""

        @functools.wraps(formula)
        def flops(*arguments: Any, **more: Any) -> int:
            return 0 if self._in_backward and torch.is_grad_enabled() else formula(*arguments, **more)

        flops._get_raw = True  # type: ignore[attr-defined]  # hand it the tensors: the formula takes their shapes
        return flops


def _convolution_backward(
    gradient: Tensor,
    maps: Tensor,
    weight: Tensor,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    needed: list[bool],
    **more: Any,
) -> int:
    """Each gradient takes as much as the forward pass. Torch's own formula takes groups to see each other's maps."""
    once = conv_flop_count(list(maps.shape), list(weight.shape), list(gradient.shape), transposed)
    return (needed[0] + needed[1]) * once


class Utilisation(Callback):
    """Measures the device when an attempt starts, and counts the FLOPs of its first micro-batch.

    Args:
        precision: of the training.
        compiled: whether the network is. While operations are counted torch runs it uncompiled, and rounds otherwise;
            so it is counted in a pass of its own, of which nothing is kept.
    """

    def __init__(self, precision: str, *, compiled: bool = False) -> None:
        self.type = TYPES[precision]
        self.compiled = compiled
        self.flops = 0.0  # of one sample, forward and backward; 0 while unknown
        self.peak = 0.0  # FLOPs a second of the process's device
        self._counting: ModelFlops | None = None

    def share(self, samples_per_second: float, processes: int) -> float | None:
        """The share of what the devices of all processes could do; None where the FLOPs of a sample are unknown."""
        return self.flops * samples_per_second / (processes * self.peak) if self.flops else None

    def on_train_start(self, trainer: Trainer, task: Task) -> None:
        """Measure the device, unless the task moves nothing by gradients."""
        if trainer.optimizers:
            self.peak = matrix_rate(task.device, self.type)
        else:
            self._leave()

    def on_train_batch_start(self, trainer: Trainer, task: Task, batch: Batch, batch_idx: int) -> None:
        """Begin to count."""
        self._rows = len(batch["weight"])
        if self.compiled:
            with trainer.precision_plugin.forward_context():
                self._keep(_count_apart(task, batch))
            self._leave()
        else:
            self._counting = ModelFlops()
            self._counting.__enter__()

    def on_before_backward(self, trainer: Trainer, task: Task, loss: Tensor) -> None:
        """What is counted from here on is the backward pass."""
        assert self._counting is not None
        self._counting.begin_backward()

    def on_after_backward(self, trainer: Trainer, task: Task) -> None:
        """Both passes are counted."""
        assert self._counting is not None
        self._keep(self._counting.total)
        self._leave()

    def on_train_batch_end(self, trainer: Trainer, task: Task, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """There was no backward pass."""
        self._leave()

    def on_exception(self, trainer: Trainer, task: Task, exception: BaseException) -> None:
        """Count no more."""
        self._leave()

    def _keep(self, total: int) -> None:
        self.flops = total / self._rows if self._rows else 0.0

    def _leave(self) -> None:
        """Stop counting. Lightning passes over a hook that cannot be called: from now on this costs a step nothing."""
        if self._counting is not None:
            self._counting.__exit__(None, None, None)
            self._counting = None
        for name in ("on_train_batch_start", "on_before_backward", "on_after_backward", "on_train_batch_end"):
            setattr(self, name, None)


def _count_apart(task: Task, batch: Batch) -> int:
    """Operations of a forward and a backward pass that leave no gradients, and buffers as they were."""
    before = {name: buffer.clone() for name, buffer in task.named_buffers()}
    parameters = [parameter for parameter in task.parameters() if parameter.requires_grad]
    with ModelFlops() as counting:
        loss = task.measure(batch)["loss"]
        counting.begin_backward()
        torch.autograd.grad(loss, parameters, allow_unused=True)
    with torch.no_grad():
        for name, buffer in task.named_buffers():
            buffer.copy_(before[name])
    return counting.total


def matrix_rate(device: torch.device, type_: torch.dtype) -> float:
    """FLOPs a second of the best of a few matrix products on a device, with the threads that this process has.

    They grow until the next would take too long: a CPU may have to imitate a precision at a hundredth of its speed.
    """
    best = 0.0
    for side in SIDES:
        left, right = (torch.ones(side, side, dtype=type_, device=device) for _ in range(2))
        _seconds(left, right)  # the first one chooses a kernel
        took: list[float] = []
        while len(took) < REPEATS or sum(took) < SECONDS:
            took.append(_seconds(left, right))
        best = max(best, 2 * side**3 / min(took))
        if 8 * min(took) * (1 + REPEATS) > LONGEST:
            break
    return best


def _seconds(left: Tensor, right: Tensor) -> float:
    """What one product takes, as a full layer lays its matrices."""
    _wait(left.device)
    began = time.perf_counter()
    nn.functional.linear(left, right)
    _wait(left.device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)
