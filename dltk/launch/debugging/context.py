"""What all checks share: the recipe, and fresh tasks, data and batches made from it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
from torch import nn
from torch.optim import Optimizer

from dltk.assemble import build_data, build_task
from dltk.data.datamodule import DataModule
from dltk.data.dataset import keys_of
from dltk.data.loader import Reader, TrainLoader
from dltk.optim import Constant
from dltk.tasks.task import Batch, Task
from dltk.trainer.config import BatchConfig, accumulation, section
from dltk.trainer.make import Place

HELD_OUT_PART = "val"
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much each check may do."""

    batches: int = 8  # global batches seen with the first weights
    rate_steps: int = 30  # at each learning rate
    one_batch_steps: int = 3000  # on one batch
    steps: int = 200  # before the held-out loss must have fallen
    memorised: int = 128  # training samples learned by heart, where the held-out loss has not fallen
    memorise_steps: int = 1500
    held_out: int = 500  # samples
    timed_steps: int = 30
    seconds: float = 60.0  # of one check


class Context:
    """Makes whatever a check needs; checks share nothing but batches and what `once` keeps.

    Args:
        settings: of a checked recipe, the place's variables resolved.
        place: the process; there is one.
        budget: how much the checks may do.
    """

    def __init__(self, settings: Mapping[str, Any], place: Place = Place(), budget: Budget = Budget()) -> None:  # noqa: B008
        # Compiling takes longer than all checks, and hides the layers from them.
        self.settings = {**settings, "train": {**settings["train"], "compile": False}}
        self.place, self.budget = place, budget
        self._made: dict[Any, Any] = {}
        self.by_gradient = settings["optimizer"] is not None
        self.accumulate = accumulation(section(settings, "batch", BatchConfig), place.world)

    def once(self, make: Callable[["Context"], Made]) -> Made:
        """What `make` gives for this context, made when the first check asks."""
        if make not in self._made:
            self._made[make] = make(self)
        return self._made[make]

    def task(self, *, rate: float = 1.0, plain: bool = False) -> Task:
        """A task with the recipe's first weights.

        The learning rate stays the same; where the recipe has a warm-up, it is one of half the `rate_steps`.

        Args:
            rate: factor of the learning rate.
            plain: without dropout and weight decay.
        """
        task = build_task(self.settings)
        procedure = task.procedure
        warmup = self.budget.rate_steps / 2 if getattr(procedure.schedule, "warmup", 0) else 0.0
        procedure.schedule = Constant(warmup=warmup)
        if procedure.optimizer is not None:
            procedure.optimizer = partial(_optimizer, procedure.optimizer, rate, plain)
        if plain:
            _switch_dropout_off(task.model)
        return task

    def data(self, *, augment: bool = True, steps: int | None = None) -> DataModule:
        """The recipe's data; `steps` is the length of a training on them."""
        settings = self.settings if augment else _changed(self.settings, "data", augment="none")
        if steps is not None:
            settings = _changed(settings, "train", steps=steps, epochs=None)
        return build_data(settings, whole_run=steps is not None)

    def batches(self, steps: Iterable[int], *, augment: bool = True) -> list[Batch]:
        """The micro-batches of some global batches of the run, read afresh in this process."""
        data = self.data(augment=augment)
        part = data.part("train")
        reader = Reader(part, keys_of(part, "train"), seed=data.seed, augment=data.augment)
        return [batch for step in steps for batch in self._loader(data, reader, step)]

    def _loader(self, data: DataModule, reader: Reader, step: int) -> TrainLoader:
        span = (step, 1)
        return TrainLoader(reader, data.plan, accumulate=self.accumulate, span=lambda: span, damage=data.damage)

    @cached_property
    def first_batches(self) -> list[Batch]:
        """The micro-batches of the run's first global batches, augmented."""
        return self.batches(range(self.budget.batches))

    @cached_property
    def held_out(self) -> list[Batch]:
        """Samples of the validation part, evenly spaced, batched as in evaluation; none where there is no part."""
        data = self.data(augment=False)
        part = data.part(HELD_OUT_PART)
        count = min(len(part), self.budget.held_out)
        numbers = np.linspace(0, len(part) - 1, count).round().astype(np.int64)  # (count,)
        size = data.eval_batch or 2 * max(1, data.batch // self.accumulate)
        reader = Reader(part, keys_of(part, HELD_OUT_PART))
        lengths = getattr(part, "lengths", None)
        cuts = data.cuts(None if lengths is None else np.asarray(lengths)[numbers], size, self.accumulate)
        order, ends = cuts or (np.arange(count), np.arange(size, count, size))
        chunks = np.split(numbers[order], ends[ends < count])
        return [
            reader.read(chunk, epoch=0, step=step, micro=0, places=chunk, samples=len(chunk))
            for step, chunk in enumerate(chunks)
        ]


def per_step(batches: Sequence[Batch], accumulate: int) -> list[list[Batch]]:
    """Micro-batches by global batch."""
    return [list(batches[start : start + accumulate]) for start in range(0, len(batches), accumulate)]


def _optimizer(make: Any, rate: float, plain: bool, model: nn.Module) -> Optimizer:
    optimizer: Optimizer = make(model)
    for group in optimizer.param_groups:
        if "lr" in group:
            group["lr"] *= rate
        if plain and "weight_decay" in group:
            group["weight_decay"] = 0.0
    return optimizer


def _switch_dropout_off(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):  # recurrent layers, attention
            module.dropout = 0.0  # type: ignore[assignment]


def _changed(settings: Mapping[str, Any], name: str, **values: Any) -> dict[str, Any]:
    return {**settings, name: {**settings[name], **values}}
