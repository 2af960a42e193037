"""From a recipe to a task and its data, and from a checkpoint back to a task."""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import Callback
from torch import nn

from dltk import catalogue, recipe
from dltk.data.datamodule import DataModule, DataSettings
from dltk.errors import RecipeError
from dltk.optim import parameter_groups
from dltk.recipe import arguments_of, resolve, target_of
from dltk.run.folder import RunFolder
from dltk.run.reference import find_checkpoint
from dltk.tasks.task import Procedure, Task, mixed_seed
from dltk.trainer.config import TrainConfig, section
from dltk.weights import freeze, load_weights, start_from

Settings = Mapping[str, Any]


def build(*sources: Any) -> tuple[Task, DataModule]:
    """A task and its data from recipe files, overlays, `key=value` and mappings, merged left to right.

    They run under a bare `lightning.Trainer` too: the loss is normalised, the samples ordered and the gradient clipped
    by the task and the data themselves.

    Raises:
        RecipeError: a setting is wrong; the message says which, where, and what to do.
    """
    settings = recipe.resolve_place(recipe.load(*sources).settings)
    return build_task(settings), build_data(settings)


def build_task(settings: Settings, *, restored: bool = False, note: Callable[[str], None] | None = None) -> Task:
    """The task of a recipe around its network.

    Args:
        settings: the recipe.
        restored: a checkpoint follows, so the weights that `init` names need not be there any more.
        note: hears one line of each source of weights.
    """
    model = build_model(settings)
    for entry in settings["init"]:
        if not restored:
            started = start_from(model, entry["from"], entry["map"] or {})
            if note is not None:
                note(str(started))
        freeze(model, entry["freeze"] or [])
    return wrapped(model, settings)


def wrapped(model: nn.Module, settings: Settings) -> Task:
    """A network in the task of a recipe."""
    return _made("task", settings["task"], model, procedure=build_procedure(settings))


def build_model(settings: Settings) -> nn.Module:
    """The network of a recipe; every parameter drawn from a generator keyed by (seed, its name)."""
    seed = settings["train"]["seed"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mixed_seed(seed))  # networks of other packages draw from the global generator
        model: Any = _made("model", settings["model"])
    if hasattr(model, "initialise"):
        for name, parameter in model.named_parameters():
            model.initialise(name, parameter, _generator(seed, name))
    train = section(settings, "train", TrainConfig)
    if train.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if train.compile:
        model.compile()  # in place: the names of the parameters stay as they are
    return model


def build_procedure(settings: Settings) -> Procedure:
    """How the weights move."""
    train = section(settings, "train", TrainConfig)
    return Procedure(
        optimizer=_optimizer_factory(settings["optimizer"]) if settings["optimizer"] else None,
        schedule=_made("schedule", settings["schedule"] or {"name": "constant"}),
        clip_norm=train.clip_norm,
        clip_value=train.clip_value,
        seed=train.seed,
        channels_last=train.channels_last,
        monitor=settings["checkpoint"]["monitor"],
        mode=settings["checkpoint"]["mode"],
        metrics={chosen.get("label", chosen["name"].partition(":")[2]): _named(chosen) for chosen in train.metrics},
    )


def build_callbacks(settings: Settings) -> list[Callback]:
    """The Lightning callbacks that a recipe names from other packages."""
    return [_named(chosen) for chosen in section(settings, "train", TrainConfig).callbacks]


def build_data(settings: Settings, *, whole_run: bool = False) -> DataModule:
    """The data of a recipe; `whole_run` makes one span of all epochs, for the toolkit's own Trainer."""
    chosen = arguments_of("data", settings["data"])
    common = {key: chosen.pop(key) for key in DataSettings.__dataclass_fields__ if key in chosen}
    name, augment = settings["data"]["name"], common.pop("augment", "none")
    fixed = catalogue.DATASETS[name].settings if name in catalogue.DATASETS else {}
    train = section(settings, "train", TrainConfig)
    return DataModule(
        resolve(target_of("data", name)),
        {**chosen, **fixed},
        batch=settings["batch"]["global"],
        tokens=settings["batch"].get("tokens"),  # a run of an earlier dltk has none
        seed=train.seed,
        epochs=train.epochs,
        steps=train.steps,
        augment=None if augment == "none" else _made("data.augment", augment),
        data_dir=settings["data_dir"] or os.environ.get("DLTK_DATA"),
        whole_run=whole_run,
        **common,
    )


def load(run: RunFolder | str | Path, checkpoint: str = "best") -> Task:
    """The task of a run with the weights of a checkpoint, ready to evaluate.

    Args:
        run: a run folder.
        checkpoint: `best` (by the recipe's monitored metric), `last`, or a step.

    Raises:
        LaunchError: no such checkpoint, or it is damaged.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder.open(Path(run))
    task = build_task(folder.recipe, restored=True)
    load_weights(task, folder.checkpoints.load(find_checkpoint(folder, checkpoint)))
    return task.eval()


def _made(section_name: str, chosen: Settings, *given: Any, **more: Any) -> Any:
    """What a section of a recipe names, made with its settings and what the builder gives."""
    selector = "architecture" if section_name == "model" else "name"
    make = resolve(target_of(section_name, chosen[selector]))
    try:
        return make(*given, **arguments_of(section_name, chosen), **more)
    except (ValueError, TypeError) as error:
        raise RecipeError("", section_name, str(error)) from error


def _named(chosen: Settings) -> Any:
    """The object that `{name: package.module:Name, argument: …}` describes."""
    return resolve(chosen["name"])(**{key: value for key, value in chosen.items() if key not in ("name", "label")})


def _optimizer_factory(settings: Settings) -> Callable[[nn.Module], torch.optim.Optimizer]:
    def make(model: nn.Module) -> torch.optim.Optimizer:
        groups = parameter_groups(model, settings["groups"])
        return _made("optimizer", {key: value for key, value in settings.items() if key != "groups"}, groups)

    return make


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
