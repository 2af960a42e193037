"""Checks of networks that are fitted at once: there is no optimiser, no step and no learning rate."""

import math
import time
from dataclasses import dataclass

from dltk.launch.debugging.context import Context
from dltk.launch.debugging.finding import Finding, failed, inconclusive, not_applicable, passed
from dltk.launch.debugging.held_out import ERRORS, REMEDY, Measured, measure
from dltk.launch.debugging.speed import size
from dltk.launch.debugging.training import train
from dltk.tasks.task import Task

SAMPLES = 2000  # fitted at most: the time grows with their square


@dataclass(frozen=True)
class Fitted:
    """A network fitted to some training samples, measured on them and on held-out ones."""

    task: Task
    seconds: float  # for fitting
    predicting: float  # seconds for each sample
    own: Measured | None
    others: Measured | None


def fit(context: Context) -> Fitted:
    """Fit a fresh network to the first batches of the data."""
    data = context.data(augment=False)
    steps = min(data.steps_per_epoch(0), -(-SAMPLES // data.batch))
    batches = context.batches(range(steps), augment=False)
    task = context.task()
    began = time.perf_counter()
    train(context, task, batches)
    fitted = time.perf_counter()
    own = measure(context, task, batches)
    seconds = time.perf_counter() - fitted
    samples = sum(len(batch["weight"]) for batch in batches)
    return Fitted(task, fitted - began, seconds / samples, own, measure(context, task, context.held_out))


def finite(context: Context) -> Finding:
    """The losses of a fitted network are finite."""
    parts = {"the samples fitted": context.once(fit).own, "held-out samples": context.once(fit).others}
    bad = [
        name
        for name, measured in parts.items()
        if measured and len(measured.targets) and not math.isfinite(measured.loss)
    ]
    if bad:
        return failed(f"the loss on {bad[0]} is NaN or infinite", "Look at the samples' values.", where=bad[0])
    return passed("the losses of the fitted network")


def own_samples(context: Context) -> Finding:
    """The network knows the samples that it was fitted to."""
    own = context.once(fit).own
    if own is None:
        return not_applicable("the task gives no class scores")
    numbers = {"error": own.error, "majority_error": own.majority_error, "samples": len(own.targets)}
    says = f"error {100 * own.error:.3g} % on the {len(own.targets)} samples it was fitted to"
    if own.error < own.majority_error / 2:
        return passed(says, **numbers)
    remedy = "Look at the scale of the images (task.mean, task.std) and at the network's settings."
    return failed(f"{says}, {100 * own.majority_error:.3g} % by naming one class always", remedy, **numbers)


def held_out(context: Context) -> Finding:
    """The network's guesses on held-out samples are better than chance."""
    others = context.once(fit).others
    if others is None:
        return not_applicable("the task gives no class scores")
    if len(others.targets) == 0:
        return inconclusive("the data have no validation part")
    chance = others.chance_error
    numbers = {"error": others.error, "chance_error": chance, "samples": len(others.targets)}
    says = f"held-out error {100 * others.error:.3g} %, by chance {100 * chance:.3g} %"
    return passed(says, **numbers) if others.informed else failed(says, REMEDY, standard_errors=ERRORS, **numbers)


def speed(context: Context) -> Finding:
    """How long fitting and predicting take, and what the fitted network needs of memory."""
    fitted = context.once(fit)
    state = sum(value.numel() * value.element_size() for value in fitted.task.model.state_dict().values())
    count = len(fitted.own.targets) if fitted.own else 0
    return passed(
        f"{fitted.seconds:.3g} s to fit {count} samples, {1000 * fitted.predicting:.3g} ms to judge one; {size(state)}",
        fit_seconds=fitted.seconds,
        sample_seconds=fitted.predicting,
        state_bytes=state,
    )
