"""Which share of the devices' arithmetic a training uses: model FLOPs utilisation.

Chowdhery et al., "PaLM: scaling language modeling with pathways", arXiv 2204.02311 (2022), section 4.1: operations of
one forward and one backward pass of the model, not those that an implementation adds to them by computing activations
again, times the samples a second, over what the devices could do. Operations are those of matrix products and
convolutions, a multiplication and an addition being two.

Operations are counted in the first micro-batches, once for each shape. Those of other shapes, such as sentences of
other lengths, follow by least squares from them: a sum over the samples of a part that each has, of parts in proportion
to the length of each of its inputs, and to the lengths' products, padding counted. Where devices have different layers
each takes other operations, and no share is given.

What a device could do is measured, not read from a data sheet: large matrix products in the training's precision, with
the threads that the process has.
"""

import functools
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
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
WATCHED = 16  # micro-batches at an attempt's beginning, in which new shapes are counted
FAINT = 1e-2  # a combination of the shapes' parts that varies less than this share tells nothing

Shape = tuple[int, ...]  # of a micro-batch: samples, and numbers of each of a sample's inputs, padding counted


class ModelFlops:
    """Counts the operations of a forward and a backward pass while its `with` block lasts."""

    def __init__(self) -> None:
        self._in_backward = False
        formulas = {**flop_registry, **FORMULAS}
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


def _layer(inputs: Tensor, *weights: Any, **more: Any) -> int:
    """A recurrent layer of oneDNN's: tokens (t, b, e) times the weights of inputs, and states times those of states."""
    return _recurrent(inputs, weights[:2])


def _recurrent(inputs: Tensor, weights: Sequence[Tensor], *others: Any, **more: Any) -> int:
    """Recurrent layers of cuDNN's: each token (t, b, e), or (n, e) where they are packed, passes all matrices."""
    return 2 * inputs.shape[:-1].numel() * sum(weight.numel() for weight in weights if weight.ndim == 2)


def _twice(formula: Callable[..., int]) -> Callable[..., int]:
    """The way back: gradients of weights and inputs, which take as much as the way forth each."""
    return lambda *arguments, **more: 2 * formula(*arguments, **more)


# What torch has no formula for, or another.
FORMULAS = {
    torch.ops.aten.convolution_backward: _convolution_backward,
    torch.ops.aten.mkldnn_rnn_layer: _layer,
    torch.ops.aten.mkldnn_rnn_layer_backward: _twice(_layer),
    torch.ops.aten._cudnn_rnn: _recurrent,
    torch.ops.aten._cudnn_rnn_backward: _twice(_recurrent),
}


class Utilisation(Callback):
    """Measures the device when an attempt starts, and counts the FLOPs of its first micro-batches.

    Args:
        precision: of the training.
        compiled: whether the network is. While operations are counted torch runs it uncompiled, and rounds otherwise;
            so they are counted in passes of their own, of which nothing is kept.
    """

    def __init__(self, precision: str, *, compiled: bool = False) -> None:
        self.type = TYPES[precision]
        self.compiled = compiled
        self.peak = 0.0  # FLOPs a second of the process's device; of the others than the first nobody asks
        self.counted: dict[Shape, int] = {}  # operations, forward and backward
        self._since: Counter[Shape] = Counter()  # micro-batches since the share was read
        self._watched = 0
        self._counting: ModelFlops | None = None

    def add(self, batch: Batch) -> None:
        """A micro-batch was trained on."""
        if self.counted:
            self._since[shape_of(batch)] += 1

    def share(self, samples_per_second: float, processes: int) -> float | None:
        """The share of what the devices of all processes could do; None where no operations are known.

        The first process tells: what it could do, the others could.

        Args:
            samples_per_second: of all processes. Those of the others take what this one's do in the mean since the
                last reading.
            processes: each with a device.
        """
        samples = sum(shape[0] * times for shape, times in self._since.items())
        if not samples or not self.peak:
            return None
        operations = estimates(self.counted, list(self._since))
        flops = sum(operations[shape] * times for shape, times in self._since.items()) / samples
        self._since.clear()
        return flops * samples_per_second / (processes * self.peak)

    def on_train_start(self, trainer: Trainer, task: Task) -> None:
        """Measure the device, unless the task moves nothing by gradients, or devices compute different parts."""
        if not (trainer.optimizers and getattr(trainer.strategy, "alike", True)):
            self._leave()
        elif trainer.is_global_zero:
            self.peak = matrix_rate(task.device, self.type)

    def on_train_batch_start(self, trainer: Trainer, task: Task, batch: Batch, batch_idx: int) -> None:
        """Begin to count, if there is something new."""
        self._watched += 1
        self._shape = shape_of(batch)
        if self._shape in self.counted or self._shape[0] == 0:
            return
        if self.compiled:
            with trainer.precision_plugin.forward_context():
                self.counted[self._shape] = _count_apart(task, batch)
        else:
            self._counting = ModelFlops()
            self._counting.__enter__()

    def on_before_backward(self, trainer: Trainer, task: Task, loss: Tensor) -> None:
        """What is counted from here on is the backward pass."""
        if self._counting is not None:
            self._counting.begin_backward()

    def on_after_backward(self, trainer: Trainer, task: Task) -> None:
        """Both passes are counted."""
        if self._counting is not None:
            self.counted[self._shape] = self._counting.total
            self._pause()

    def on_train_batch_end(self, trainer: Trainer, task: Task, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Enough were watched, or there was no backward pass."""
        if self._watched >= WATCHED or self._counting is not None:
            self._leave()

    def on_exception(self, trainer: Trainer, task: Task, exception: BaseException) -> None:
        """Count no more."""
        self._leave()

    def _pause(self) -> None:
        if self._counting is not None:
            self._counting.__exit__(None, None, None)
            self._counting = None

    def _leave(self) -> None:
        """Stop counting. Lightning passes over a hook that cannot be called: from now on this costs a step nothing."""
        self._pause()
        for name in ("on_train_batch_start", "on_before_backward", "on_after_backward", "on_train_batch_end"):
            setattr(self, name, None)


def shape_of(batch: Batch) -> Shape:
    """The samples of a micro-batch, and how many numbers each input of a sample has, padding counted."""
    inputs = (value for value in batch.values() if isinstance(value, Tensor) and value.ndim > 1)
    return (len(batch["weight"]), *(value.shape[1:].numel() for value in inputs))


def estimates(counted: Mapping[Shape, int], shapes: list[Shape]) -> dict[Shape, float]:
    """Operations of micro-batches of some shapes in the mean, from those that were counted.

    A network that passes over padding takes different ones for one shape.
    """
    known = np.array([_parts(shape) for shape in counted])  # (c, p)
    largest = known.max(0).clip(min=1)
    factors = np.linalg.lstsq(known / largest, np.array(list(counted.values()), float), rcond=FAINT)[0]  # (p,)
    return {shape: float(_parts(shape) / largest @ factors) for shape in shapes}


def _parts(shape: Shape) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """What its operations are a sum of, up to factors: the samples times the products of any of the lengths (p,)."""
    samples, *lengths = shape
    chosen = (part for n in range(len(lengths) + 1) for part in itertools.combinations(lengths, n))
    return np.array([samples * math.prod(part) for part in chosen], dtype=np.float64)


def _count_apart(task: Task, batch: Batch) -> int:
    """Operations of a forward and a backward pass that leave no gradients, and buffers and the task as they were."""
    carried = getattr(task, "carried", None)  # what a task hands on from batch to batch
    kept = None if carried is None else carried.clone()
    before = {name: buffer.clone() for name, buffer in task.named_buffers()}
    parameters = [parameter for parameter in task.parameters() if parameter.requires_grad]
    with ModelFlops() as counting:
        loss = task.measure(batch)["loss"]
        counting.begin_backward()
        torch.autograd.grad(loss, parameters, allow_unused=True)
    with torch.no_grad():
        for name, buffer in task.named_buffers():
            buffer.copy_(before[name])
    if hasattr(task, "carried"):
        task.carried = kept
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
