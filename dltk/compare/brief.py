"""What a comparison needs of a log: last and best values, medians, and curves of a few hundred points.

It is kept in the run's `cache/metrics.brief`, so that many long runs are compared again at once. The file begins with a
line of JSON: the size and time of the `metrics.jsonl` that it was made from, the numbers that stand alone, and where
each curve lies behind the line, as 64-bit floating-point numbers. When the log has changed it is made anew; it may be
deleted at any time, and where it cannot be written the log is read every time.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltk.compare.cache import FOLDER, keep, signature
from dltk.compare.columns import Array, Column, Columns, parse
from dltk.run.atomic import from_json, to_json

FORMAT = 1
CACHE = Path(FOLDER) / "metrics.brief"  # in a run folder
AXES = ("step", "samples", "epoch", "time")  # of a line, beside its metrics
POINTS = 400  # of a curve; longer ones are thinned to means
RATES = ("time/samples_per_second", "time/mfu", "time/data_wait")

# Shapes: l lines of the log, m points of a curve.


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

    def thinned(self, points: int) -> "Curve":
        """The same of so many points at most, each the mean of those that it stands for, placed at their last one."""
        count = len(self.values)
        if count <= points:
            return self
        edges = np.linspace(0, count, points + 1).astype(np.int64)
        means = np.add.reduceat(self.values, edges[:-1]) / np.diff(edges)
        return Curve({axis: values[edges[1:] - 1] for axis, values in self.along.items()}, means)


@dataclass(frozen=True)
class Brief:
    """A log in brief.

    Args:
        final: the last value of each metric.
        best: the validation's metrics at the step that the monitored metric chose.
        rates: medians of `RATES`.
        texts: the last value of each metric that is text, such as `data/digest`.
        curves: of each metric, along `step`, `samples`, `epoch` and `time` (seconds since 1970), as far as logged.
    """

    final: dict[str, Value]
    best: dict[str, Value]
    rates: dict[str, float]
    texts: dict[str, str]
    curves: dict[str, Curve]


def read(run: Path, monitor: str | None, mode: str | None) -> Brief:
    """The log of a run folder in brief, from the cache where that is of today's log.

    Args:
        run: the folder.
        monitor: the metric that chooses the best step.
        mode: whether it should be `min` or `max`.
    """
    log = run / "metrics.jsonl"
    source = signature(log)
    if source is None:
        return Brief({}, {}, {}, {}, {})

    def make() -> Brief:
        return brief(parse(log.read_bytes()), monitor, mode)

    try:
        return kept(run / CACHE, {"source": source, "chosen": [monitor, mode]}, make)
    except OSError:
        return Brief({}, {}, {}, {}, {})


def kept(cache: Path, key: dict[str, Any], make: Callable[[], Brief]) -> Brief:
    """What a cache's file has where its key is this one, else what is made now, and kept.

    Args:
        cache: the file.
        key: plain Python that is another whenever the log is.
        make: from the log.
    """
    key = {"format": FORMAT, "order": sys.byteorder, **key}
    found = _loaded(cache, key)
    if found is None:
        found = make()
        keep(cache, _packed(found, key))
    return found


def brief(log: Columns, monitor: str | None, mode: str | None) -> Brief:
    """Columns in brief."""
    steps = log.along("step", np.arange(log.count))
    metrics = {name: column for name, column in log.columns.items() if name not in AXES}
    along = _along(log)
    return Brief(
        final={name: Value(float(one.values[-1]), _step(steps[one.lines[-1]])) for name, one in metrics.items()},
        best=_best(log, monitor, mode),
        rates={name: float(np.median(metrics[name].values)) for name in RATES if name in metrics},
        texts=log.texts,
        curves={name: _curve(column, along) for name, column in metrics.items()},
    )


def _curve(column: Column, along: dict[str, Array]) -> Curve:
    return Curve({axis: values[column.lines] for axis, values in along.items()}, column.values).thinned(POINTS)


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


def _step(value: float) -> int | None:
    return int(value) if np.isfinite(value) else None


def _along(log: Columns) -> dict[str, Array]:
    """Where each line of the log (l,) stands on each axis; an axis that the log does not give is left out."""
    every = np.arange(log.count)
    found: dict[str, Array] = {}
    for name in AXES:
        if name in log.columns:
            found[name] = log.along(name, every)
    if "epoch" in found:
        found["epoch"] = _epochs(found["epoch"], found.get("samples"))
    return found


def _epochs(epochs: Array, samples: Array | None) -> Array:
    """Epochs with their parts, from whole ones (l,) and the samples consumed (l,)."""
    begun = epochs > 0
    if samples is None or not begun.any():
        return epochs
    # Every line says that an epoch has at most so many samples; one at an epoch's end says it exactly.
    return samples / np.nanmin(samples[begun] / epochs[begun])


# The cache's file


def _packed(made: Brief, key: dict[str, Any]) -> bytes:
    blocks: list[bytes] = []
    places: dict[bytes, list[int]] = {}
    end = 0

    def put(values: Array) -> list[int]:
        """Where an array lies; equal ones, such as the places of metrics that are logged together, lie there once."""
        nonlocal end
        data = values.tobytes()
        if data not in places:
            places[data] = [end, len(values)]
            blocks.append(data)
            end += len(values)
        return places[data]

    curves = {
        name: [put(curve.values), {axis: put(values) for axis, values in curve.along.items()}]
        for name, curve in made.curves.items()
    }
    numbers = {part: {name: [one.value, one.step] for name, one in values.items()} for part, values in
               (("final", made.final), ("best", made.best))}  # fmt: skip
    head = to_json({**key, **numbers, "rates": made.rates, "texts": made.texts, "curves": curves, "end": end}).encode()
    head += b" " * (-(len(head) + 1) % 8) + b"\n"  # the numbers begin at a multiple of eight bytes
    return head + b"".join(blocks)


def _loaded(path: Path, key: dict[str, Any]) -> Brief | None:
    """What is kept; None where it is of another log, or damaged."""
    try:
        data = path.read_bytes()
        begin = data.index(b"\n") + 1
        about = from_json(data[:begin]) or {}
        if any(about[name] != value for name, value in key.items()):
            return None
        numbers: NDArray[np.float64] = np.frombuffer(data, np.float64, offset=begin)
        if len(numbers) != about["end"]:
            return None
        return _restored(about, lambda place: numbers[place[0] : place[0] + place[1]])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _restored(about: dict[str, Any], take: Callable[[list[int]], Array]) -> Brief:
    final, best = ({name: Value(*pair) for name, pair in about[part].items()} for part in ("final", "best"))
    curves = {
        name: Curve({axis: take(place) for axis, place in along.items()}, take(values))
        for name, (values, along) in about["curves"].items()
    }
    return Brief(final, best, about["rates"], about["texts"], curves)
