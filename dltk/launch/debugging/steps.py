"""Checks of the first steps: the learning rate, and one batch learned by heart."""

import math
import time
from statistics import fmean

from dltk.launch.debugging.context import Context
from dltk.launch.debugging.finding import Finding, failed, inconclusive, passed
from dltk.launch.debugging.first_look import look
from dltk.launch.debugging.training import Watch, train

LARGER = (10.0, 100.0, 1000.0)  # tried where the loss does not move at all
SMALLER = (0.1, 0.01, 0.001)  # learning rates tried, as factors of the recipe's
LONGER = 3  # times as many steps, where a smaller rate is ahead in the first
EXPLODED = 1.5  # times the first loss
FALLEN = 0.97
PLAINLY_FALLEN = 0.9
FITTED = 0.1  # of the first loss on the batch
FITTED_WITHOUT_ERROR = 0.5  # enough where every sample is right: smoothed targets leave a rest
STILL_FALLING = 0.95  # the last quarter's loss over that of the quarter before


def learning_rate(context: Context) -> Finding:
    """The loss falls in the first steps, or soon after, or no smaller rate does better."""
    first = context.once(look).loss
    count = context.budget.rate_steps
    ends = {1.0: _end(context, 1.0, count)}
    if ends[1.0] < _times(first, FALLEN):
        return passed(f"the loss {_moves(first, ends[1.0])} in {count} steps", first=first, last=ends)
    ends |= {factor: _end(context, factor, count) for factor in SMALLER}
    best = min(SMALLER, key=lambda factor: (not math.isfinite(ends[factor]), ends[factor]))
    exploded = not ends[1.0] < _times(first, EXPLODED)
    story = f"the loss {_moves(first, ends[1.0])} in {count} steps"
    if exploded and not ends[best] < _times(first, EXPLODED):
        remedy = "No smaller rate helps: look at the loss, the first weights and the scale of the data."
        return failed(f"{story}, and explodes at a thousandth of the rate too", remedy, first=first, last=ends)
    if not exploded and ends[best] < _times(first, PLAINLY_FALLEN):
        later = _end(context, 1.0, LONGER * count)  # a rate that is high, and yet learns, is slow at first
        if later < _times(first, PLAINLY_FALLEN):
            says = f"{story}, and to {later:.3g} in {LONGER * count}"
            return passed(says, first=first, last=ends, later=later)
    if exploded or ends[best] < _times(first, PLAINLY_FALLEN):
        rate = context.settings["optimizer"].get("lr")
        remedy = f"Multiply optimizer.lr by {best:g}." if rate is None else f"Set optimizer.lr={rate * best:g}."
        says = f"{story}, with {best:g} of the rate to {ends[best]:.3g}"
        return failed(says, remedy, first=first, last=ends, factor=best)
    return passed(f"{story}, and no smaller rate does better (a plateau)", first=first, last=ends)


def _end(context: Context, factor: float, count: int) -> float:
    """The mean loss of the last fifth of `rate_steps` at the end of so many; infinite where one is not finite."""
    watch = train(
        context,
        context.task(rate=factor),
        context.data(steps=count),
        until=lambda step, means: not math.isfinite(means.get("loss", math.nan)),
    )
    if not all(map(math.isfinite, watch.losses)):
        return math.inf
    return fmean(watch.losses[-max(1, context.budget.rate_steps // 5) :])


def _moves(first: float, last: float) -> str:
    return f"goes from {first:.3g} to " + (f"{last:.3g}" if math.isfinite(last) else "NaN or infinity")


def _times(first: float, factor: float) -> float:
    """A loss `factor` times the first; losses may be negative."""
    return first + (factor - 1) * abs(first)


def one_batch(context: Context) -> Finding:
    """One batch can be learned by heart, without augmentation, dropout and weight decay."""
    began = time.monotonic()
    watch = _learn(context, 1.0, context.budget.seconds)
    first, last, count = watch.losses[0], watch.losses[-1], len(watch.losses)
    numbers = {"first": first, "last": last, "steps": count, "seconds": round(time.monotonic() - began, 2)}
    story = f"the loss goes from {first:.3g} to {last:.3g} in {count} steps"
    if _fitted(first, watch.means[-1], _least(context)):
        return passed(story, **numbers)
    if watch.late:
        return inconclusive(f"{story}, when {context.budget.seconds:.0f} s were over", **numbers)
    if first <= 0:
        return inconclusive(f"{story}; what a loss that can be negative falls to is not known", **numbers)
    quarter = max(1, count // 4)
    if fmean(watch.losses[-quarter:]) < STILL_FALLING * fmean(watch.losses[-2 * quarter : -quarter]):
        return inconclusive(f"{story}, and is still falling", **numbers)
    return _stuck(context, first, last, story, numbers, began)


def _stuck(context: Context, first: float, last: float, story: str, numbers: dict[str, float], began: float) -> Finding:
    """The loss has stopped falling: does another learning rate help?"""
    unmoved = last > PLAINLY_FALLEN * first
    for factor in (*(LARGER if unmoved else ()), *SMALLER):
        left = context.budget.seconds - (time.monotonic() - began)
        if left <= 0:
            return inconclusive(f"{story}; {context.budget.seconds:.0f} s were over before other rates were tried")
        means = _learn(context, factor, left).means[-1]
        if factor > 1 and means["loss"] < PLAINLY_FALLEN * first:  # a rate that is low, or a plateau to cross
            says = f"{story}; with {factor:g} times the learning rate it falls to {means['loss']:.3g}"
            return inconclusive(says, **numbers, factor=factor)
        if factor < 1 and _fitted(first, means, _least(context)):
            remedy = f"With {factor:g} of the learning rate it can be learned: lower optimizer.lr."
            return failed(story, remedy, **numbers, factor=factor)
    remedy = "Look at what the scores pass through before the loss, and whether the targets fit the images."
    return failed(f"{story}, and stays there, also with other learning rates", remedy, **numbers)


def _learn(context: Context, factor: float, seconds: float) -> Watch:
    batch, least = context.batches([0], augment=False), _least(context)
    first: list[float] = []

    def enough(step: int, means: dict[str, float]) -> bool:
        first.append(means["loss"])
        return _fitted(first[0], means, least) or not math.isfinite(means["loss"])

    task = context.task(rate=factor, plain=True)
    return train(context, task, batch, steps=context.budget.one_batch_steps, until=enough, seconds=seconds)


def _least(context: Context) -> float:
    """The loss of a network that knows the batch by heart."""
    return context.task().least_loss(context.batches([0], augment=False))


def _fitted(first: float, means: dict[str, float], least: float) -> bool:
    no_error = means.get("top1_error") == 0.0
    return first > 0 and means["loss"] - least < (FITTED_WITHOUT_ERROR if no_error else FITTED) * (first - least)
