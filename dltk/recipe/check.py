"""Checks a draft against the signatures of what it names, fills in the defaults, and finds what contradicts itself."""

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from dltk import catalogue
from dltk.errors import RecipeError
from dltk.recipe.draft import SELECTORS, Draft
from dltk.recipe.kinds import Misfit, conform
from dltk.recipe.places import is_open
from dltk.recipe.schema import REQUIRED, Schema, Setting, Unread, schema_of
from dltk.recipe.yaml12 import flow

MANY = 12  # more names than this are not listed in an error


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """What stands at the top of a recipe beside its sections."""

    name: str | None = None  # of the recipe; default: its file's
    init: list[dict[str, Any]] | None = None  # other weights to start from: {from: run or file, map: …, freeze: …}
    run: str | None = None  # name of the run's folder; default: a new one
    runs_dir: str = "runs"  # where runs are kept
    data_dir: str | None = None  # where the data lie; default: $DLTK_DATA


@dataclass(frozen=True, kw_only=True)
class InitConfig:
    """One source of weights to start from."""

    from_: str  # a run folder, or a file of weights
    map: dict[str, str] | None = None  # names there -> names here
    freeze: list[str] | None = None  # patterns of parameters that stay as they are


FIXED = {
    "batch": "dltk.trainer.config:BatchConfig",
    "train": "dltk.trainer.config:TrainConfig",
    "checkpoint": "dltk.trainer.config:CheckpointConfig",
    "log": "dltk.trainer.config:LogConfig",
    "launch": "dltk.trainer.config:LaunchConfig",
    "claim": "dltk.run.claim:Claim",
}
TOP = f"{__name__}:RecipeConfig"


@dataclass(frozen=True)
class Choice:
    """A section whose settings are the arguments of the thing that it names."""

    what: str  # such a thing in words
    table: str  # the catalogue's
    given: tuple[str, ...] = ()  # what the builder hands to things of other packages
    common: str | None = None  # settings that every such thing takes


CHOICES = {
    "model": Choice("architecture", "MODELS"),
    "task": Choice("task", "TASKS", ("model", "procedure")),
    "data": Choice("data set", "DATASETS", ("split", "data_dir"), "dltk.data.datamodule:DataSettings"),
    "data.augment": Choice("transform", "TRANSFORMS"),
    "optimizer": Choice("optimiser", "OPTIMIZERS", ("params",), "dltk.optim:OptimizerSettings"),
    "schedule": Choice("schedule", "SCHEDULES"),
}

# Counts that must be at least one.
COUNTS = {
    "batch": ("global", "micro", "accumulate"),
    "train": ("epochs", "steps", "validate_every"),
    "checkpoint": ("every_steps",),
    "log": ("every_steps",),
    "launch": ("devices", "threads"),
    "data": ("eval_batch", "image_size"),
}


def check(draft: Draft, stem: str) -> tuple[dict[str, Any], list[str]]:
    """Settings with every default filled in, and notes for the user.

    Args:
        draft: the merged sources.
        stem: the recipe's name unless it gives one.

    Raises:
        RecipeError: the first mistake found.
    """
    notes: list[str] = []
    top = _top(draft)
    model = _chosen(draft, "model", notes)
    if model is None:
        raise draft.error("model", "this section is missing", "Add `model: {architecture: NAME}`; see `dltk list`.")
    _default_task(draft, model["architecture"])
    _belong(draft, model["architecture"])
    task = _chosen(draft, "task", notes)
    assert task is not None, "the task has a default"
    if draft.values.get("data") and draft.values["data"].get("augment", "") is None:
        del draft.values["data"]["augment"]  # as with sections, null takes back what was said before
    data = _chosen(draft, "data", notes)
    if data is None:
        raise draft.error("data", "this section is missing", "Add `data: {name: NAME}`; see `dltk list`.")
    data["augment"] = _augment(draft, data.get("augment"), notes)
    optimizer, schedule = _optimizer(draft, task["name"], notes)
    settings = {
        "name": top.pop("name") or stem,
        "model": model,
        "task": task,
        "data": data,
        "optimizer": optimizer,
        "schedule": schedule,
        **{section: _fixed(draft, section, notes) for section in FIXED},
        **top,
    }
    contradictions(draft, settings)
    return settings, notes


def schema_for(section: str, name: str | None = None) -> Schema:
    """The settings of a section; `name` is what an open section names, such as an architecture.

    Raises:
        RecipeError: there is no such thing.
    """
    if not section:
        return schema_of(TOP)
    if section in FIXED:
        return replace(schema_of(FIXED[section]), title=section)
    choice = CHOICES[section]
    common = schema_of(choice.common) if choice.common else Schema("")
    if name is None:
        return replace(common, title=section)
    row = getattr(catalogue, choice.table).get(name)
    gone = choice.given if row is None else (*row.given, *(row.settings if section == "data" else ()))
    return schema_of(target_of(section, name)).without(gone).joined(common)


def target_of(section: str, name: str) -> str:
    """The `module:Name` behind a catalogue name, or behind itself.

    Raises:
        RecipeError: the catalogue has no such name.
    """
    choice = CHOICES[section]
    table = getattr(catalogue, choice.table)
    if name in table:
        return table[name].target
    if ":" in name:
        return name
    close = get_close_matches(name, table, n=1)
    question = f"Did you mean '{close[0]}'? " if close else ""
    names = f"Choices: {', '.join(table)}" if len(table) <= MANY else "`dltk list` shows them"
    raise RecipeError("", "", f"no {choice.what} '{name}'", f"{question}{names}, or package.module:Name.")


def arguments_of(section: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an open section as arguments of what it names (`lambda` in a recipe is `lambda_` in Python)."""
    selector = SELECTORS[section]
    schema = schema_for(section, chosen[selector]).settings
    given = {key: value for key, value in chosen.items() if key != selector}
    return {schema[key].argument if key in schema else key: value for key, value in given.items()}


def setting_of(settings: Mapping[str, Any], key: str) -> Setting | None:
    """The schema's entry for a dotted key of a checked recipe; None below the level of settings."""
    section, _, name = key.rpartition(".")
    if section not in FIXED and section not in CHOICES and section:
        return None
    named: Any = settings
    for part in section.split(".") if section else []:
        named = named.get(part) or {}
    return schema_for(section, named.get(SELECTORS.get(section, ""))).settings.get(name)


# Sections -----------------------------------------------------------------------------------------------------------


def _top(draft: Draft) -> dict[str, Any]:
    schema = schema_of(TOP)
    sections = {*FIXED, *CHOICES} - {"data.augment"}
    for key in draft.values:
        if key not in sections and key not in schema.settings:
            raise _unknown(draft, key, "no setting or section", [*sorted(sections), *schema.settings], "")
    top = _filled(draft, "", {key: draft.values[key] for key in schema.settings if key in draft.values}, schema, [])
    for key in ("name", "run"):
        if top[key] is not None and not re.fullmatch(r"\w[\w.+-]*", top[key], re.ASCII):
            raise draft.error(key, f"{flow(top[key])} cannot name a folder", "Use letters, digits, '_', '-' and '.'.")
    entries = schema_of(f"{__name__}:InitConfig")
    top["init"] = [_filled(draft, f"init.{i}", entry, entries, []) for i, entry in enumerate(top["init"] or [])]
    return top


def _section(draft: Draft, section: str) -> dict[str, Any] | None:
    """What a section says; nothing, `null` and an empty section are the same."""
    value = draft.values.get(section)
    if value is None or isinstance(value, dict):
        return value
    name = value if isinstance(value, str) else "NAME"
    example = f"`{section}: {{{SELECTORS[section]}: {name}}}`" if section in SELECTORS else f"`{section}: {{…}}`"
    raise draft.error(section, f"{flow(value)} is not a section", f"Write {example}.")


def _fixed(draft: Draft, section: str, notes: list[str]) -> dict[str, Any] | None:
    given = _section(draft, section)
    if given is None and section == "claim":
        return None
    return _filled(draft, section, given or {}, schema_for(section), notes)


def _chosen(draft: Draft, section: str, notes: list[str]) -> dict[str, Any] | None:
    given = _section(draft, section)
    return None if given is None else _chosen_from(draft, section, given, notes)


def _chosen_from(draft: Draft, section: str, given: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    selector = SELECTORS[section]
    key = f"{section}.{selector}"
    name = given.get(selector)
    if not isinstance(name, str):
        table = getattr(catalogue, CHOICES[section].table)
        names = f" Choices: {', '.join(table)}." if len(table) <= MANY else ""
        if name is not None:
            raise draft.error(key, f"{flow(name)} is not text", f"Give a name.{names}")
        _refuse_misnamed(draft, section, given)
        raise draft.error(key, "this setting is missing", f"Add it.{names}")
    try:
        schema = schema_for(section, name)
    except RecipeError as error:
        raise error if error.where else draft.error(key, error.what, error.remedy) from None
    rest = {item: value for item, value in given.items() if item != selector}
    return {selector: name} | _filled(draft, section, rest, schema, notes)


def _refuse_misnamed(draft: Draft, section: str, given: Mapping[str, Any]) -> None:
    selector = SELECTORS[section]
    close = get_close_matches(selector, given, n=1)
    if close:
        raise draft.error(
            f"{section}.{close[0]}", f"no setting '{close[0]}' in {section}", f"Did you mean '{selector}'?"
        )


def _default_task(draft: Draft, architecture: str) -> None:
    """The catalogue knows how its own networks are trained."""
    given = _section(draft, "task") or {}
    if "name" in given:
        return
    row = catalogue.MODELS.get(architecture)
    if row is None:
        remedy = f"Add `task: {{name: NAME}}`. Choices: {', '.join(catalogue.TASKS)}."
        raise draft.error("task.name", f"this setting is missing, and {flow(architecture)} implies none", remedy)
    draft.values["task"] = {"name": row.task, **given}


def _belong(draft: Draft, architecture: str) -> None:
    """The network is trained as it can be, from data that hold what the task reads."""
    name, data = draft.values["task"]["name"], (_section(draft, "data") or {}).get("name")
    task, model = catalogue.TASKS.get(str(name)), catalogue.MODELS.get(architecture)
    row = catalogue.DATASETS.get(str(data))
    if task and model and name != model.task:
        what = f"'{name}' does not train architecture '{architecture}'"
        raise draft.error("task.name", what, f"Set it to '{model.task}', or remove it.")
    missing = [item for item in task.needs if item not in row.provides] if task and row else []
    if task and row and missing:
        fits = [item.name for item in catalogue.DATASETS.values() if set(task.needs) <= set(item.provides)]
        what = f"'{data}' has {', '.join(row.provides)}; task '{name}' needs {', '.join(missing)}"
        raise draft.error("data.name", what, f"Data sets that fit: {', '.join(fits)}.")


def _augment(draft: Draft, value: Any, notes: list[str]) -> Any:
    """`none`, or a map with the transform's name and all its settings."""
    if value in (None, "none"):
        return "none"
    given = {"name": value} if isinstance(value, str) else value
    return _chosen_from(draft, "data.augment", given, notes)


def _optimizer(draft: Draft, task: str, notes: list[str]) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    row = catalogue.TASKS.get(task)
    if row is not None and not row.gradient:
        for section in ("optimizer", "schedule"):
            if draft.values.get(section) is not None:
                raise draft.error(section, f"task '{task}' has none: it fits at once", "Remove the section.")
        return None, None
    optimizer = _chosen(draft, "optimizer", notes)
    if optimizer is None:
        raise draft.error("optimizer", "this section is missing", "Add `optimizer: {name: sgd, lr: NUMBER}`.")
    if _section(draft, "schedule") is None:
        return optimizer, _chosen_from(draft, "schedule", {"name": "constant"}, notes)
    return optimizer, _chosen(draft, "schedule", notes)


# Settings -----------------------------------------------------------------------------------------------------------


def _filled(draft: Draft, section: str, given: Mapping[str, Any], schema: Schema, notes: list[str]) -> dict[str, Any]:
    """A section's settings in the order of its schema, checked, with defaults."""
    prefix = f"{section}." if section else ""
    known = {name: value for name, value in given.items() if name in schema.settings}
    extra = {name: value for name, value in given.items() if name not in schema.settings}
    kept = _extras(draft, prefix, extra, schema, notes)
    checked = {name: _value(draft, prefix + name, value, schema.settings[name]) for name, value in known.items()}
    filled = {}
    for name, setting in schema.settings.items():
        if name in checked:
            filled[name] = checked[name]
        elif setting.default is REQUIRED:
            remedy = f"Add `{name}`, {setting.kind_text}."
            raise draft.error(prefix + name, f"this setting is missing, {schema.title} needs it", remedy)
        elif not isinstance(setting.default, Unread):
            filled[name] = _default(setting)
    return filled | kept


def _extras(draft: Draft, prefix: str, extra: Mapping[str, Any], schema: Schema, notes: list[str]) -> dict[str, Any]:
    """Settings that the schema does not know: a mistake, unless they are another thing's or the schema is open."""
    kept = {}
    for name, value in extra.items():
        key = prefix + name
        if schema.open:
            notes.append(f"{draft.place(key)}: {key}: passed on unchecked, for {schema.title} takes any setting.")
            kept[name] = value
        elif key in draft.left_over:
            notes.append(f"{draft.place(key)}: {key}: left out, for {schema.title} has no such setting.")
        else:
            raise _unknown(draft, key, "no setting", list(schema.settings), schema.title)
    return kept


def _value(draft: Draft, key: str, value: Any, setting: Setting) -> Any:
    if is_open(value):
        return value  # checked by `resolve_place` where it gets its value
    try:
        return conform(value, setting.kind)
    except Misfit as fault:
        raise draft.error(f"{key}.{fault.path}".rstrip("."), fault.what, fault.remedy) from None


def _default(setting: Setting) -> Any:
    try:
        return conform(copy.deepcopy(setting.default), setting.kind)
    except Misfit:
        return copy.deepcopy(setting.default)  # as in `x: int = None`


def _unknown(draft: Draft, key: str, what: str, names: list[str], title: str) -> RecipeError:
    name = key.rpartition(".")[2]
    close = get_close_matches(name, names, n=1)
    elsewhere = next((found for found in _all_keys(draft) if found.rpartition(".")[2] == name), None)
    if close:
        remedy = f"Did you mean '{close[0]}'?"
    elif elsewhere:
        remedy = f"Did you mean '{elsewhere}'?"
    elif not names:
        remedy = "It has none."
    else:
        remedy = f"Choices: {', '.join(names)}." if len(names) <= MANY else "`dltk show` lists them."
    return draft.error(key, f"{what} '{name}'" + (f" in {title}" if title else ""), remedy)


def _all_keys(draft: Draft) -> Iterator[str]:
    """The dotted keys of all settings that this recipe could have."""
    for section in [*CHOICES, *FIXED]:
        named: Any = draft.values
        for part in section.split("."):
            named = named.get(part) if isinstance(named, dict) else None
        name = named.get(SELECTORS.get(section, "")) if isinstance(named, dict) else None
        try:
            schema = schema_for(section, name if isinstance(name, str) else None)
        except RecipeError:
            continue
        yield from (f"{section}.{item}" for item in schema.settings)


# Contradictions -----------------------------------------------------------------------------------------------------


def contradictions(draft: Draft, settings: Mapping[str, Any]) -> None:
    """Settings that are well formed each, and cannot be true together.

    Raises:
        RecipeError: the first pair found.
    """
    for section, names in COUNTS.items():
        for name in names:
            count = settings[section].get(name)
            if isinstance(count, int) and count < 1:
                raise draft.error(f"{section}.{name}", f"{count} is too small", "Set at least 1.")
    _length(draft, settings["train"])
    _batch(draft, settings["batch"], settings["launch"]["devices"])
    _classes(draft, settings)


def _length(draft: Draft, train: Mapping[str, Any]) -> None:
    epochs, steps = train["epochs"], train["steps"]
    if epochs is None and steps is None:
        raise draft.error("train", "it says neither epochs nor steps", "Add one of them.")
    if epochs is not None and steps is not None:
        what = f"{steps} given beside train.epochs {epochs} ({draft.place('train.epochs')})"
        raise draft.error("train.steps", what, "Remove one of them, or set it to null.")


def _batch(draft: Draft, batch: Mapping[str, Any], devices: Any) -> None:
    total, micro, accumulate = batch["global"], batch["micro"], batch["accumulate"]
    processes = devices if isinstance(devices, int) else 1
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
