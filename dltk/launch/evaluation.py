"""Evaluating a run's checkpoint on a part of its data, and the summary at the end of a training."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from lightning import Callback, Trainer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dltk.assemble import build_data, build_task
from dltk.data.datamodule import DataModule
from dltk.data.views import ScaleJitter
from dltk.errors import LaunchError
from dltk.launch.transcripts import Transcripts, width_of
from dltk.launch.translations import Captions, Sentences, decoding_of, moses_of, own_protocol
from dltk.run.folder import RunFolder
from dltk.run.protocol import KINDS, SINGLE_CROP, TRANSLATIONS, Protocol
from dltk.run.reference import find_checkpoint
from dltk.tasks.captioning import Captioning
from dltk.tasks.classification import Classification
from dltk.tasks.protocols import PROTOCOLS, Applied, Situation
from dltk.tasks.task import Task
from dltk.tasks.transcription import Transcription
from dltk.tasks.translation import Translation
from dltk.tasks.writing import Writing
from dltk.trainer.config import TrainConfig, section
from dltk.trainer.make import Place, bare_trainer
from dltk.trainer.stopping import Stopping
from dltk.weights import load_weights

Arrays = dict[str, np.ndarray]  # keys (n,), targets (n,), scores (n, k); of translations see Sentences


@dataclass(frozen=True)
class Question:
    """What an evaluation is asked.

    Args:
        split: `train`, `val` or `test`.
        checkpoint: `best`, `last` or a step.
        protocol: how each sample is seen.
    """

    split: str = "test"
    checkpoint: str = "best"
    protocol: Protocol = SINGLE_CROP


class Evaluated(NamedTuple):
    """What an evaluation of one run gave."""

    # split, protocol, scales, checkpoint (its step), samples, damaged (key and reason of those left out), metrics,
    # predictions (the file)
    answer: dict[str, Any]
    samples: Arrays  # of all processes on the first one, sorted by key
    task: Task


class Predictions(Callback):
    """Gathers key, target and scores of every sample evaluated."""

    suffix = ".npz"

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

    def gathered(self, world: int) -> Arrays:
        """All samples of all processes, sorted by key; on the first process, of the others their own."""
        mine = (self._keys, _beneath(self._targets), _beneath(self._scores))
        parts: list[Any] = [mine]
        if world > 1:
            parts = [None] * world
            dist.gather_object(mine, parts if dist.get_rank() == 0 else None)
            parts = parts if dist.get_rank() == 0 else [mine]
        keys = np.array([key for part in parts for key in part[0]])
        order = np.argsort(keys, kind="stable")
        return {
            "keys": keys[order],
            "targets": _beneath([part[1] for part in parts])[order],
            "scores": _beneath([part[2] for part in parts])[order],
        }

    def save(self, path: Path, samples: Arrays) -> None:
        """Write them to a file."""
        save_predictions(path, samples)

    def about(self) -> dict[str, Any]:
        """What an answer says beside the metrics: nothing more."""
        return {}


def _beneath(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of several arrays, one array's beneath the other's; zeros stand behind those of fewer numbers."""
    if parts[0].ndim != 2:
        return np.concatenate(parts)
    most = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, most - part.shape[1]))) for part in parts])


class Bar(Callback):
    """A bar on a terminal while an evaluation lasts.

    Args:
        title: what stands before it.
    """

    def __init__(self, title: str) -> None:
        columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
        console = Console(file=sys.stderr, highlight=False)
        self._shown = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
        self._shown.disable = not console.is_terminal
        self._title = title

    def on_test_start(self, trainer: Trainer, task: Task) -> None:
        """Show it, empty."""
        self._row = self._shown.add_task(self._title, total=sum(int(count) for count in trainer.num_test_batches))
        self._shown.start()

    def on_test_batch_end(self, trainer: Trainer, task: Task, *batch: Any) -> None:
        """One batch further."""
        self._shown.advance(self._row)

    def on_test_end(self, trainer: Trainer, task: Task) -> None:
        """Take it away."""
        self._shown.stop()

    def on_exception(self, trainer: Trainer, task: Task, exception: BaseException) -> None:
        """Take it away."""
        self._shown.stop()


def evaluate(
    folder: RunFolder,
    place: Place,
    settings: dict[str, Any],
    question: Question,
    *,
    data: DataModule | None = None,
    callbacks: Sequence[Callback] = (),
    others: Sequence[Task] = (),
    keep: Path | None = None,
) -> Evaluated:
    """Measure a checkpoint on every sample of a split, once; keep each sample's scores, or translation, in the folder.

    With `single_crop` they are the network's own scores; other protocols keep the logarithm of the averaged
    probabilities.

    Args:
        folder: the run.
        place: which process this is; every process calls it.
        settings: the recipe.
        question: what is measured.
        data: the run's data, where they are open already.
        callbacks: who else takes part.
        others: translators of other runs, with which this one's translates as an ensemble. Then there is no loss.
        keep: file for the ensemble's translations; None: they are not kept.

    Raises:
        LaunchError: there is no such checkpoint, or it is another network's; the protocol does not fit the network; a
            translator has other vocabularies.
        DataError: the data are not the run's, the protocol does not fit them, or too many samples are damaged.
    """
    path = find_checkpoint(folder, question.checkpoint)
    data = data or build_data(settings)
    data.require_index(folder.index, folder.path)
    task = _with_weights(folder, path, settings)
    applied = _applied(task, data, question)
    if isinstance(task, Classification):
        task.averaged = applied.scores
    task.split = question.split
    protocol, kept = _prepared(task, others, data, question)
    shown = [Bar(f"{folder.name} {question.split}")] if place.rank == 0 else []
    trainer = bare_trainer(
        place,
        callbacks=[*callbacks, kept, *shown],
        precision=section(settings, "train", TrainConfig).precision,
    )
    loader = data.eval_dataloader(question.split, rank=place.rank, world=place.world, view=applied.view)
    trainer.test(task, dataloaders=loader, verbose=False)
    data.teardown("test")
    data.damage.agree(place.world)
    data.damage.require_few()
    damaged = data.damage.of(question.split)
    samples = kept.gathered(place.world)
    target = keep if others else folder.predictions_path(question.split, str(protocol), kept.suffix)
    if place.rank == 0 and target is not None:
        kept.save(target, samples)
    answer = {
        "split": question.split,
        "protocol": str(protocol),
        "scales": list(applied.scales),
        "checkpoint": int(path.name.removeprefix("step-")),
        "samples": len(samples["keys"]),
        "contents": getattr(data.part(question.split), "contents", None),
        "damaged": damaged,
        "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
        "predictions": None if target is None else str(target),
        **kept.about(),
    }
    return Evaluated(answer, samples, task)


def restored(folder: RunFolder, settings: dict[str, Any], which: str) -> Task:
    """A run's task with the weights of its checkpoint `best`, `last` or a step.

    Raises:
        LaunchError: there is no such checkpoint, or it is another network's.
    """
    return _with_weights(folder, find_checkpoint(folder, which), settings)


def _with_weights(folder: RunFolder, checkpoint: Path, settings: dict[str, Any]) -> Task:
    task = build_task(settings, restored=True)
    try:
        load_weights(task, folder.checkpoints.load(checkpoint))
    except LaunchError as error:
        remedy = error.remedy or "Choose another with --checkpoint, or bring back the recipe that it was trained by."
        raise LaunchError(error.where or checkpoint, error.key, error.what, remedy) from None
    return task


def _prepared(
    task: Task, others: Sequence[Task], data: DataModule, question: Question
) -> tuple[Protocol, Predictions | Sentences | Transcripts]:
    """The protocol as it is reported, and what keeps the samples; a task that writes learns how, and of which data."""
    protocol = question.protocol
    if isinstance(task, Writing):
        protocol = replace(own_protocol(protocol), members=1 + len(others))
        task.join(others)
        task.decoding = decoding_of(task, protocol)
        task.require(data.part(question.split))
        if isinstance(task, Translation):
            task.moses = moses_of(data.part(question.split), protocol)
        return protocol, Captions() if isinstance(task, Captioning) else Sentences()
    if isinstance(task, Transcription):
        protocol = own_protocol(protocol)
        task.width = width_of(protocol)
        task.require(data.part(question.split))
        return protocol, Transcripts()
    return protocol, Predictions()


def _applied(task: Task, data: DataModule, question: Question) -> Applied:
    """The protocol for a run's network and data."""
    protocol = question.protocol
    if isinstance(task, Writing):
        decoding_of(task, own_protocol(protocol))
        if isinstance(task, Translation) and protocol.kind == "multibleu_tok":
            moses_of(data.part(question.split), protocol)
        return Applied()
    if isinstance(task, Transcription):
        width_of(own_protocol(protocol))
        return Applied()
    if protocol.kind in TRANSLATIONS:
        what = f"{protocol.kind} is of translations, and {type(task).__name__} gives none"
        raise LaunchError("", "--protocol", what, "Choose single_crop.")
    if protocol.kind not in PROTOCOLS:
        raise LaunchError("", "--protocol", f"there is no '{protocol.kind}'", f"Choices: {', '.join(KINDS)}.")
    if protocol == SINGLE_CROP:
        return Applied()
    if not isinstance(task, Classification):
        what = f"{protocol.kind} averages probabilities of classes, and {type(task).__name__} gives none"
        raise LaunchError("", "--protocol", what, "Choose single_crop.")
    part, augment = data.part(question.split), data.augment
    resize = part.frame.resize if getattr(part, "decodes", False) else 0
    trained_at = (augment.low, augment.high) if isinstance(augment, ScaleJitter) else (resize, resize)
    return PROTOCOLS[protocol.kind](Situation(task, part, trained_at, protocol.scales))


def final(folder: RunFolder, place: Place, settings: dict[str, Any], data: DataModule, stopping: Stopping) -> Evaluated:
    """What a finished training reports: what its claim is about, else the best checkpoint on the test part."""
    return evaluate(folder, place, settings, claimed(settings), data=data, callbacks=[stopping])


def claimed(settings: Mapping[str, Any]) -> Question:
    """What one run measures for its recipe's claim: of an ensemble its own part, without a claim the middle."""
    claim = settings["claim"]
    if not claim:
        return Question()
    protocol = Protocol.read(claim["protocol"])
    known = protocol is not None and protocol.kind in KINDS
    alone = replace(protocol, members=1) if protocol and known else SINGLE_CROP
    return Question(claim["split"], claim["checkpoint"], alone)


def require_measurable(task: Task, data: DataModule, settings: Mapping[str, Any]) -> None:
    """See before a training that its end can be measured as its claim says.

    Raises:
        LaunchError: the protocol does not fit the network.
        DataError: it does not fit the data.
    """
    _applied(task, data, claimed(settings))


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
            "parameters": sum(task.shards.size(p) for p in task.model.parameters() if p.requires_grad),
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


def save_predictions(path: Path, arrays: Arrays) -> None:
    """Write keys, targets and scores, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    partial.replace(path)


def load_predictions(path: Path) -> Arrays:
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
