"""Evaluating runs on all devices of this machine, one or several: as an ensemble, translators side by side.

With one device it happens in this process; with several, `python -m dltk.launch.measuring FOLDER` is started for each.
The folder is a passing one: it holds the question, how each process ended, and the answer.
"""

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltk import recipe
from dltk.errors import ExitCode, LaunchError
from dltk.launch import here, rank
from dltk.launch.processes import Group, run_processes
from dltk.run.atomic import read_object, replace_file, to_json
from dltk.run.folder import RunFolder
from dltk.run.protocol import SINGLE_CROP, Protocol
from dltk.trainer.signals import Signals

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dltk.launch.evaluation import Question
    from dltk.trainer.make import Place

TRANSLATION = "translation"  # the task of which several runs are shown side by side
QUESTION, ANSWER = "question.json", "answer.json"


@dataclass(frozen=True)
class Asked:
    """Runs, and what is asked of them.

    Args:
        runs: their folders.
        changes: settings of the place as `key=value`, for all of them.
        split: `train`, `val` or `test`.
        checkpoint: `best`, `last` or a step.
        protocol: how each sample is seen, by each network.
        keep: file for an ensemble's predictions; the runs' own go into their folders.
        together: translators translate by the mean of their probabilities, instead of side by side.
    """

    runs: tuple[Path, ...]
    changes: tuple[str, ...] = ()
    split: str = "test"
    checkpoint: str = "best"
    protocol: Protocol = SINGLE_CROP
    keep: Path | None = None
    together: bool = False

    def to_json(self) -> str:
        """As `from_json` reads it."""
        plain: dict[str, Any] = {"runs": [str(path) for path in self.runs], "changes": list(self.changes)}
        keep = None if self.keep is None else str(self.keep)
        plain |= {"split": self.split, "checkpoint": self.checkpoint, "protocol": str(self.protocol)}
        return to_json(plain | {"keep": keep, "together": self.together})

    @classmethod
    def from_json(cls, text: str) -> "Asked":
        """The object of a text."""
        said = json.loads(text)
        protocol = Protocol.read(said["protocol"])
        assert protocol is not None, said
        keep = None if said["keep"] is None else Path(said["keep"])
        runs, changes = tuple(Path(path) for path in said["runs"]), tuple(said["changes"])
        return cls(runs, changes, said["split"], said["checkpoint"], protocol, keep, said["together"])


def measure(asked: Asked) -> dict[str, Any]:
    """Measure runs on every sample of a split, once, on all devices.

    Returns:
        split, protocol, scales, checkpoint, samples, metrics, predictions; of several also members. Several
        translators have no metrics together, each member has its own.

    Raises:
        LaunchError: a run, a checkpoint, a protocol or a device does not fit.
        DataError: the data do not.
    """
    runs = [RunFolder.open(path) for path in asked.runs]
    settings = [settings_of(run, asked.changes) for run in runs]
    accelerator, world = devices(settings[0], asked.changes)
    if len(runs) > 1:
        _require_alike(runs, settings, asked.split)
    if asked.together and len(runs) == 1:
        raise LaunchError("", "--together", "is of several translators, and one is named", "Name several.")
    if asked.together and settings[0]["task"]["name"] != TRANSLATION:
        raise LaunchError("", "--together", "is of translators; other runs are averaged anyway", "Leave it out.")
    if world > 1:
        return _on_all(asked, accelerator, world)
    from dltk.trainer.make import Place

    answer = _answer(asked, Place(0, 1, accelerator))
    assert answer is not None
    return answer


def _require_alike(runs: Sequence[RunFolder], settings: Sequence[Mapping[str, Any]], split: str) -> None:
    """See that runs can be averaged, or shown side by side where they translate.

    Raises:
        LaunchError: they cannot.
    """
    from dltk.launch.ensemble import SAME, require_alike

    names = [one["task"]["name"] for one in settings]
    translators = names.count(TRANSLATION)
    if 0 < translators < len(runs):
        other = next(run for run, name in zip(runs, names, strict=True) if name != TRANSLATION)
        raise LaunchError(other.path, "task", "translates nothing, and other runs do", "Evaluate it by itself.")
    require_alike(runs, settings, split, "Compare runs of the same sentences." if translators else SAME)


def part_of(asked: Asked) -> Any:
    """The split that was measured, of the first run's data."""
    from dltk.assemble import build_data

    return build_data(settings_of(RunFolder.open(asked.runs[0]), asked.changes)).part(asked.split)


def probabilities_of(asked: Asked, scores: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Predictions (n, k) that `measure` kept as probabilities, which the network's own scores are not yet."""
    import torch
    from torch import nn

    from dltk.assemble import wrapped
    from dltk.tasks.classification import Classification

    if len(asked.runs) > 1 or asked.protocol.kind != SINGLE_CROP.kind:
        return torch.from_numpy(scores).exp().numpy()  # an average's logarithms
    task = wrapped(nn.Identity(), rank.effective_settings(RunFolder.open(asked.runs[0])))
    if not isinstance(task, Classification):
        raise LaunchError("", "--report", f"{type(task).__name__} gives no classes", "Choose a run of a classifier.")
    return task.probabilities(torch.from_numpy(scores)).numpy()


def settings_of(run: RunFolder, changes: Sequence[str]) -> dict[str, Any]:
    """The settings of a run's last attempt, with changes of the place.

    Raises:
        LaunchError: a change is of what the run was trained with.
    """
    settings = rank.effective_settings(run)
    if not changes:
        return settings
    frozen = recipe.thaw(run.path / "recipe.yaml")
    wanted = recipe.load(run.path / "recipe.yaml", *changes)
    changed = {}
    for key, old, new in recipe.changed(frozen.settings, wanted):
        if not recipe.harmless(key):
            what = f"the run was trained with {old!r}, not {new!r}"
            raise LaunchError(run.path, key, what, "Change its place only: launch, data_dir, data.workers.")
        changed[key] = new
    return recipe.resolve_place(recipe.with_changes(settings, changed))


def devices(settings: Mapping[str, Any], changes: Sequence[str] = ()) -> tuple[str, int]:
    """The accelerator and the number of processes: as the changes say, else all that this machine has.

    On a CPU there are as many as the run was trained with, but no more than there are cores.
    """
    given = {change.partition("=")[0] for change in changes}
    launch = dict(settings["launch"])
    if "launch.accelerator" not in given:
        launch["accelerator"] = "auto"
    if "launch.devices" not in given:
        on_cpu = here.devices({**launch, "devices": "auto"})[0] == "cpu"
        wanted = launch["devices"]
        launch["devices"] = min(wanted, os.cpu_count() or 1) if on_cpu and wanted != "auto" else "auto"
    return here.devices(launch)


def _on_all(asked: Asked, accelerator: str, world: int) -> dict[str, Any]:
    """Ask one process for each device."""
    with tempfile.TemporaryDirectory(prefix="dltk-evaluate-") as name:
        folder = Path(name)
        (folder / "logs").mkdir()
        replace_file(folder / QUESTION, asked.to_json())
        command = [sys.executable, "-m", "dltk.launch.measuring", name]
        code, reason = run_processes(RunFolder(folder), command, accelerator, Group(world), Signals())
        answer = read_object(folder / ANSWER)
    if code is not ExitCode.DONE or answer is None:
        raise RuntimeError(f"the evaluation ended with {code.name.lower()} ({int(code)}): {reason}")
    return answer


def main(arguments: list[str]) -> int:
    """Evaluate as one process of several: `FOLDER`, the rest from RANK and WORLD_SIZE."""
    os.dup2(2, 1)  # standard output is for the answer, which the launcher prints
    folder = Path(arguments[0])

    def work(place: "Place", signals: Signals) -> tuple[ExitCode, str]:
        answer = _answer(Asked.from_json((folder / QUESTION).read_text()), place)
        if answer is not None:
            replace_file(folder / ANSWER, to_json(answer))
        return ExitCode.DONE, "done"

    return rank.serve(folder, work)


def _answer(asked: Asked, place: "Place") -> dict[str, Any] | None:
    """What the first process says; None on the others."""
    from dltk.launch.ensemble import Ensemble
    from dltk.launch.evaluation import Question, evaluate, save_predictions

    question = Question(asked.split, asked.checkpoint, asked.protocol)
    if asked.together:
        return _together(asked, question, place)
    ensemble, answers = Ensemble(), []
    for path in asked.runs:
        run = RunFolder.open(path)
        settings = settings_of(run, asked.changes)
        rank.set_threads(settings, place.world)
        one = evaluate(run, place, settings, question)
        answers.append({"run": str(path), **one.answer})
        if place.rank == 0 and len(asked.runs) > 1 and settings["task"]["name"] != TRANSLATION:
            ensemble.add(run, one)
    if place.rank:
        return None
    if len(answers) == 1:
        return one.answer
    if settings["task"]["name"] == TRANSLATION:
        return {
            **{name: one.answer[name] for name in ("split", "protocol", "samples")},
            "metrics": {},
            "predictions": None,
            "members": [
                {k: v for k, v in answer.items() if k not in ("split", "protocol", "samples")} for answer in answers
            ],
        }
    if asked.keep is not None:
        save_predictions(asked.keep, ensemble.samples())
    own = ("run", "scales", "checkpoint", "metrics", "predictions")
    return {
        "split": asked.split,
        "protocol": str(replace(asked.protocol, members=len(answers))),
        "samples": one.answer["samples"],
        "damaged": one.answer["damaged"],
        "metrics": ensemble.metrics(asked.split),
        "predictions": None if asked.keep is None else str(asked.keep),
        "members": [{name: answer[name] for name in own} for answer in answers],
    }


def _together(asked: Asked, question: "Question", place: "Place") -> dict[str, Any] | None:
    """Translators as one, by the mean of their probabilities for each word."""
    from dltk.launch.evaluation import evaluate, restored

    runs = [RunFolder.open(path) for path in asked.runs]
    settings = [settings_of(run, asked.changes) for run in runs]
    rank.set_threads(settings[0], place.world)
    others = [restored(run, one, asked.checkpoint) for run, one in zip(runs[1:], settings[1:], strict=True)]
    keep = None if asked.keep is None else asked.keep.with_suffix(".jsonl")
    answer = evaluate(runs[0], place, settings[0], question, others=others, keep=keep).answer
    return None if place.rank else answer | {"members": [{"run": str(path), "metrics": {}} for path in asked.runs]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
