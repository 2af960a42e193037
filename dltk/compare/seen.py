"""One run as a comparison sees it: settings, state, what it measured and where, its course, what it cost."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dltk.compare import brief
from dltk.compare.brief import Array, Curve, Value
from dltk.compare.cache import signature
from dltk.compare.foreign import WandbRun
from dltk.compare.settings import section_of, settings_of
from dltk.errors import DltkError
from dltk.recipe import recipe_hash
from dltk.run.claim import Claim
from dltk.run.folder import RunFolder
from dltk.run.ledger import clock_seconds

AXES = ("step", "samples", "epoch", "hours")
AT_ONCE = 32  # runs that a process reads before it reports
WORTH_IT = 50 << 20  # bytes of logs not read before, from which on several processes read them


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
    points: int = brief.POINTS


def see(run: RunFolder | WandbRun, wanted: Wanted = Wanted()) -> Seen:
    """Read a run, of ours or of another project.

    Raises:
        LaunchError: its frozen recipe is damaged.
    """
    if isinstance(run, WandbRun):
        return _see_foreign(run, wanted)
    settings = settings_of(run)
    log = brief.read(run.path, settings.get("checkpoint.monitor"), settings.get("checkpoint.mode"))
    attempts = run.ledger.attempts()
    status = run.status
    spans = _spans(attempts, status, log.curves.values())
    summary = run.summary() or {}
    evaluation = summary.get("evaluation")
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
        final=log.final or _summarised(summary),
        best=log.best,
        curves={name: _placed(log.curves[name], spans).thinned(wanted.points) for name in _names(log.curves, wanted)},
        rates=log.rates,
        digest=log.texts.get("data/digest"),
        attempts=attempts,
        device_hours=sum((end - start) * world for start, end, world in spans) / 3600 if spans else None,
        hours=sum(end - start for start, end, _ in spans) / 3600 if spans else None,
    )


def _see_foreign(run: WandbRun, wanted: Wanted) -> Seen:
    """What W&B kept of a run: every curve is wanted where none is named, for nothing says which of them tell."""
    log, attempts, status = run.log, run.about["attempts"], run.status
    spans = _spans(attempts, status, log.curves.values())
    names = _names(log.curves, wanted) if wanted.curves is not None else list(log.curves)
    return Seen(
        path=run.path,
        name=run.name,
        recipe=run.recipe,
        status=status,
        settings=run.settings,
        created=run.about["created"],
        final=run.final,
        curves={name: _placed(log.curves[name], spans).thinned(wanted.points) for name in names},
        attempts=attempts,
        device_hours=None,
        hours=sum(end - start for start, end, _ in spans) / 3600 if spans else None,
    )


def see_all(
    runs: Sequence[RunFolder | WandbRun], wanted: Wanted = Wanted(), problems: list[str] | None = None
) -> list[Seen]:
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


def _read(
    chunks: Sequence[Sequence[RunFolder | WandbRun]], wanted: Wanted
) -> Iterator[tuple[list[Seen], list[DltkError]]]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    if cores == 1 or len(chunks) == 1 or sum(_unread(run) for chunk in chunks for run in chunk) < WORTH_IT:
        yield from (_see_some(chunk, wanted) for chunk in chunks)
        return
    with ProcessPoolExecutor(min(cores, len(chunks))) as pool:
        yield from pool.map(_see_some, chunks, [wanted] * len(chunks))


def _see_some(runs: Sequence[RunFolder | WandbRun], wanted: Wanted) -> tuple[list[Seen], list[DltkError]]:
    found: list[Seen] = []
    mistakes: list[DltkError] = []
    for run in runs:
        try:
            found.append(see(run, wanted))
        except DltkError as error:
            mistakes.append(error)
    return found, mistakes


def _unread(run: RunFolder | WandbRun) -> int:
    """Bytes of a run's log, where it is newer than what is kept of it."""
    log, kept = signature(run.path / "metrics.jsonl"), signature(run.path / brief.CACHE)
    return 0 if log is None or (kept is not None and kept[1] >= log[1]) else log[0]


# Numbers and curves


def _summarised(summary: dict[str, Any]) -> dict[str, Value]:
    """Of a run without a log: what its summary says of the training and the validation."""
    metrics = summary.get("metrics")
    numbers = metrics.items() if isinstance(metrics, dict) else ()
    kept = [(name, value) for name, value in numbers if name.startswith(("train/", "val/", "time/", "memory/"))]
    return {name: Value(float(value), summary.get("step")) for name, value in kept if isinstance(value, int | float)}


def _names(curves: Iterable[str], wanted: Wanted) -> list[str]:
    """Which curves are wanted."""
    if wanted.curves is None:
        return [name for name in curves if name == "train/loss" or name.startswith("val/")]
    return list(curves) if "*" in wanted.curves else [name for name in wanted.curves if name in curves]


def _placed(curve: Curve, spans: Sequence[tuple[float, float, int]]) -> Curve:
    """A curve along hours of training instead of moments."""
    along = {axis: values for axis, values in curve.along.items() if axis != "time"}
    if "time" in curve.along:
        along["hours"] = _hours(curve.along["time"], spans)
    return Curve(along, curve.values)


def _hours(times: Array, spans: Sequence[tuple[float, float, int]]) -> Array:
    """Hours of training at moments (m,), the pauses between attempts left out."""
    if not spans:
        return (times - times[0]) / 3600 if len(times) else times
    # The ledger's clock has whole seconds, so a line may stand a little outside of its attempt.
    passed = sum(np.clip(times - start, 0.0, end - start) for start, end, _ in spans)
    return np.asarray(passed, np.float64) / 3600


# Time


def _spans(attempts: Sequence[dict[str, Any]], status: str, curves: Iterable[Curve]) -> list[tuple[float, float, int]]:
    """Start, end (seconds since 1970) and processes of each attempt.

    One that runs ends now; one that was lost ends with its last line.
    """
    logged = max((float(curve.along["time"][-1]) for curve in curves if "time" in curve.along), default=None)
    found = []
    for attempt in attempts:
        start, end = clock_seconds(attempt.get("start")), clock_seconds(attempt.get("end"))
        if end is None and attempt is attempts[-1]:
            end = time.time() if status == "running" else logged
        world = attempt.get("world_size")
        if start is not None and end is not None:
            found.append((start, max(start, end), world if isinstance(world, int) else 1))
    return found
