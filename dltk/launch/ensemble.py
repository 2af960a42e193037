"""Several runs as one: the mean of their predicted probabilities (Krizhevsky, Sutskever, Hinton 2012, section 6)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dltk.assemble import build_data
from dltk.data.dataset import keys_of
from dltk.errors import LaunchError
from dltk.launch.evaluation import Arrays, Evaluated
from dltk.run.folder import RunFolder
from dltk.tasks.classification import Classification
from dltk.tasks.protocols import normalised
from dltk.tasks.totals import Totals

SAME = "An ensemble needs runs of one data set with the same classes in the same order."


def require_alike(
    runs: Sequence[RunFolder], settings: Sequence[Mapping[str, Any]], split: str, remedy: str = SAME
) -> None:
    """See that runs can be averaged or compared: the same classes in the same order, the same samples in the split.

    Raises:
        LaunchError: they cannot; the message says what differs.
    """
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise LaunchError("", "RUN", "the same run is named twice", "Name each once.")
    first, *others = zip(runs, settings, strict=True)
    classes, keys = _facts(first[1], split)
    for run, its in others:
        theirs, samples = _facts(its, split)
        what = _other_classes(classes, theirs) or _other_samples(keys, samples, split)
        if what:
            raise LaunchError(run.path, "data", f"{what.replace('FIRST', str(first[0].path))}", remedy)


def _facts(settings: Mapping[str, Any], split: str) -> tuple[list[str], Sequence[str]]:
    """The classes of a run's data, and the keys of a split."""
    part = build_data(settings).part(split)
    return [str(name) for name in getattr(part, "classes", ())], keys_of(part, split)


def _other_classes(ours: list[str], theirs: list[str]) -> str | None:
    if len(ours) != len(theirs):
        return f"it has {len(theirs)} classes, and FIRST {len(ours)}"
    different = next((k for k, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1]), None)
    if different is None:
        return None
    return f"its class {different} is '{theirs[different]}', and that of FIRST '{ours[different]}'"


def _other_samples(ours: Sequence[str], theirs: Sequence[str], split: str) -> str | None:
    if len(ours) != len(theirs):
        return f"its {split} part has {len(theirs):,} samples, and that of FIRST {len(ours):,}"
    different = next((i for i in range(len(ours)) if ours[i] != theirs[i]), None)
    if different is None:
        return None
    return f"its {split} part has other samples than that of FIRST: '{theirs[different]}', not '{ours[different]}'"


class Ensemble:
    """Adds up the predictions of runs, on the process that holds all samples."""

    def __init__(self) -> None:
        self._first: tuple[RunFolder, Evaluated] | None = None
        self._total: Tensor | None = None  # (n, k) logarithms of summed probabilities
        self._count = 0

    def add(self, run: RunFolder, one: Evaluated) -> None:
        """Add a run.

        Raises:
            LaunchError: its predictions are not of the same samples and classes.
        """
        logs = _log_probabilities(run, one)
        self._count += 1
        if self._first is None or self._total is None:
            self._first, self._total = (run, one), logs
            return
        ours = self._first[1].samples
        if logs.shape[1] != self._total.shape[1]:
            what = (
                f"its network tells {logs.shape[1]} classes apart, that of {self._first[0].path} {self._total.shape[1]}"
            )
            raise LaunchError(run.path, "model", what, SAME)
        if any(not np.array_equal(ours[name], one.samples[name]) for name in ("keys", "targets")):
            what = f"its samples or their classes are not those of {self._first[0].path}"
            raise LaunchError(run.path, "data", what, SAME)
        self._total = torch.logaddexp(self._total, logs)

    def samples(self) -> Arrays:
        """Keys, targets, and as scores the logarithm of the mean probability."""
        assert self._first is not None, "an ensemble without members"
        assert self._total is not None
        logs = normalised(self._total - math.log(self._count))
        return {**self._first[1].samples, "scores": logs.numpy()}

    def metrics(self, split: str) -> dict[str, float]:
        """Loss, errors and the recipe's own metrics."""
        assert self._first is not None, "an ensemble without members"
        task, samples = self._first[1].task.cpu(), self.samples()
        assert isinstance(task, Classification)
        scores, targets = torch.from_numpy(samples["scores"]), torch.from_numpy(samples["targets"])
        totals = Totals()
        totals.add(task.measured(scores, targets, torch.ones(len(targets))))
        values = totals.read()
        if len(task.metrics):
            task.metrics.update(scores, targets)
            values |= {label: float(value) for label, value in task.metrics.compute().items()}
        return {f"{split}/{name}": value for name, value in values.items()}


def _log_probabilities(run: RunFolder, one: Evaluated) -> Tensor:
    """A run's predictions as log-probabilities (n, k), float64."""
    if not isinstance(one.task, Classification):
        what = f"is trained by {type(one.task).__name__}, which gives no probabilities of classes"
        raise LaunchError(run.path, "task", what, "Average classifiers.")
    scores = torch.from_numpy(one.samples["scores"])
    averaged = one.task.averaged is not None  # then they are log-probabilities already
    return (scores if averaged else one.task.log_probabilities(scores)).double()
