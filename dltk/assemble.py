"""From a recipe to a task and its data, and from a checkpoint back to a task."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import Callback
from torch import nn

from dltk import catalogue, recipe
from dltk.data.datamodule import DataModule, DataSettings
from dltk.errors import LaunchError, RecipeError
from dltk.optim import OptimizerSettings, parameter_groups
from dltk.recipe import resolve, target_of
from dltk.run.folder import RunFolder
from dltk.tasks.task import Procedure, Task, mixed_seed
from dltk.trainer.config import TrainConfig
from dltk.trainer.make import section

Settings = Mapping[str, Any]


def build(*sources: Any) -> tuple[Task, DataModule]:
    """A task and its data from recipe files, overlays, `key=value` and mappings, merged left to right.

    They run under a bare `lightning.Trainer` too: the loss is normalised, the samples ordered and the gradient clipped
    by the task and the data themselves.

    Raises:
        RecipeError: a setting is wrong; the message says which, where, and what to do.
    """
    settings = recipe.load(*sources).settings
    return build_task(settings), build_data(settings)


def build_task(settings: Settings) -> Task:
    """The task of a recipe around its freshly initialised network."""
    chosen = dict(settings["task"])
    task = resolve(target_of("task", chosen.pop("name")))
    return task(build_model(settings), procedure=build_procedure(settings), **chosen)


def build_model(settings: Settings) -> nn.Module:
    """The network of a recipe; every parameter drawn from a generator keyed by (seed, its name)."""
    chosen = dict(settings["model"])
    target = target_of("model", chosen.pop("architecture"))
    seed = settings["train"]["seed"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mixed_seed(seed))  # networks of other packages draw from the global generator
        model = resolve(target)(**chosen)
    if hasattr(model, "initialise"):
        for parameter_name, parameter in model.named_parameters():
            model.initialise(parameter_name, parameter, _generator(seed, parameter_name))
    train = section(settings, "train", TrainConfig)
    if train.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if train.compile:
        model.compile()  # in place: the names of the parameters stay as they are
    return model


def build_procedure(settings: Settings) -> Procedure:
    """How the weights move."""
    train = section(settings, "train", TrainConfig)
    schedule = dict(settings.get("schedule") or {"name": "constant"})
    schedule_name = schedule.pop("name")
    schedule_target = (
        catalogue.SCHEDULES[schedule_name].target if schedule_name in catalogue.SCHEDULES else schedule_name
    )
    return Procedure(
        optimizer=_optimizer_factory(settings["optimizer"]) if settings.get("optimizer") else None,
        schedule=resolve(schedule_target)(**schedule),
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
    chosen = dict(settings["data"])
    name = chosen.pop("name")
    common = {key: chosen.pop(key) for key in DataSettings.__dataclass_fields__ if key in chosen}
    fixed = catalogue.DATASETS[name].settings if name in catalogue.DATASETS else {}
    augment = common.pop("augment", None)
    train = section(settings, "train", TrainConfig)
    return DataModule(
        resolve(target_of("data", name)),
        {**chosen, **fixed},
        batch=settings["batch"]["global"],
        seed=train.seed,
        epochs=train.epochs,
        steps=train.steps,
        augment=build_transform(augment),
        data_dir=settings.get("data_dir") or os.environ.get("DLTK_DATA"),
        whole_run=whole_run,
        **common,
    )


def build_transform(augment: str | Settings | None) -> Any:
    """The augmentation named by `data.augment`."""
    if augment in (None, "none"):
        return None
    chosen = {"name": augment} if isinstance(augment, str) else dict(augment)
    return resolve(target_of("data.augment", chosen.pop("name")))(**chosen)


def load(run: RunFolder | str | Path, checkpoint: str = "best") -> Task:
    """The task of a run with the weights of a checkpoint, ready to evaluate.

    Args:
        run: a run folder.
        checkpoint: `best` (by the recipe's monitored metric), `last`, or a step.

    Raises:
        LaunchError: no such checkpoint, or it is damaged.
    """
    folder = run if isinstance(run, RunFolder) else RunFolder.open(Path(run))
    task = build_task(folder.recipe)
    load_weights(task, folder.checkpoints.load(find_checkpoint(folder, checkpoint)))
    return task.eval()


def find_checkpoint(folder: RunFolder, which: str) -> Path:
    """The directory of a run's `best`, `last` or numbered checkpoint."""
    if which == "best":
        wanted = folder.recipe["checkpoint"]
        path = folder.checkpoints.best(wanted["monitor"], wanted["mode"]) or folder.checkpoints.newest()
    elif which == "last":
        path = folder.checkpoints.newest()
    elif which.isdecimal():
        path = folder.checkpoints.at(int(which))
    else:
        raise LaunchError(folder.path, "checkpoint", f"'{which}' is none of best, last or a step")
    if path is None:
        raise LaunchError(folder.path, "checkpoint", f"there is no '{which}' checkpoint", "Train the run first.")
    return path


def load_weights(task: Task, state: Mapping[str, Any]) -> None:
    """Put a checkpoint's weights into a task; their running average where the run kept one."""
    try:
        task.load_state_dict(state["state_dict"])
    except RuntimeError as error:
        raise LaunchError(
            "", "checkpoint", f"belongs to another network: {str(error).splitlines()[-1].strip()}"
        ) from None
    average = state.get("callbacks", {}).get("Average", {}).get("average", {})
    parameters = dict(task.model.named_parameters())
    with torch.no_grad():
        for name, value in average.items():
            parameters[name].copy_(value)


def _named(chosen: Settings) -> Any:
    """The object that `{name: package.module:Name, argument: …}` describes."""
    return resolve(chosen["name"])(**{key: value for key, value in chosen.items() if key not in ("name", "label")})


def _optimizer_factory(settings: Settings) -> Any:
    chosen = dict(settings)
    name = chosen.pop("name")
    common = OptimizerSettings(**{k: chosen.pop(k) for k in OptimizerSettings.__dataclass_fields__ if k in chosen})
    factory = resolve(target_of("optimizer", name))

    def make(model: nn.Module) -> torch.optim.Optimizer:
        try:
            return factory(parameter_groups(model, common.groups), **chosen)
        except ValueError as error:
            raise RecipeError("", f"optimizer.{name}", str(error)) from None

    return make


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
