"""The check that two runs from one seed agree to the bit."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dltk.launch.debugging.context import Context, per_step
from dltk.launch.debugging.finding import Finding, failed, inconclusive, passed
from dltk.launch.debugging.training import train
from dltk.tasks.task import Batch

STEPS = 4


def same_seed(context: Context) -> Finding:
    """Two runs from one seed have the same batches, first weights, and weights after some steps.

    The second reads its batches backwards, and begins with other states of the global generators: neither may matter.
    """
    first, second = (read(context, backwards=backwards) for backwards in (False, True))
    place = _first_difference(first, second)
    if place:
        return _name_culprit(context, place)
    weights = [_weights(context, first, seed=seed) for seed in (1, 2)]
    for (when, one), (_, other) in zip(*weights, strict=True):
        for name, value in one.items():
            if not same(value, other[name]):
                if not context.settings["train"]["deterministic"]:
                    return inconclusive(f"the weights differ {when}; train.deterministic is false", first=name)
                remedy = "Draw from torch's global generator, which is seeded, and use deterministic operations only."
                return failed(f"the weights differ {when}, first in '{name}'", remedy, differ="weights", first=name)
    return passed(f"{STEPS} batches, the first weights, and the weights after {STEPS} steps", steps=STEPS)


def read(context: Context, *, backwards: bool, augment: bool = True) -> list[Batch]:
    """The first batches in their order, read in this or the opposite one."""
    steps = list(range(STEPS))
    with disturbed(1 + backwards):
        groups = per_step(context.batches(steps[::-1] if backwards else steps, augment=augment), context.accumulate)
    return [batch for group in (groups[::-1] if backwards else groups) for batch in group]


def _name_culprit(context: Context, place: str) -> Finding:
    plain = [read(context, backwards=backwards, augment=False) for backwards in (False, True)]
    if _first_difference(*plain):
        remedy = "The data set draws at random: draw from a generator seeded by the sample's number alone."
        return failed(f"the batches differ: {place}", remedy, differ="batches", by="data", first=place)
    chosen = context.settings["data"]["augment"]
    name = chosen["name"] if isinstance(chosen, Mapping) else chosen
    return failed(
        f"the batches differ: {place}; without the augmentation '{name}' they are the same",
        "Draw from the generator that a transform is given, `transform(image, rng)`, and keep no state.",
        differ="batches",
        by="augment",
        first=place,
    )


def _first_difference(first: list[Batch], second: list[Batch]) -> str:
    for one, other in zip(first, second, strict=True):
        info = one["info"]
        if info.keys != other["info"].keys:
            return f"other samples in batch {info.step}"
        for name, value in one.items():
            if isinstance(value, Tensor) and not same(value, other[name]):
                count = sum(not same(a, b) for a, b in zip(value, other[name], strict=True))
                return f"'{name}' of {count} of {len(value)} samples in batch {info.step}"
    return ""


def _weights(context: Context, batches: list[Batch], *, seed: int) -> list[tuple[str, dict[str, Tensor]]]:
    """The state of the network before and after some steps."""
    with disturbed(seed):
        task = context.task()
        before = {name: value.clone() for name, value in task.model.state_dict().items()}
        train(context, task, batches)
    after = {name: value.cpu() for name, value in task.model.state_dict().items()}
    return [("before the first step", before), (f"after {STEPS} steps", after)]


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors agree to the bit; NaN equals NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(((one == other) | ((one != one) & (other != other))).all())


@contextmanager
def disturbed(seed: int) -> Iterator[None]:
    """While it lasts, the global generators stand elsewhere."""
    numpy_state: Any = np.random.get_state()
    state = random.getstate()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(numpy_state)
