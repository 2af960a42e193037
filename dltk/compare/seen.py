"""One run as a comparison sees it: settings, state, what it measured and where, its course, what it cost."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltk.compare import columns
from dltk.compare.columns import Array, Columns
from dltk.compare.settings import section_of, settings_of
from dltk.errors import DltkError
from dltk.recipe import recipe_hash
from dltk.run.claim import Claim
from dltk.run.folder import RunFolder
from dltk.run.ledger import clock_seconds

# Shapes: m points of a curve, l lines of the log.

AXES = ("step", "samples", "epoch", "hours")
POINTS = 400  # of a curve; longer ones are thinned
AT_ONCE = 32  # runs that a process reads before it reports
WORTH_IT = 100 << 20  # bytes of logs from which on several processes read them


@dataclass(frozen=True)
class Value:
    """A number that a run measured, and of which weights."""

    value: float
    step: int | None  # of the checkpoint


@dataclass(frozen=True)
class Curve:
    """A metric over the training: its values (m,), and where they stand on each axis (m,)."""

    along: dict[str, Array]
    values: Array


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A run.

    Args:
        path: its folder.
        name: `<recipe>/<run id>`.
        recipe: name of the recipe.
        status: as `RunFolder.status` says it.
        settings: the frozen ones, by dotted key.
        created: when it was made, as text.
        parent: the run that it was forked from.
        index: a hash of the data's keys.
        evaluation: what its end measured, as the summary has it; empty where it has none.
        final: the last value of each metric in the log.
        best: the validation's metrics at the step that the monitored metric chose.
        curves: of the metrics that were asked for.
        rates: medians over the log: `time/samples_per_second`, `time/mfu`, `time/data_wait`.
        digest: of the samples trained on.
        attempts: as the ledger has them.
        device_hours: over all attempts; None where none of them tells.
        hours: of training, the pauses between attempts left out.
    """

    path: Path
    name: str
    recipe: str
    status: str
    settings: dict[str, Any]
    created: str | None = None
    parent: str | None = None
    index: str | None = None
    evaluation: dict[str, Any] = field(default_factory=dict)
    final: dict[str, Value] = field(default_factory=dict)
    best: dict[str, Value] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    digest: str | None = None
    attempts: list[dict[str, Any]] = field(default_factory=list)
    device_hours: float | None = None
    hours: float | None = None

    @property
    def seed(self) -> Any:
        """Of the initial weights and the order of samples."""
        return self.settings.get("train.seed")

    @property
    def step(self) -> int:
        """Optimiser steps in the log."""
        return max((value.step or 0 for value in self.final.values()), default=0)

    @property
    def monitor(self) -> str | None:
        """The metric that chooses the best checkpoint."""
        return self.settings.get("checkpoint.monitor")

    @property
    def chosen(self) -> str:
        """The checkpoint that its end measured, `best` or `last`, as its claim asks."""
        changed = self.attempts[-1].get("changed", {}) if self.attempts else {}
        return changed.get("claim.checkpoint", self.settings.get("claim.checkpoint")) or "best"

    @property
    def selecting(self) -> bool:
        """Whether its end was measured where the checkpoint was chosen."""
        return self.evaluation.get("split") == "val" and self.chosen == "best"

    @property
    def claim(self) -> Claim | None:
        """What its recipe claims."""
        said = section_of(self.settings, "claim")
        said |= section_of(self.attempts[-1].get("changed", {}), "claim") if self.attempts else {}
        known = {key: value for key, value in said.items() if key in Claim.__dataclass_fields__ and value is not None}
        return Claim(**known) if {"metric", "value", "tolerance"} <= known.keys() else None

    def hash(self, without: Sequence[str] = ()) -> str:
        """Equal for runs whose settings differ in nothing that can change the result, but for the seed and these."""
        kept = {key: value for key, value in self.settings.items() if key not in without}
        return recipe_hash(kept)


@dataclass(frozen=True)
class Wanted:
    """What is to be read of each run.

    Args:
        curves: metrics whose course is wanted; None: those of the validation and `train/loss`; `*`: every one.
        points: of each curve at most.
    """

    curves: tuple[str, ...] | None = None
    points: int = POINTS


def see(run: RunFolder, wanted: Wanted = Wanted()) -> Seen:
    """Read a run.

    Raises:
        LaunchError: its frozen recipe is damaged.
    """
    settings = settings_of(run)
    log = columns.read(run.path)
    attempts = run.ledger.attempts()
    status = run.status
    spans = _spans(attempts, status)
    summary = run.summary() or {}
    monitor, mode = settings.get("checkpoint.monitor"), settings.get("checkpoint.mode")
    evaluation = summary.get("evaluation")
    along = _along(log, spans)
    names = wanted.curves if wanted.curves is not None else ("train/loss", *_beginning(log, "val/"))
    if "*" in names:
        names = _beginning(log, "")
    return Seen(
        path=run.path,
        name=run.name,
        recipe=str(settings.get("name") or run.path.absolute().parent.name),
        status=status,
        settings=settings,
        created=run.about.get("created"),
        parent=run.about.get("parent"),
        index=run.index,
        evaluation=evaluation if isinstance(evaluation, dict) else {},
        final=_final(log) or _summarised(summary),
        best=_best(log, monitor, mode),
        curves={name: _curve(log, name, along, wanted.points) for name in names if name in log.columns},
        rates=_rates(log),
        digest=log.texts.get("data/digest"),
        attempts=attempts,
        device_hours=sum((end - start) * world for start, end, world in spans) / 3600 if spans else None,
        hours=sum(end - start for start, end, _ in spans) / 3600 if spans else None,
    )


def see_all(runs: Sequence[RunFolder], wanted: Wanted = Wanted(), problems: list[str] | None = None) -> list[Seen]:
    """Read runs, on all cores where their logs are large.

    Args:
        runs: which.
        wanted: of each.
        problems: gets one line for each run that cannot be read; None: it is raised.

    Raises:
        DltkError: a run cannot be read, and nobody asked for the problems.
    """
    chunks = [runs[at : at + AT_ONCE] for at in range(0, len(runs), AT_ONCE)]
    found: list[Seen] = []
    for seen, mistakes in _read(chunks, wanted):
        found += seen
        if mistakes and problems is None:
            raise mistakes[0]
        if problems is not None:
            problems += map(str, mistakes)
    return found


def _read(chunks: Sequence[Sequence[RunFolder]], wanted: Wanted) -> Iterator[tuple[list[Seen], list[DltkError]]]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    if cores == 1 or len(chunks) == 1 or _bytes(run for chunk in chunks for run in chunk) < WORTH_IT:
        yield from (_see_some(chunk, wanted) for chunk in chunks)
        return
    with ProcessPoolExecutor(min(cores, len(chunks))) as pool:
        yield from pool.map(_see_some, chunks, [wanted] * len(chunks))


def _see_some(runs: Sequence[RunFolder], wanted: Wanted) -> tuple[list[Seen], list[DltkError]]:
    found: list[Seen] = []
    mistakes: list[DltkError] = []
    for run in runs:
        try:
            found.append(see(run, wanted))
        except DltkError as error:
            mistakes.append(error)
    return found, mistakes


def _bytes(runs: Iterable[RunFolder]) -> int:
    return sum((columns.signature(run.path / "metrics.jsonl") or [0])[0] for run in runs)


# Numbers


def _final(log: Columns) -> dict[str, Value]:
    """The last value of each metric."""
    steps = log.along("step", np.arange(log.count))
    return {
        name: Value(float(column.values[-1]), _step(steps[column.lines[-1]]))
        for name, column in log.columns.items()
        if "/" in name
    }


def _summarised(summary: dict[str, Any]) -> dict[str, Value]:
    """Of a run without a log: what its summary says of the training and the validation."""
    metrics = summary.get("metrics")
    numbers = metrics.items() if isinstance(metrics, dict) else ()
    kept = [(name, value) for name, value in numbers if name.startswith(("train/", "val/", "time/"))]
    return {name: Value(float(value), summary.get("step")) for name, value in kept if isinstance(value, int | float)}


def _best(log: Columns, monitor: str | None, mode: str | None) -> dict[str, Value]:
    """What the validation measured at its best step; of equal ones the last, as checkpoints are chosen."""
    column = log.columns.get(monitor or "")
    if column is None or not np.isfinite(column.values).any():
        return {}
    signed = np.where(np.isfinite(column.values), column.values if mode == "min" else -column.values, np.inf)
    line = column.lines[len(signed) - 1 - int(signed[::-1].argmin())]
    step = _step(log.along("step", np.array([line]))[0])
    found = {}
    for name, one in log.columns.items():
        at = int(np.searchsorted(one.lines, line))
        if name.startswith("val/") and at < len(one.lines) and one.lines[at] == line:
            found[name] = Value(float(one.values[at]), step)
    return found


def _rates(log: Columns) -> dict[str, float]:
    names = ("time/samples_per_second", "time/mfu", "time/data_wait")
    return {name: float(np.median(log.columns[name].values)) for name in names if name in log.columns}


def _step(value: float) -> int | None:
    return int(value) if np.isfinite(value) else None


# Curves


def _along(log: Columns, spans: Sequence[tuple[float, float, int]]) -> dict[str, Array]:
    """Where each line of the log (l,) stands on each axis; an axis that the log does not give is left out."""
    every = np.arange(log.count)
    found: dict[str, Array] = {}
    for name in ("step", "samples"):
        if name in log.columns:
            found[name] = log.along(name, every)
    if "epoch" in log.columns:
        found["epoch"] = _epochs(log.along("epoch", every), found.get("samples"))
    if "time" in log.columns:
        found["hours"] = _hours(log.along("time", every), spans)
    return found


def _epochs(epochs: Array, samples: Array | None) -> Array:
    """Epochs with their parts, from whole ones (l,) and the samples consumed (l,)."""
    begun = epochs > 0
    if samples is None or not begun.any():
        return epochs
    # Every line says that an epoch has at most so many samples; one at an epoch's end says it exactly.
    return samples / np.nanmin(samples[begun] / epochs[begun])


def _hours(times: Array, spans: Sequence[tuple[float, float, int]]) -> Array:
    """Hours of training at moments (l,), the pauses between attempts left out."""
    if not spans:
        return (times - times[0]) / 3600 if len(times) else times
    # The ledger's clock has whole seconds, so a line may stand a little outside of its attempt.
    passed = sum(np.clip(times - start, 0.0, end - start) for start, end, _ in spans)
    return np.asarray(passed, np.float64) / 3600


def _beginning(log: Columns, text: str) -> tuple[str, ...]:
    """Metrics whose names begin so."""
    return tuple(name for name in log.columns if "/" in name and name.startswith(text))


def _curve(log: Columns, name: str, along: dict[str, Array], points: int) -> Curve:
    column = log.columns[name]
    whole = {axis: values[column.lines] for axis, values in along.items()}
    if len(column.values) <= points:
        return Curve(whole, column.values)
    edges = np.linspace(0, len(column.values), points + 1).astype(np.int64)
    return Curve({axis: values[edges[1:] - 1] for axis, values in whole.items()}, _means(column.values, edges))


def _means(values: Array, edges: NDArray[np.int64]) -> Array:
    """Means of the values between edges (m + 1,)."""
    return np.add.reduceat(values, edges[:-1]) / np.diff(edges)


# Time


def _spans(attempts: Sequence[dict[str, Any]], status: str) -> list[tuple[float, float, int]]:
    """Start, end (seconds since 1970) and processes of each attempt; one that runs ends now, one that was lost at 0."""
    found = []
    for attempt in attempts:
        start = clock_seconds(attempt.get("start"))
        end = clock_seconds(attempt.get("end")) or (
            time.time() if status == "running" and attempt is attempts[-1] else None
        )
        world = attempt.get("world_size")
        if start is not None and end is not None:
            found.append((start, max(start, end), world if isinstance(world, int) else 1))
    return found
