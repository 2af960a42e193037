"""A new run that begins where another stands."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dltk import recipe
from dltk.errors import LaunchError
from dltk.launch.opening import opened
from dltk.launch.rank import say
from dltk.run.atomic import refusing
from dltk.run.checkpoint import step_of
from dltk.run.folder import RunFolder


def forked(parent_text: str, sources: list[Any]) -> RunFolder:
    """A new run that starts from a checkpoint of another, and names it."""
    path, at, step = parent_text.rpartition("@")
    if not at or not step.isdecimal():
        path, step = parent_text, ""
    parent = opened(Path(path))
    begins_with_recipe = bool(sources) and "=" not in str(sources[0])
    own: list[Any] = [] if begins_with_recipe else [parent.path / "recipe.yaml", "run=null"]
    wanted = recipe.load(*own, *sources)
    settings = wanted.settings
    _require_same_state(parent, settings)
    with _copied(parent, int(step) if step else None, Path(settings["runs_dir"])) as checkpoint:
        _require_steps_left(parent, step_of(checkpoint), settings)
        folder = RunFolder.create(
            Path(settings["runs_dir"]),
            wanted.name,
            settings,
            run=settings["run"],
            text=recipe.freeze(wanted),
            parent=f"{parent.path}@{step_of(checkpoint)}",
        )
        folder.checkpoints.path.mkdir()
        checkpoint.rename(folder.checkpoints.path / checkpoint.name)
    return folder


@contextlib.contextmanager
def _copied(parent: RunFolder, step: int | None, place: Path) -> Iterator[Path]:
    """A copy of a run's checkpoint, in a hidden folder: there is no new run before it is whole.

    Args:
        parent: the run, which may be in training, and then removes old checkpoints.
        step: of the checkpoint; None for the newest.
        place: where the hidden folder is made.
    """
    with refusing(place, "cannot copy the checkpoint"):
        place.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(prefix=".forking-", dir=place))
    try:
        while True:
            chosen = _chosen(parent, step)
            with refusing(place, "cannot copy the checkpoint"):
                try:
                    _copy(chosen, hidden / chosen.name)
                    break
                except FileNotFoundError:
                    if chosen.exists():
                        raise
        yield hidden / chosen.name
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _chosen(parent: RunFolder, step: int | None) -> Path:
    """A run's sound checkpoint of a step, or its newest."""
    found = parent.checkpoints.newest() if step is None else parent.checkpoints.at(step)
    for warning in parent.checkpoints.warnings:
        say(warning)
    if found is None:
        what = "the run has no sound checkpoint"
        raise LaunchError(parent.path, "fork", what, "Train it first, or begin without --fork.")
    return found


def _copy(folder: Path, to: Path) -> None:
    """Copy the files of a folder; `shutil.copytree` would hide what the disk says."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            target = to / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    if not to.exists():
        raise FileNotFoundError(folder)


def _require_same_state(parent: RunFolder, settings: Mapping[str, Any]) -> None:
    """Refuse to fork where the checkpoint's weights or moments would mean nothing."""
    for section, key in (("model", "architecture"), ("task", "name"), ("optimizer", "name")):
        old, new = (one[section] and one[section][key] for one in (parent.recipe, settings))
        if old != new:
            what = f"{new!r} cannot go on from the state that {old!r} left in {parent.path}"
            remedy = f"Take its weights alone, in a recipe of your own: init: [{{from: {parent.path}}}]."
            raise LaunchError("--fork", f"{section}.{key}", what, remedy)


def _require_steps_left(parent: RunFolder, step: int, settings: Mapping[str, Any]) -> None:
    """Refuse to fork where the new run would be over before its first step."""
    from dltk.assemble import build_data

    place = recipe.resolve_place(settings)
    data = build_data({**place, "data": {**place["data"], "workers": 0}}, whole_run=True)
    if step < data.total_steps:
        return
    key = "train.steps" if data.epochs is None else "train.epochs"
    earlier = [str(at) for at in parent.checkpoints.steps() if at < data.total_steps]
    remedy = f"Raise {key}"
    if earlier:
        there = f"there are: {', '.join(earlier)}"
        remedy += f", or fork from an earlier step ({there}): --fork {parent.path}@{earlier[-1]}"
    what = f"a run of {data.total_steps:,} steps has nothing left to train after step {step:,}"
    raise LaunchError(f"--fork {parent.path}", key, what, f"{remedy}.")
