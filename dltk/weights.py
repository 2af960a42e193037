"""Weights from elsewhere: a run's checkpoint put into a task, a network started from another run or a file."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dltk.errors import LaunchError, RecipeError
from dltk.run.checkpoint import load_file
from dltk.run.folder import RunFolder
from dltk.run.reference import find_checkpoint
from dltk.tasks.task import Task

NAMED = 4  # tensors of each kind that a message names


@dataclass(frozen=True)
class Started:
    """What became of the weights that a network was started from."""

    source: str
    sha256: str
    matched: tuple[str, ...]
    missing: tuple[str, ...]  # of the network, and not in the source
    unexpected: tuple[str, ...]  # in the source, and not of the network

    def __str__(self) -> str:
        parts = [f"init: {len(self.matched)} tensors from {self.source} (sha256 {self.sha256[:12]})"]
        parts += [f"missing there: {', '.join(self.missing)}"] if self.missing else []
        parts += [f"not used: {', '.join(self.unexpected)}"] if self.unexpected else []
        return "; ".join(parts)


def load_weights(task: Task, state: Mapping[str, Any]) -> None:
    """Put a checkpoint's weights into a task, their running average where the run kept one, and its vocabularies.

    Raises:
        LaunchError: they are another network's.
    """
    faults = misfits(task.state_dict(), state["state_dict"])
    try:
        task.load_state_dict(state["state_dict"])  # it decides: a fitted network takes any number of support vectors
    except RuntimeError as error:
        remedy = "Load a checkpoint of this recipe's network."
        raise LaunchError("", "checkpoint", f"belongs to another network: {faults or error}", remedy) from None
    task.restore(state)
    average = state.get("callbacks", {}).get("Average", {}).get("average", {})
    parameters = dict(task.model.named_parameters())
    with torch.no_grad():
        for name, value in average.items():
            parameters[name].copy_(value)


def misfits(own: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> str:
    """Which of the tensors found do not fit a network's own, in words; empty where all do and none is missing."""
    missing = [name for name in own if name not in found]
    unknown = [name for name in found if name not in own]
    shapes = _of_other_shapes(own, found)
    kinds = (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
    return "; ".join(f"{kind}: {_listed(names)}" for kind, names in kinds if names)


def _of_other_shapes(own: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> list[str]:
    """Of the tensors found those that have a network's names and not its shapes, in words."""
    return [
        f"{name} is {_times(value)}, not {_times(own[name])}"
        for name, value in found.items()
        if name in own and value.shape != own[name].shape
    ]


def _times(tensor: torch.Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "a number"


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def start_from(model: nn.Module, source: str, beginnings: Mapping[str, str | None]) -> Started:
    """Put weights of another run or file into a network.

    Args:
        model: is changed in place.
        source: a run folder, or a file of tensors (safetensors, or saved by torch).
        beginnings: names there to names here, None for what is left there; each stands for all names that begin with
            it.

    Raises:
        LaunchError: the weights cannot be read.
        RecipeError: there are none, none of them is the network's, or one is of another shape.
    """
    if not Path(source).exists():
        remedy = "Train that run first, name another run or a file, or set `init=[]` to begin from random weights."
        raise RecipeError("", "init", f"there is no {source}", remedy)
    found, digest = read_weights(Path(source))
    names = {name: _renamed(name, beginnings) for name in found}
    renamed = {here: found[there] for there, here in names.items() if here is not None}
    own = model.state_dict()
    fitting = {name: value for name, value in renamed.items() if name in own}
    if shapes := _of_other_shapes(own, fitting):
        what = f"of {source}, {_listed(shapes)}"
        remedy = "Set the sizes of `model` to those there, or leave such weights there: `map: {NAME: null}`."
        raise RecipeError("", "init", what, remedy)
    if not fitting:
        raise RecipeError(
            "", "init", f"none of the weights of {source} fits the network", "Say with `map` which is which."
        )
    model.load_state_dict(fitting, strict=False)
    missing = tuple(name for name in own if name not in fitting)
    return Started(source, digest, tuple(fitting), missing, tuple(name for name in renamed if name not in fitting))


def freeze(model: nn.Module, patterns: Iterable[str]) -> None:
    """Keep the parameters as they are whose names one of the regular expressions finds.

    Raises:
        RecipeError: a pattern finds none.
    """
    for pattern in patterns:
        found = [parameter for name, parameter in model.named_parameters() if re.search(pattern, name)]
        if not found:
            raise RecipeError("", "init.freeze", f"no parameter's name matches {pattern!r}", "`dltk show` lists them.")
        for parameter in found:
            parameter.requires_grad_(False)


def _renamed(name: str, beginnings: Mapping[str, str | None]) -> str | None:
    """A name of the source as the network calls it: the first beginning that fits is replaced. None: left out."""
    for there, here in beginnings.items():
        if name == there or name.startswith(f"{there}."):
            return None if here is None else here + name[len(there) :]
    return name


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], str]:
    """The network's tensors by name, and the sha256 of their file, from a run's best checkpoint or from a file.

    Raises:
        LaunchError: there is nothing of the kind, or it is damaged.
    """
    if path.is_dir():
        folder = RunFolder.open(path)
        checkpoint = find_checkpoint(folder, "best")
        state = folder.checkpoints.load(checkpoint)
        digest = folder.checkpoints.manifest(checkpoint)["files"]["state.pt"]["sha256"]
    else:
        state = _load_safetensors(path) if path.suffix == ".safetensors" else load_file(path)
        digest = _sha256(path)
    tensors = state.get("state_dict", state)
    return {name.removeprefix("model."): value for name, value in tensors.items() if torch.is_tensor(value)}, digest


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file as load

    try:
        return load(path)
    except FileNotFoundError:
        raise LaunchError(path, "", "no such file", "Give a file of weights, or a run.") from None
    except SafetensorError as error:
        raise LaunchError(path, "", f"is no whole safetensors file ({error})", "Fetch it again.") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
