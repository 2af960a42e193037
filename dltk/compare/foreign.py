"""Runs of other projects, such as simple ones of Lightning's, from what W&B kept of them on the disk.

The segments of one id are one run: its configuration becomes the settings by dotted key, its history the log. The step
is the first of `trainer/global_step` (Lightning's), `global_step`, `step` that the history has, else W&B's own, which
begins anew with each segment and is counted on. A segment that goes on from an earlier step takes back what was logged
after it. A `seed` of the configuration counts as `train.seed`; without one each run is a replicate by itself.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dltk.compare import brief
from dltk.compare.cache import FOLDER, keep, signature
from dltk.compare.columns import of_rows
from dltk.errors import LaunchError
from dltk.recipe import leaves
from dltk.run.atomic import read_object, to_json
from dltk.run.ledger import clock_text
from dltk.run.wandb_files import Segment, by_identity, folders, records, segments

FORMAT = 1
STEPS = ("trainer/global_step", "global_step", "step")
SEEDS = ("seed", "random_seed")
FRESH = 300.0  # seconds since the last write within which a run without an end counts as running


@dataclass(frozen=True)
class WandbRun:
    """A run that W&B followed.

    Args:
        segments: of its id, in order.
    """

    segments: tuple[Segment, ...]

    @property
    def path(self) -> Path:
        """The folder of its last segment."""
        return self.segments[-1].file.parent

    @property
    def name(self) -> str:
        """`<project>/<its name in W&B>-<id>`."""
        shown = f"{self.about['shown']}-" if self.about["shown"] else ""
        return f"{self.recipe}/{shown}{self.segments[0].identity}"

    @property
    def recipe(self) -> str:
        """What stands for a recipe: W&B's project."""
        return str(self.about["project"] or "wandb")

    @property
    def status(self) -> str:
        """From its last exit code; without one it runs, or is lost."""
        code = self.about["attempts"][-1]["exit_code"]
        if code is not None:
            return "done" if code == 0 else "crashed"
        try:
            written = self.segments[-1].file.stat().st_mtime
        except OSError:
            return "lost"
        return "running" if time.time() - written < FRESH else "lost"

    @property
    def settings(self) -> dict[str, Any]:
        """The configuration by dotted key."""
        return dict(self.about["settings"])

    @property
    def final(self) -> dict[str, brief.Value]:
        """The last value of each metric, and what stands in W&B's summary alone."""
        return {name: brief.Value(*pair) for name, pair in self.about["final"].items()}

    @property
    def step(self) -> int:
        """The last one logged."""
        return int(self.about["step"])

    @cached_property
    def about(self) -> dict[str, Any]:
        """What is known without the curves: project, shown (name), created, settings, attempts, final, step."""
        found = read_object(self._kept)
        if found is None or found.get("format") != FORMAT or found.get("source") != self._source:
            found = self._read()[0]
        return found

    @cached_property
    def log(self) -> brief.Brief:
        """The history in brief."""
        return brief.kept(self.path / brief.CACHE, {"source": self._source}, lambda: self._read()[1])

    @property
    def _kept(self) -> Path:
        return self.path / FOLDER / "wandb.json"

    @property
    def _source(self) -> list[Any]:
        return [signature(one.file) for one in self.segments]

    def _read(self) -> tuple[dict[str, Any], brief.Brief]:
        """Everything, from the segments; what is known without the curves is kept."""
        source = self._source
        told = [_Told.read(one) for one in self.segments]
        found = brief.brief(of_rows([list(_joined(told))]), None, None)
        config: dict[str, Any] = {}
        summary: dict[str, Any] = {}
        for one in told:
            config |= one.config
            summary |= one.summary
        settings = leaves({key: value for key, value in config.items() if key != "_wandb"})
        seed = next((settings.pop(key) for key in SEEDS if key in settings), self.segments[0].identity)
        final = {name: [one.value, one.step] for name, one in found.final.items()}
        alone = {
            name: value
            for name, value in _without_media(leaves(summary)).items()
            if name not in final and _is_metric(name, value)
        }
        about = {
            "format": FORMAT,
            "source": source,
            "project": next((one.project for one in told if one.project), ""),
            "shown": next((one.shown for one in told if one.shown), ""),
            "created": told[0].start,
            "settings": {"train.seed": seed, **settings},
            "attempts": [one.attempt(number) for number, one in enumerate(told, 1)],
            "final": final | {name: [float(value), None] for name, value in alone.items()},
            "step": max((one.step or 0 for one in found.final.values()), default=0),
        }
        keep(self._kept, to_json(about).encode())
        return about, found


def find(folder: Path, problems: list[str] | None = None) -> list[WandbRun]:
    """The runs that W&B followed in a folder and below it, but for those of ours.

    Args:
        folder: which.
        problems: gets one line for each run of which no record can be read.
    """
    found = []
    for each in folders(folder):
        for some in by_identity(segments(each)).values():
            run = WandbRun(tuple(some))
            try:
                found.append(_begun(run))
            except LaunchError as error:
                if problems is not None:
                    problems.append(str(error))
    return found


def _begun(run: WandbRun) -> WandbRun:
    if run.about["created"] is None:
        what = "W&B's file holds no record of a run"
        raise LaunchError(run.segments[0].file, "", what, "It is empty, damaged, or the run has not begun yet.")
    return run


def named(path: Path) -> WandbRun | None:
    """The run of a segment's folder, or of its file; None where the path is neither.

    Raises:
        LaunchError: no record of it can be read.
    """
    file = path if path.suffix == ".wandb" else next(iter(path.glob("run-*.wandb")), None)
    if file is None or not file.is_file():
        return None
    mine = file.stem.removeprefix("run-")
    some = by_identity(segments(file.absolute().parents[1])).get(mine)
    return _begun(WandbRun(tuple(some))) if some else None


# One segment


@dataclass
class _Told:
    """What a segment's records say."""

    project: str
    shown: str
    start: str | None
    end: str | None
    exit_code: int | None
    config: dict[str, Any]
    summary: dict[str, Any]
    history: list[dict[str, Any]]

    @classmethod
    def read(cls, segment: Segment) -> "_Told":
        found = cls("", "", None, None, None, {}, {}, [])
        try:
            for record in records(segment.file):
                found._take(record)
        except OSError:
            pass
        moments = [row["_timestamp"] for row in found.history if isinstance(row.get("_timestamp"), int | float)]
        if found.exit_code is not None and moments:
            found.end = clock_text(moments[-1])
        return found

    def _take(self, record: Any) -> None:
        kind = record.WhichOneof("record_type")
        if kind == "run":
            self.project, self.shown = record.run.project, record.run.display_name
            seconds = record.run.start_time.seconds
            self.start = clock_text(seconds) if seconds else None
            _merge(self.config, record.run.config.update)
        elif kind == "config":
            _merge(self.config, record.config.update)
        elif kind == "summary":
            _merge(self.summary, record.summary.update)
        elif kind == "history":
            self.history.append(_without_media(dict(_items(record.history.item))))
        elif kind == "exit":
            self.exit_code = record.exit.exit_code

    def attempt(self, number: int) -> dict[str, Any]:
        """As a ledger has it."""
        reason = None if self.exit_code is None else "done" if self.exit_code == 0 else "crashed"
        told = {"start": self.start, "end": self.end, "reason": reason, "exit_code": self.exit_code}
        return {"attempt": number, **told, "world_size": 1, "steps": None, "notes": [], "changed": {}}


def _items(items: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    for item in items:
        try:
            yield ".".join(item.nested_key) or item.key, json.loads(item.value_json)
        except ValueError:
            continue


def _without_media(row: dict[str, Any]) -> dict[str, Any]:
    """A line without what describes a table, a picture or another of W&B's own types."""
    media = tuple(f"{name.removesuffix('._type')}." for name in row if name.endswith("._type"))
    return {name: value for name, value in row.items() if not name.startswith(media)} if media else row


def _merge(into: dict[str, Any], items: Sequence[Any]) -> None:
    """Put values where their keys say, one inside another."""
    for item in items:
        *outer, last = list(item.nested_key) or [item.key]
        place = into
        for key in outer:
            below = place.get(key)
            place[key] = place = below if isinstance(below, dict) else {}
        try:
            place[last] = json.loads(item.value_json)
        except ValueError:
            continue


def _is_metric(name: str, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return number and not name.startswith("_") and name not in (*STEPS, *brief.AXES)


# The segments together


def _joined(told: Sequence[_Told]) -> Iterator[dict[str, Any]]:
    """The lines of a log, by steps that never fall."""
    key = next((name for name in STEPS if any(name in row for one in told for row in one.history)), "_step")
    whole: list[tuple[int, dict[str, Any]]] = []
    for one in told:
        steps = list(_steps(one.history, key, whole[-1][0] if whole else None))
        if steps and key != "_step":
            first = min(steps)
            whole = [pair for pair in whole if pair[0] < first]
        whole += zip(steps, one.history, strict=True)
    for step, row in whole:
        yield {"step": step, **_line(row)}


def _steps(history: Sequence[Mapping[str, Any]], key: str, last: int | None) -> Iterator[int]:
    """The step of each line; one without is of the line before."""
    numbers = [row.get(key) for row in history]
    first = next((int(number) for number in numbers if isinstance(number, int | float)), 0)
    more = last + 1 if key == "_step" and last is not None and first <= last else 0
    step = first + more
    for number in numbers:
        step = int(number) + more if isinstance(number, int | float) and math.isfinite(number) else step
        yield step


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    """A line of W&B's history as a log of ours has it."""
    kept = {name: value for name, value in row.items() if not name.startswith("_") and name not in STEPS}
    if "_timestamp" in row:
        kept["time"] = row["_timestamp"]
    return kept
