"""Evaluating a run's checkpoint on a part of its data, and the summary at the end of a training."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from lightning import Callback, Trainer

from dltk.assemble import build_data, build_task
from dltk.data.datamodule import DataModule
from dltk.errors import LaunchError
from dltk.run.folder import RunFolder
from dltk.tasks.classification import Classification
from dltk.tasks.task import Task
from dltk.trainer.config import TrainConfig
from dltk.trainer.make import Place, bare_trainer, section
from dltk.trainer.stopping import Stopping
from dltk.weights import find_checkpoint, load_weights


class Predictions(Callback):
    """Gathers key, target and scores of every sample evaluated."""

    def __init__(self) -> None:
        self._keys: list[str] = []
        self._targets: list[np.ndarray] = []
        self._scores: list[np.ndarray] = []

    def on_test_batch_end(self, trainer: Trainer, task: Task, outputs: Any, batch: Any, *where: int) -> None:
        """Keep one batch, less the samples without weight."""
        real = (batch["weight"] > 0).cpu().numpy()
        self._keys += [key for key, counts in zip(batch["info"].keys, real, strict=True) if counts]
        self._targets.append(batch["target"].cpu().numpy()[real])
        self._scores.append(outputs["scores"].float().cpu().numpy()[real])

    def gathered(self, world: int) -> dict[str, np.ndarray]:
        """All samples of all processes, sorted by key: `keys` (n,), `targets` (n,), `scores` (n, k)."""
        mine = (self._keys, np.concatenate(self._targets), np.concatenate(self._scores))
        parts = [mine]
        if world > 1:
            parts = [mine] * world
            dist.all_gather_object(parts, mine)
        keys = np.array([key for part in parts for key in part[0]])
        order = np.argsort(keys, kind="stable")
        return {
            "keys": keys[order],
            "targets": np.concatenate([part[1] for part in parts])[order],
            "scores": np.concatenate([part[2] for part in parts])[order],
        }


def evaluate(
    folder: RunFolder,
    place: Place,
    settings: dict[str, Any],
    *,
    split: str = "test",
    checkpoint: str = "best",
    data: DataModule | None = None,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Measure a checkpoint on every sample of a split, once, and keep each sample's scores in the run folder.

    Args:
        folder: the run.
        place: which process this is; every process calls it.
        settings: the recipe.
        split: `train`, `val` or `test`.
        checkpoint: `best`, `last` or a step.
        data: the run's data, where they are open already.
        callbacks: who else takes part.

    Returns:
        split, protocol, checkpoint (its step), samples, metrics, predictions (the file).
    """
    path = find_checkpoint(folder, checkpoint)
    task = build_task(settings, restored=True)
    load_weights(task, folder.checkpoints.load(path))
    data = data or build_data(settings)
    data.require_index((folder.summary() or {}).get("index"), folder.path)
    predictions = Predictions()
    precision = section(settings, "train", TrainConfig).precision
    trainer = bare_trainer(place, callbacks=[*callbacks, predictions], precision=precision)
    task.split = split
    trainer.test(task, dataloaders=data.eval_dataloader(split, rank=place.rank, world=place.world), verbose=False)
    data.teardown("test")
    kept = predictions.gathered(place.world)
    target = folder.predictions_path(split, "single_crop", ".npz")
    if place.rank == 0:
        _save(target, kept)
    return {
        "split": split,
        "protocol": "single_crop",
        "checkpoint": int(path.name.removeprefix("step-")),
        "samples": len(kept["keys"]),
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
        "predictions": str(target),
    }


def final(
    folder: RunFolder, place: Place, settings: dict[str, Any], data: DataModule, stopping: Stopping
) -> dict[str, Any]:
    """What a finished training reports: what its claim is about, else the best checkpoint on the test part."""
    claim = settings["claim"] or {"split": "test", "checkpoint": "best"}
    which = {"split": claim["split"], "checkpoint": claim["checkpoint"]}
    return evaluate(folder, place, settings, data=data, callbacks=[stopping], **which)


def write_summary(folder: RunFolder, task: Task, evaluation: dict[str, Any], *, index: str, seconds: float) -> None:
    """Write the run's summary once it is done."""
    last = folder.metrics.last() or {}
    validations = [line for line in folder.metrics.read() if any(key.startswith("val/") for key in line)]
    monitor, mode = task.procedure.monitor, task.procedure.mode
    measured = [line for line in validations if isinstance(line.get(monitor), int | float)]
    best: dict[str, Any] = (min if mode == "min" else max)(
        reversed(measured), key=lambda line: line[monitor], default={}
    )
    numbers = {key: value for line in (last, *validations[-1:]) for key, value in line.items() if "/" in key}
    folder.write_summary(
        {
            "status": "done",
            "step": task.step,
            "samples": last.get("samples", 0),
            "seconds": round(seconds + _seconds_before(folder), 2),
            "parameters": sum(p.numel() for p in task.model.parameters() if p.requires_grad),
            "metrics": numbers | evaluation["metrics"],
            "best": {key: value for key, value in best.items() if key == "step" or key.startswith("val/")},
            "evaluation": evaluation,
            "index": index,
        }
    )


def _seconds_before(folder: RunFolder) -> float:
    """Seconds that earlier attempts spent."""
    ended = [(a["start"], a["end"]) for a in folder.ledger.attempts() if a["start"] and a["end"]]
    return sum((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() for start, end in ended)


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    partial.replace(path)


def load_predictions(path: Path) -> dict[str, np.ndarray]:
    """What `evaluate` kept: keys, targets, scores."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def predict(task: Task, images: torch.Tensor) -> torch.Tensor:
    """Images (b, c, h, w), bytes, to class probabilities (b, k).

    Raises:
        LaunchError: the task gives no classes.
    """
    if not isinstance(task, Classification):
        raise LaunchError("", "predict", f"{type(task).__name__} gives no classes", "Choose a run of a classifier.")
    with torch.inference_mode():
        return task.probabilities(task.eval()(images))
