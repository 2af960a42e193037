"""The check that what is learned holds for samples not learned from, which finds shuffled labels."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dltk.launch.debugging.context import Context
from dltk.launch.debugging.finding import Finding, failed, inconclusive, not_applicable, passed
from dltk.launch.debugging.training import frozen, to_device, train
from dltk.tasks.task import Batch, Task

MOST_CLASSES = 100
EVERY = 20  # steps between looks at the held-out samples
BELOW = 0.95  # of the labels' entropy
BY_HEART = 2 / 3  # of the error by chance, on the samples learned by heart
ERRORS = 2.0  # standard errors by which a share must differ from chance
REMEDY = "The labels say nothing of the images: look at how they are paired, and at the order of files and targets."


@dataclass(frozen=True)
class Measured:
    """A network on some samples."""

    loss: float
    classes: int
    guesses: Tensor  # int64 (n,)
    targets: Tensor  # int64 (n,)

    @property
    def error(self) -> float:
        """Share of wrong guesses."""
        return float((self.guesses != self.targets).double().mean())

    @property
    def majority_error(self) -> float:
        """Share of samples that are not of the most frequent class."""
        return 1 - float(_shares(self.targets, self.classes).max())

    @property
    def entropy(self) -> float:
        """Of the labels' distribution: the least cross-entropy of a prediction that is the same for all samples."""
        return float(torch.special.entr(_shares(self.targets, self.classes)).sum())

    @property
    def chance_error(self) -> float:
        """The error if guesses and targets had nothing to do with each other, each as frequent as it is."""
        return 1 - float(_shares(self.guesses, self.classes) @ _shares(self.targets, self.classes))

    @property
    def informed(self) -> bool:
        """Whether the guesses have something to do with the targets."""
        chance = self.chance_error
        return self.error < chance - ERRORS * math.sqrt(chance * (1 - chance) / len(self.targets))


@dataclass(frozen=True)
class Level:
    """What the held-out samples must come below: a loss where the labels' entropy is one, else a share of errors."""

    name: str
    chance: float
    below: float
    by_loss: bool

    def of(self, measured: Measured) -> float:
        """The same quantity of a network."""
        return measured.loss if self.by_loss else measured.error


def held_out(context: Context) -> Finding:
    """The held-out loss falls below the labels' entropy, or the network cannot even learn its own samples by heart."""
    task = context.task()
    first = measure(context, task, context.held_out)
    if first is None:
        return not_applicable("the task gives no class scores")
    if first.classes > MOST_CLASSES:
        return inconclusive(
            f"{first.classes} classes are too many to learn anything of in {context.budget.steps} steps"
        )
    if len(first.targets) == 0:
        return inconclusive("the data have no validation part")
    level = _level(task, first)
    best, steps, late, last = _train(context, task, level)
    numbers = {"level": level.chance, "below": level.below, "best": best, "steps": steps, "samples": len(last.targets)}
    story = f"{level.name} {best:.3g} after {steps} steps, chance is {level.chance:.3g}"
    if best < level.below:
        return passed(story, **numbers)
    if last.informed:
        return inconclusive(f"{story}; the guesses are better than chance already", **numbers)
    if late:
        return inconclusive(f"{story}, when {context.budget.seconds:.0f} s were over", **numbers)
    return _by_heart(context, story, numbers)


def _level(task: Task, first: Measured) -> Level:
    if task.expected_loss() is not None:
        return Level("held-out loss", first.entropy, BELOW * first.entropy, by_loss=True)
    chance = first.majority_error
    spread = math.sqrt(chance * (1 - chance) / len(first.targets))
    return Level("held-out error", chance, chance - ERRORS * spread, by_loss=False)


def _train(context: Context, task: Task, level: Level) -> tuple[float, int, bool, Measured]:
    """Train as the recipe says; the best held-out value, the steps, whether time was up, the last measurement."""
    best, last = math.inf, None

    def enough(step: int, means: dict[str, float]) -> bool:
        nonlocal best, last
        if step % EVERY and step != context.budget.steps:
            return False
        last = measure(context, task, context.held_out)
        assert last is not None
        best = min(best, level.of(last))
        return best < level.below

    seconds = context.budget.seconds
    watch = train(context, task, context.data(steps=context.budget.steps), until=enough, seconds=seconds)
    if last is None:  # time was up before the first look
        enough(0, {})
    assert last is not None
    return best, len(watch.losses), watch.late, last


def _by_heart(context: Context, story: str, numbers: dict[str, float]) -> Finding:
    """Learn some samples by heart, with whatever labels they have: do the others gain anything?"""
    count = max(1, math.ceil(context.budget.memorised / context.data().samples_per_step))
    batches = context.batches(range(count), augment=False)
    task = context.task(plain=True)
    own: list[Measured] = []

    def enough(step: int, means: dict[str, float]) -> bool:
        if step % EVERY:
            return False
        measured = measure(context, task, batches)
        assert measured is not None
        own.append(measured)
        return measured.error < BY_HEART * measured.chance_error

    steps, seconds = context.budget.memorise_steps, context.budget.seconds
    train(context, task, batches, steps=steps, until=enough, seconds=seconds)
    others = measure(context, task, context.held_out)
    if not own or others is None or own[-1].error >= BY_HEART * own[-1].chance_error:
        return inconclusive(f"{story}; the training loss has not fallen either", **numbers)
    learned = f"{len(own[-1].targets)} samples learned (error {100 * own[-1].error:.0f} %)"
    gained = f"give an error of {100 * others.error:.0f} % on others, by chance {100 * others.chance_error:.0f} %"
    numbers |= {"own_error": own[-1].error, "other_error": others.error, "chance_error": others.chance_error}
    if others.informed:
        return inconclusive(f"{story}; but {learned} {gained}", **numbers)
    return failed(f"{story}; {learned} {gained}", REMEDY, **numbers)


def measure(context: Context, task: Task, batches: list[Batch]) -> Measured | None:
    """A task on batches, in evaluation mode; None where it gives no scores of classes."""
    loss = weight = 0.0
    guesses, targets, classes = [], [], 0
    with frozen(context, task):
        for batch in batches:
            on_device = to_device(context, task, batch)
            measures = task.measure(on_device)
            scores = measures.get("scores")
            if scores is None or scores.ndim != 2 or "target" not in batch or batch["target"].ndim != 1:
                return None
            real = on_device["weight"] > 0
            loss, weight = loss + float(measures["loss"]), weight + float(measures["weight"])
            guesses.append(scores[real].argmax(1).cpu())
            targets.append(on_device["target"][real].cpu())
            classes = scores.shape[1]
    if not guesses:
        empty = torch.zeros(0, dtype=torch.int64)
        return Measured(math.nan, 0, empty, empty)
    return Measured(loss / max(weight, 1.0), classes, torch.cat(guesses), torch.cat(targets))


def _shares(labels: Tensor, classes: int) -> Tensor:
    """Share of each class (k,) among labels (n,)."""
    return torch.bincount(labels, minlength=classes).double() / max(1, len(labels))
