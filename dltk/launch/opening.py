"""An existing run, and what may be asked of it: another place, more steps."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dltk import recipe
from dltk.errors import LaunchError
from dltk.launch.rank import say
from dltk.recipe import Recipe
from dltk.recipe.yaml12 import flow
from dltk.run.atomic import replace_file
from dltk.run.folder import RunFolder

LENGTHS = ("train.epochs", "train.steps")  # what --extend may raise


def is_run(path: str | Path) -> bool:
    """Whether a path is a run folder."""
    return (Path(path) / "recipe.yaml").is_file()


def opened(path: Path) -> RunFolder:
    """A run to go on from; imported weights alone, without a trainer's state, are none."""
    folder = RunFolder.open(path)
    if folder.status == "imported":
        remedy = f"Start from them, in a recipe of your own: init: [{{from: {folder.path}}}]."
        raise LaunchError(folder.path, "", "holds imported weights alone, and no training goes on from them", remedy)
    return folder


def changes(folder: RunFolder, wanted: Recipe, extend: bool) -> dict[str, Any]:
    """What an attempt changes of its place; refuses what would change the result."""
    frozen = recipe.thaw(folder.path / "recipe.yaml")
    changed = {}
    for key, old, new in recipe.changed(frozen.settings, wanted):
        if recipe.harmless(key):
            changed[key] = new
        elif not (extend and key in LENGTHS):
            remedy = f"Begin a new run from this one: `dltk train --fork {folder.path} {key}={new}`"
            remedy += ", or lengthen this one with --extend." if key in LENGTHS else "."
            raise LaunchError(folder.path, key, f"this run was begun with {old!r}, not {new!r}", remedy)
    if extend:
        with folder.lease(say):  # a training may be reading the recipe
            _extend(folder, frozen, wanted)
    return changed


def as_settings(changed: Mapping[str, Any]) -> list[str]:
    """What an attempt changes, as words of a command line."""
    return [f"{key}={flow(value)}" for key, value in changed.items()]


def _extend(folder: RunFolder, frozen: Recipe, wanted: Recipe) -> None:
    """Replace the frozen recipe by a longer one; the old text stays beside it."""
    longer = {**frozen.settings, "train": {**frozen.settings["train"]}}
    for key in LENGTHS:
        name = key.removeprefix("train.")
        before, after = frozen.settings["train"][name], wanted.settings["train"][name]
        if (before is None) != (after is None):
            other = next(length for length in LENGTHS if length != key) if before is None else key
            raise LaunchError(folder.path, key, f"{after!r} does not lengthen {before!r}", f"Raise {other}.")
        if before is not None and after < before:
            raise LaunchError(folder.path, key, f"{after} is less than the run's {before}", "Extend it to more.")
        longer["train"][name] = after
    if longer == frozen.settings:
        return
    number = len(folder.ledger.attempts())
    shutil.copyfile(folder.path / "recipe.yaml", folder.path / f"recipe.{number}.yaml")
    replace_file(folder.path / "recipe.yaml", recipe.freeze(Recipe(frozen.name, longer, {})))
