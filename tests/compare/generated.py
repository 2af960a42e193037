"""Run folders as trainings leave them, made in no time: settings, log, ledger, summary and predictions that fit."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dltk import recipe
from dltk.compare.seen import Seen, see
from dltk.run.folder import RunFolder
from dltk.run.ledger import clock_text

BEGAN = 1_790_000_000  # seconds since 1970
SETTINGS = {
    "name": "small",
    "model": {"architecture": "mlp", "hidden_sizes": [8]},
    "data": {"name": "digits", "workers": 0},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "batch": {"global": 32},
    "train": {"epochs": 4, "seed": 0},
    "checkpoint": {"monitor": "val/top1_error", "mode": "min"},
    "log": {"every_steps": 10},
    "claim": None,
}


def lines(steps: int, loss: float = 1.0, every: int = 10, from_step: int = 0) -> list[dict[str, Any]]:
    """A log: the loss falls as 1 / step, each hundredth step is an epoch's end with a validation."""
    found = []
    for step in range(from_step + every, steps + 1, every):
        line: dict[str, Any] = {"step": step, "epoch": step // 100, "samples": 32 * step, "time": BEGAN + step}
        line |= {"train/loss": loss / step, "time/samples_per_second": 1000.0, "time/mfu": 0.25}
        line |= {"data/digest": f"{step:016d}"}
        if step % 100 == 0:
            line |= {"val/top1_error": 10 + loss * 100 / step, "val/loss": loss * 10 / step}
        found.append(line)
    return found


def attempt(number: int, start: int, end: int | None, *, code: int | None = 0, world: int = 1) -> list[dict[str, Any]]:
    """What a ledger says of an attempt: when it began and ended, in seconds after `BEGAN`."""
    begin = {"attempt": number, "event": "start", "time": clock_text(BEGAN + start), "changed": {}}
    found: list[dict[str, Any]] = [begin | {"world_size": world, "step": 0}]
    if end is not None:
        said = {"reason": "done" if code == 0 else "crashed", "exit_code": code, "step": 0}
        found.append({"attempt": number, "event": "end", "time": clock_text(BEGAN + end), **said})
    return found


def made(
    runs_dir: Path,
    name: str = "small/seed-0",
    changes: Mapping[str, Any] | None = None,
    *,
    log: Sequence[Mapping[str, Any]] | None = None,
    attempts: Sequence[Mapping[str, Any]] | None = None,
    wrong: Sequence[bool] | None = None,
    metrics: Mapping[str, float] | None = None,
    done: bool = True,
    parent: str | None = None,
) -> RunFolder:
    """A run folder.

    Args:
        runs_dir: of all runs.
        name: `<recipe>/<run id>`.
        changes: of the settings, by dotted key.
        log: lines of its metrics; 400 steps by default.
        attempts: lines of its ledger; one attempt of 400 seconds by default.
        wrong: which samples of the test part it has wrong; kept as predictions, and its error as the test's.
        metrics: of the test part, beside that.
        done: whether it has a summary.
        parent: the run that it was forked from.
    """
    group, _, run = name.partition("/")
    settings = recipe.with_changes(SETTINGS, {"name": group, **(changes or {})})
    folder = RunFolder.create(runs_dir, group, settings, run=run, parent=parent)
    _write(folder.path / "metrics.jsonl", lines(400) if log is None else log)
    _write(folder.path / "ledger.jsonl", attempt(1, 0, 400) if attempts is None else attempts)
    if not done:
        return folder
    measured = dict(metrics or {})
    if wrong is not None:
        measured["test/top1_error"] = 100.0 * float(np.mean(wrong))
        _keep_predictions(folder, np.array(wrong))
    evaluation = {"split": "test", "protocol": "single_crop", "checkpoint": 300, "samples": 100, "metrics": measured}
    if wrong is not None:
        evaluation["samples"] = len(wrong)
    folder.write_summary({"status": "done", "step": 400, "metrics": measured, "evaluation": evaluation, "index": "a"})
    return folder


def seen(*args: Any, **more: Any) -> Seen:
    """The same, as a comparison sees it."""
    return see(made(*args, **more))


def _write(path: Path, objects: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(one) + "\n" for one in objects))


def _keep_predictions(folder: RunFolder, wrong: np.ndarray) -> None:
    """Scores of three classes, of which the first is right."""
    path = folder.predictions_path("test", "single_crop", ".npz")
    scores = np.zeros((len(wrong), 3), np.float32)
    scores[np.arange(len(wrong)), wrong.astype(int)] = 1.0
    keys = np.array([f"{number:05d}" for number in range(len(wrong))])
    np.savez_compressed(path, keys=keys, targets=np.zeros(len(wrong), np.int64), scores=scores)
