"""A run's weights as one file for other programs: safetensors, or a network that computes by itself (ONNX).

The file is written under a hidden name, read back, and its answers compared with the network's own; only then it gets
its name, and a JSON file beside it that says what it is.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dltk.assemble import build_data
from dltk.errors import DataError, LaunchError, RecipeError
from dltk.launch.exporting.network import Network, restored
from dltk.launch.rank import effective_settings
from dltk.run.atomic import sync_folder, to_json, write_beside
from dltk.run.folder import RunFolder
from dltk.run.reference import find_checkpoint

FORMAT = 1


@dataclass(frozen=True)
class Exported:
    """What became of an export."""

    path: Path
    about: Mapping[str, Any]  # what stands in the JSON file
    difference: float  # the greatest, between what the file and the network answer
    allowed: float

    @property
    def ok(self) -> bool:
        """Whether the file was published; else nothing was."""
        return self.difference <= self.allowed

    def lines(self) -> list[str]:
        """What to tell a person."""
        compared = f"greatest difference to the network's own answers: {self.difference:.3g}"
        if not self.ok:
            return [f"{self.path}: not written: {compared}, at most {self.allowed:.3g} is rounding."]
        return [
            f"{self.path}: {self.about['bytes'] / 1e6:,.2f} MB, sha256 {self.about['sha256'][:12]}; "
            f"what it is: {_beside(self.path)}",
            f"weights: {self.about['weights']}, of step {self.about['source']['step']:,}",
            f"{compared} (allowed {self.allowed:.3g})",
        ]


def export(folder: RunFolder, which: str, path: Path, *, force: bool = False) -> Exported:
    """Write the weights of a run's checkpoint as `path`, whose ending says how: `.safetensors` or `.onnx`.

    Args:
        folder: the run.
        which: `best`, `newest` or a step.
        path: the file; a JSON file of the same name and `.json` comes beside it.
        force: replace what stands there.

    Raises:
        LaunchError: no such checkpoint, or it is damaged; the file is there already, cannot be written, or the network
            cannot be exported.
    """
    _require_writable(path, force)
    checkpoint = find_checkpoint(folder, which)
    state = folder.checkpoints.load(checkpoint)
    settings = {**folder.recipe, "train": {**folder.recipe["train"], "compile": False}}
    task = restored(settings, state)
    if path.suffix == ".onnx":
        from dltk.launch.exporting.onnx_file import written
    else:
        from dltk.launch.exporting.safetensors_file import written
    made = written(task, Network(settings, state))
    about = {
        **_about(folder, checkpoint, state),
        **made.about,
        "file": path.name,
        "bytes": len(made.data),
        "sha256": hashlib.sha256(made.data).hexdigest(),
    }
    try:
        hidden = write_beside(path, made.data)
        try:
            exported = Exported(path, about, *made.read(hidden))
            if exported.ok:
                _publish(hidden, path, about | {"difference": exported.difference})
        finally:
            hidden.unlink(missing_ok=True)
    except OSError as error:
        what = f"cannot write: {(error.strerror or str(error)).lower()}"
        raise LaunchError(path, "", what, "Make room or mend its permissions, or choose another place.") from error
    return exported


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _require_writable(path: Path, force: bool) -> None:
    if path.suffix not in (".safetensors", ".onnx"):
        raise LaunchError(path, "", f"its ending is '{path.suffix}'", "Name it NAME.safetensors or NAME.onnx.")
    if not path.absolute().parent.is_dir():
        raise LaunchError(path, "", f"there is no folder {path.parent}", "Make it first.")
    for one in (path, _beside(path)):
        if one.is_dir() or (one.exists() and not force):
            raise LaunchError(one, "", "is there already", "Choose another name, or replace it with --force.")


def _publish(hidden: Path, path: Path, about: Mapping[str, Any]) -> None:
    """Give the file its name, then its description; a description that is late names another hash."""
    text = write_beside(_beside(path), (to_json(about, indent=1) + "\n").encode())
    try:
        os.replace(hidden, path)
        os.replace(text, _beside(path))
    finally:
        text.unlink(missing_ok=True)
    sync_folder(path.absolute().parent)


def _about(folder: RunFolder, checkpoint: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    manifest = folder.checkpoints.manifest(checkpoint)
    step = int(checkpoint.name.removeprefix("step-"))
    measured = (folder.summary() or {}).get("evaluation") or {}
    averaged = bool(state.get("callbacks", {}).get("Average", {}).get("average"))
    decay = (folder.recipe["train"] or {}).get("ema")
    return {
        "format": FORMAT,
        "network": folder.recipe["model"]["architecture"],
        "model": folder.recipe["model"],
        "task": folder.recipe["task"],
        "weights": f"their running average (train.ema={decay}), as in every evaluation" if averaged else "as trained",
        "classes": _classes(folder),
        "vocabularies": state.get("vocabularies"),
        "metrics": {
            **(manifest.get("metric") or {}),
            **(measured.get("metrics", {}) if measured.get("checkpoint") == step else {}),
        },
        "source": {"run": folder.name, "step": step, "sha256": manifest["files"]["state.pt"]["sha256"]},
    }


def _classes(folder: RunFolder) -> list[str] | None:
    """The names of the classes, where the data are here and have some."""
    try:
        part = build_data(effective_settings(folder)).part("train")
    except (DataError, RecipeError):
        return None
    return [str(name) for name in getattr(part, "classes", [])] or None
