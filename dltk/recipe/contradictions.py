"""What no recipe may ask for, though each setting is of the right type: numbers out of range, and contradictions."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from dltk import catalogue
from dltk.recipe.draft import Draft
from dltk.recipe.places import is_open
from dltk.recipe.yaml12 import flow
from dltk.trainer.strategies.deepspeed_config import STAGES, conflicts


@dataclass(frozen=True)
class Range:
    """The numbers from `low` up to but without `high`; also without `low` where that is open."""

    low: float
    high: float = math.inf
    open: bool = False

    def __contains__(self, number: float) -> bool:
        return (self.low < number if self.open else self.low <= number) and number < self.high

    @property
    def remedy(self) -> str:
        """What to set instead."""
        below = f" and less than {self.high}" if self.high < math.inf else ""
        return f"Set {'more than' if self.open else 'at least'} {self.low}{below}."


COUNT, SIZE, ABOVE, SHARE = Range(1), Range(0), Range(0, open=True), Range(0, 1)

# Numbers that are not free; in a list every one counts. What is made on the way (schedules, networks) checks its own.
RANGES = {
    "batch": {"global": COUNT, "tokens": COUNT, "micro": COUNT, "accumulate": COUNT},
    "train": {
        **{"epochs": COUNT, "steps": COUNT, "validate_every": COUNT, "seed": Range(0, 2**63)},
        **{"clip_norm": ABOVE, "clip_value": ABOVE, "ema": Range(0, 1, open=True)},
    },
    "checkpoint": {"every_steps": COUNT, "every_minutes": SIZE, "keep_best": SIZE, "keep_last": COUNT},
    "log": {"every_steps": COUNT, "samples": SIZE},
    "launch": {
        **{"nodes": COUNT, "devices": COUNT, "threads": COUNT, "tensor": COUNT, "max_attempts": COUNT},
        **{"pipeline": COUNT, "pipeline_pieces": COUNT, "bucket_mb": ABOVE},
    },
    "site": {"cpus": COUNT, "notice": SIZE},
    "data": {"workers": SIZE, "max_bad": SIZE, "eval_batch": COUNT, "image_size": COUNT},
    "task": {
        **{"std": ABOVE, "auxiliary_weight": SIZE},
        **{"window": COUNT, "negatives": COUNT, "shared": SIZE, "subsample": SHARE},
    },
    "claim": {"tolerance": SIZE, "seeds": COUNT},
}
# Of our own optimisers, and of their groups: the limits that torch sets when it makes one.
OPTIMIZER = {
    **{"lr": SIZE, "eps": SIZE, "weight_decay": SIZE, "momentum": SHARE, "alpha": SHARE},
    **{"rho": SHARE, "beta1": SHARE, "beta2": SHARE},
}

DDP_ONLY = {  # and what says nothing
    **{"tensor": 1, "tensor_plan": "wide", "pipeline": 1},
    **{"bucket_mb": None, "compression": "none", "static_graph": False},
}


def contradictions(draft: Draft, settings: Mapping[str, Any]) -> None:
    """Settings that are well formed each, and cannot be true together.

    Raises:
        RecipeError: the first pair found.
    """
    _ranges(draft, settings)
    _length(draft, settings["train"])
    _fit(draft, settings)
    _batch(draft, settings["batch"], settings["launch"])
    _classes(draft, settings)
    _vocabularies(draft, settings)
    _lanes(draft, settings)
    _pixels(draft, settings)
    _optimizer(draft, settings["optimizer"])
    _metrics(draft, settings)
    _strategy(draft, settings)
    _container(draft, settings["launch"]["container"])


OF_A_KIND = {"pyxis": ("image", ("command",)), "wrapper": ("command", ("image", "mounts", "home"))}


def _container(draft: Draft, container: Mapping[str, Any] | None) -> None:
    """A container has what its kind needs, and nothing of another kind's."""
    if container is None:
        return
    kind = container["kind"]
    needs, others = OF_A_KIND[kind]
    if not container[needs]:
        example = "image: /images/torch.sqsh" if kind == "pyxis" else "command: [apptainer, exec, image.sif]"
        raise draft.error(f"launch.container.{needs}", f"is missing, and kind is {kind}", f"Add `{example}`.")
    for name in others:
        if container[name]:
            raise draft.error(f"launch.container.{name}", f"means nothing to kind {kind}", "Leave it out.")


def _ranges(draft: Draft, settings: Mapping[str, Any]) -> None:
    for section, ranges in RANGES.items():
        _in_range(draft, section, settings[section] or {}, ranges)
    optimizer = settings["optimizer"]
    if optimizer and optimizer["name"] in catalogue.OPTIMIZERS:
        for section, chosen in _groups(optimizer):
            _in_range(draft, section, chosen, OPTIMIZER)


def _groups(optimizer: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "optimizer", optimizer
    groups = optimizer["groups"]
    yield from ((f"optimizer.groups.{i}", group) for i, group in enumerate(groups))


def _in_range(draft: Draft, section: str, chosen: Mapping[str, Any], ranges: Mapping[str, Range]) -> None:
    for name, allowed in ranges.items():
        value = chosen.get(name)
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int | float) and number not in allowed:
                small = number < allowed.low or (number == allowed.low and allowed.open)
                what = "too small" if small else "not finite" if math.isinf(number) else "too large"
                raise draft.error(f"{section}.{name}", f"{flow(value)} is {what}", allowed.remedy)


def _length(draft: Draft, train: Mapping[str, Any]) -> None:
    epochs, steps = train["epochs"], train["steps"]
    if epochs is None and steps is None:
        raise draft.error("train", "it says neither epochs nor steps", "Add one of them.")
    if epochs is not None and steps is not None:
        what = f"{steps} given beside train.epochs {epochs} ({draft.place('train.epochs')})"
        raise draft.error("train.steps", what, "Remove one of them, or set it to null.")


def _fit(draft: Draft, settings: Mapping[str, Any]) -> None:
    """What is fitted at once sees the training part once."""
    row, train = catalogue.TASKS.get(settings["task"]["name"]), settings["train"]
    if row is None or row.gradient:
        return
    if train["steps"] is not None:
        what = f"{train['steps']} given, task '{row.name}' fits at once, in one epoch"
        raise draft.error("train.steps", what, "Remove it, and set train.epochs to 1.")
    if train["epochs"] != 1:
        what = f"{train['epochs']} given, task '{row.name}' fits at once, in one epoch"
        raise draft.error("train.epochs", what, "Set it to 1.")


def _batch(draft: Draft, batch: Mapping[str, Any], launch: Mapping[str, Any]) -> None:
    total, micro, accumulate = batch["global"], batch["micro"], batch["accumulate"]
    devices, nodes = launch["devices"], launch["nodes"]
    processes = devices * nodes if isinstance(devices, int) and isinstance(nodes, int) else 1
    on = f" on {processes} devices" if processes > 1 else ""
    if micro is not None and accumulate is not None:
        what = f"{accumulate} given beside batch.micro {micro} ({draft.place('batch.micro')})"
        raise draft.error("batch.accumulate", what, "Remove one of them, or set it to null; it follows from the other.")
    if any(is_open(value) for value in (total, micro, accumulate)):
        return
    if micro is not None and total % (micro * processes):
        what = f"batch.global {total} is no multiple of {micro}{on}"
        raise draft.error("batch.micro", what, _micro_remedy(total, micro, processes))
    if total < (accumulate or 1) * processes:
        passes = f" in {accumulate} passes" if accumulate else ""
        what = f"{total} samples are too few{on}{passes}"
        raise draft.error("batch.global", what, f"Set at least {(accumulate or 1) * processes}.")


def _micro_remedy(total: int, micro: int, processes: int) -> str:
    fits = [size for size in range(1, total + 1) if total % (size * processes) == 0]
    near = max((size for size in fits if size <= micro), default=None)
    return f"Set it to {near}, or change batch.global." if near else "Change batch.global or launch.devices."


def _classes(draft: Draft, settings: Mapping[str, Any]) -> None:
    row = catalogue.DATASETS.get(settings["data"]["name"])
    asked = settings["model"].get("num_classes")
    if row and row.classes and isinstance(asked, int) and asked != row.classes:
        what = f"{asked} asked, data set '{row.name}' has {row.classes} classes"
        raise draft.error("model.num_classes", what, f"Set it to {row.classes}, or choose other data.")


def _lanes(draft: Draft, settings: Mapping[str, Any]) -> None:
    """Of a text that goes on, a global batch holds one window of each lane."""
    lanes, batch = settings["data"].get("lanes"), settings["batch"]["global"]
    if settings["data"]["name"] == "text" and isinstance(batch, int) and lanes != batch:
        what = f"{batch} samples make a batch, and the text has {lanes} lanes"
        raise draft.error("batch.global", what, "Set it and data.lanes to the same number.")


def _vocabularies(draft: Draft, settings: Mapping[str, Any]) -> None:
    """The network has a row for each token that the data may have."""
    for name in ("source_vocab_size", "target_vocab_size", "vocab_size"):
        asked, most = settings["model"].get(name), settings["data"].get(name)
        if isinstance(asked, int) and isinstance(most, int) and asked < most:
            what = f"{asked} is less than the {most} tokens that the data may have (data.{name})"
            raise draft.error(f"model.{name}", what, f"Set both to {most}, or data.{name} to {asked}.")


def _pixels(draft: Draft, settings: Mapping[str, Any]) -> None:
    """One mean and one scale for all channels of the images, or one for each."""
    data, task = settings["data"], settings["task"]
    row = catalogue.DATASETS.get(data["name"])
    channels = data.get("channels", row.channels if row else None)
    for name in ("mean", "std"):
        values = task.get(name)
        if isinstance(values, list) and isinstance(channels, int) and len(values) not in (1, channels):
            plural = "s" if channels != 1 else ""
            what = (
                f"{flow(values)} has {len(values)} values, images of '{data['name']}' have {channels} channel{plural}"
            )
            remedy = "Give one number" + (f", or {channels}." if channels > 1 else ".")
            raise draft.error(f"task.{name}", what, remedy)


def _optimizer(draft: Draft, optimizer: Mapping[str, Any] | None) -> None:
    for section, chosen in _groups(optimizer) if optimizer else ():
        whole = {**(optimizer or {}), **chosen}
        if whole.get("nesterov") is True and whole.get("momentum") == 0:
            key = "nesterov" if "nesterov" in chosen else "momentum"
            what = "nesterov looks ahead along the momentum, which is 0"
            raise draft.error(f"{section}.{key}", what, "Set momentum above 0, or nesterov to false.")


def _strategy(draft: Draft, settings: Mapping[str, Any]) -> None:
    """What is said of one strategy is only said where it is chosen."""
    launch, train = settings["launch"], settings["train"]
    strategy = launch["strategy"]
    if strategy not in ("auto", "ddp", *STAGES, "fsdp2"):
        return  # it waits for the place's environment
    for key, unsaid in DDP_ONLY.items():
        if launch[key] != unsaid and strategy not in ("auto", "ddp"):
            what = f"{flow(launch[key])} given, which is a way of DDP's, beside launch.strategy {strategy}"
            raise draft.error(f"launch.{key}", what, "Remove it, or set launch.strategy to ddp.")
    _together(draft, launch, train)
    passes = settings["batch"]["accumulate"], settings["batch"]["micro"]
    if launch["static_graph"] is True and (passes[0] not in (None, 1) or passes[1] is not None):
        what = "true given, and in a step of several passes not each of them sends the gradient"
        raise draft.error(
            "launch.static_graph", what, "Set it to false, or leave batch.accumulate and batch.micro out."
        )
    if strategy not in STAGES:
        if launch["deepspeed"]:
            what = f"{flow(launch['deepspeed'])} given beside launch.strategy {strategy}"
            raise draft.error("launch.deepspeed", what, f"Remove it, or choose one of {', '.join(STAGES)}.")
        return
    if train["precision"] == "16-mixed":
        what = f"16-mixed scales the loss, and {strategy} would clip and save what is scaled"
        raise draft.error("train.precision", what, "Set it to bf16-mixed, or launch.strategy to ddp or fsdp2.")
    if train["compile"] is True and STAGES[strategy] == 3:
        what = "true given, and a compiled network does not gather the weights of its layers for deepspeed-3"
        raise draft.error("train.compile", what, "Set it to false, or launch.strategy to fsdp2.")
    for key, what, remedy in conflicts(settings):
        raise draft.error(f"launch.deepspeed.{key}", what, remedy)


def _together(draft: Draft, launch: Mapping[str, Any], train: Mapping[str, Any]) -> None:
    """Processes that have a network together are whole groups, and nothing else hides what passes between them."""
    devices, nodes = launch["devices"], launch["nodes"]
    if launch["tensor"] == 1 and launch["tensor_plan"] == "groups":
        what = "groups given, and one process (launch.tensor 1) shares nothing"
        raise draft.error("launch.tensor_plan", what, "Set launch.tensor to the number of groups, or remove it.")
    for name, who, layers in (
        ("tensor", "share layers", "its layers share"),
        ("pipeline", "have a layer each", "passes between its layers"),
    ):
        key, count = f"launch.{name}", launch[name]
        if not isinstance(count, int) or count == 1:
            continue
        if isinstance(devices, int) and isinstance(nodes, int) and devices * nodes > 1 and devices * nodes % count:
            what = f"{count} given, and {devices * nodes} processes are no multiple of it"
            raise draft.error(key, what, "Change it, or launch.devices.")
        if train["precision"] == "16-mixed":
            what = f"16-mixed scales the loss, and the processes that {who} ({key} {count}) do not agree on it"
            raise draft.error("train.precision", what, f"Set it to bf16-mixed, or {key} to 1.")
        if train["compile"] is True:
            what = f"true given, and a compiled network does not send what {layers} ({key} {count})"
            raise draft.error("train.compile", what, f"Set it to false, or {key} to 1.")
    if isinstance(launch["pipeline"], int) and launch["pipeline"] > 1:
        for key, unsaid in DDP_ONLY.items():
            if key != "pipeline" and launch[key] != unsaid:
                what = f"{flow(launch[key])} given beside launch.pipeline {launch['pipeline']}, which has no use of it"
                raise draft.error(f"launch.{key}", what, "Remove one of them.")


# Metrics ------------------------------------------------------------------------------------------------------------


def _metrics(draft: Draft, settings: Mapping[str, Any]) -> None:
    """The metrics that decide something are among those that the run measures."""
    known = _measured(settings)
    row = catalogue.TASKS.get(settings["task"]["name"])
    if row is not None and not row.scores and settings["train"]["metrics"]:
        what = f"they read class scores, and task '{row.name}' gives none"
        raise draft.error("train.metrics", what, "Remove them.")
    labels: list[str] = []
    for i, label in enumerate(_labels(settings)):
        if label in known or label in labels:
            key = "label" if "label" in settings["train"]["metrics"][i] else "name"
            remedy = "Give it a `label` of its own."
            raise draft.error(f"train.metrics.{i}.{key}", f"there is a metric '{label}' already", remedy)
        labels.append(label)
    names = [*known, *labels] if known else []
    _measures(draft, "checkpoint.monitor", settings["checkpoint"]["monitor"], "val", names)
    claim = settings["claim"]
    if claim is not None:
        _measures(draft, "claim.metric", claim["metric"], claim["split"], names)


def _measures(draft: Draft, key: str, metric: str, split: str, names: list[str]) -> None:
    prefix, slash, name = metric.partition("/")
    if prefix != split or not slash:
        which = "the part that chooses is val" if key == "checkpoint.monitor" else f"claim.split is '{split}'"
        other = ", or change claim.split" if slash and key == "claim.metric" else ""
        remedy = f"Write {split}/{name if slash else metric}{other}."
        raise draft.error(key, f"{flow(metric)} does not begin with '{split}/', {which}", remedy)
    if names and name not in names:
        close = get_close_matches(name, names, n=1)
        question = f"Did you mean '{split}/{close[0]}'? " if close else ""
        choices = ", ".join(f"{split}/{item}" for item in names)
        raise draft.error(key, f"{flow(metric)} is not measured", f"{question}Choices: {choices}.")


def _measured(settings: Mapping[str, Any]) -> list[str]:
    """What the task measures by itself; nothing where the catalogue does not say."""
    task, data = catalogue.TASKS.get(settings["task"]["name"]), catalogue.DATASETS.get(settings["data"]["name"])
    classes = settings["model"].get("num_classes", data.classes if data else None)
    few = isinstance(classes, int) and classes <= 5  # of which every one is among the first five
    return [name for name in (task.metrics if task else ()) if not (few and name == "top5_error")]


def _labels(settings: Mapping[str, Any]) -> list[str]:
    return [entry.get("label", entry["name"].partition(":")[2]) for entry in settings["train"]["metrics"]]
