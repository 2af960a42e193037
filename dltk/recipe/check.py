"""Checks a draft against the signatures of what it names, fills in the defaults, and finds what contradicts itself."""

import copy
import functools
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, get_origin

from dltk import catalogue
from dltk.errors import RecipeError
from dltk.recipe.contradictions import contradictions
from dltk.recipe.draft import SELECTORS, Draft
from dltk.recipe.kinds import Misfit, arms, conform
from dltk.recipe.places import is_open
from dltk.recipe.schema import REQUIRED, Schema, Setting, Unread, resolve, schema_of
from dltk.recipe.yaml12 import flow
from dltk.run.folder import NAME, NAME_RULE

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
    map: dict[str, str | None] | None = None  # beginnings of names there -> those here, or null to leave them there
    freeze: list[str] | None = None  # patterns of parameters that stay as they are


FIXED = {
    "batch": "dltk.trainer.config:BatchConfig",
    "train": "dltk.trainer.config:TrainConfig",
    "checkpoint": "dltk.trainer.config:CheckpointConfig",
    "log": "dltk.trainer.config:LogConfig",
    "launch": "dltk.trainer.config:LaunchConfig",
    "site": "dltk.trainer.config:SiteConfig",
    "claim": "dltk.run.claim:Claim",
}
TOP = f"{__name__}:RecipeConfig"
CONTAINER, CONFIG = "launch.container", "dltk.trainer.config:ContainerConfig"


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


def check(draft: Draft, stem: str) -> tuple[dict[str, Any], list[str]]:
    """Settings with every default filled in, and notes for the user.

    Args:
        draft: the merged sources.
        stem: the recipe's name unless it gives one.

    Raises:
        RecipeError: the first mistake found.
    """
    notes: list[str] = []
    top = _top(draft, stem)
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
    for key in ("callbacks", "metrics"):
        settings["train"][key] = _named(draft, key, settings["train"][key], notes)
    _scale(draft, settings)
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


def constructor_of(section: str, chosen: Mapping[str, Any]) -> "functools.partial[Any]":
    """What an open section names, bound to the section's settings; call it with what the builder gives.

    Raises:
        RecipeError: it cannot be imported.
    """
    make = resolve(target_of(section, chosen[SELECTORS[section]]))
    return functools.partial(make, **arguments_of(section, chosen))


def complaint(section: str, chosen: Mapping[str, Any], error: Exception, given: Collection[str] = ()) -> RecipeError:
    """A constructor's refusal as a mistake in the setting of which it speaks.

    Args:
        section: the open section.
        chosen: its settings.
        error: what the constructor raised.
        given: dotted keys that the recipe gives itself; these are meant rather than defaults.
    """
    what, stop, remedy = first_line(error).partition(". ")
    selector = SELECTORS[section]
    spoken = [key for key in chosen if key != selector and re.search(rf"\b{re.escape(key)}\b", what)]
    spoken.sort(key=lambda key: f"{section}.{key}" not in given)
    key = spoken[0] if spoken else selector
    return RecipeError("", f"{section}.{key}", what, f"{remedy.rstrip('.')}." if stop else "")


def first_line(error: Exception) -> str:
    """The first line of an error's text, without its stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


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


def _top(draft: Draft, stem: str) -> dict[str, Any]:
    schema = schema_of(TOP)
    sections = {*FIXED, *CHOICES} - {"data.augment"}
    for key in draft.values:
        if key not in sections and key not in schema.settings:
            raise _unknown(draft, key, "no setting or section", [*sorted(sections), *schema.settings], "")
    top = _filled(draft, "", {key: draft.values[key] for key in schema.settings if key in draft.values}, schema, [])
    for key in ("name", "run"):
        if top[key] is not None and not NAME.fullmatch(top[key]):
            raise draft.error(key, f"{flow(top[key])} cannot name a folder", NAME_RULE)
    if top["name"] is None and not NAME.fullmatch(stem):
        what = f"the file's name {flow(stem)} cannot name the runs' folder"
        raise draft.error("name", what, f"Add `name: NAME`, or rename the file. {NAME_RULE}")
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
    filled = _filled(draft, section, given or {}, schema_for(section), notes)
    if section == "launch" and filled["container"] is not None:
        filled["container"] = _filled(draft, CONTAINER, filled["container"], schema_of(CONFIG), notes)
    return filled


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
    if close and selector not in given:
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
    optimizer["groups"] = _groups(draft, optimizer["name"], optimizer["groups"], notes)
    schedule = _section(draft, "schedule") or {}
    _refuse_misnamed(draft, "schedule", schedule)
    # Without a name it is constant: so an overlay can ask for a warm-up of any recipe.
    return optimizer, _chosen_from(draft, "schedule", {"name": "constant", **schedule}, notes)


def _groups(draft: Draft, name: str, groups: list[dict[str, Any]], notes: list[str]) -> list[dict[str, Any]]:
    """Groups of parameters: a pattern of their names, and the arguments of the optimiser that differ there."""
    schema = schema_of(target_of("optimizer", name)).without(CHOICES["optimizer"].given)
    match = Setting("match", "match", str)
    # What a group leaves out is the optimiser's.
    arguments = {key: replace(item, default=Unread("")) for key, item in schema.settings.items()}
    schema = replace(schema, title=f"a group of {schema.title}", settings={"match": match, **arguments})
    return [_filled(draft, f"optimizer.groups.{i}", group, schema, notes) for i, group in enumerate(groups)]


def _named(draft: Draft, key: str, entries: list[dict[str, Any]], notes: list[str]) -> list[dict[str, Any]]:
    """`train.callbacks` and `train.metrics`: things of other packages, each with its settings."""
    checked = []
    for i, entry in enumerate(entries):
        place = f"train.{key}.{i}"
        target = entry.get("name")
        if not isinstance(target, str):
            given = ", ".join(entry) or "nothing"
            what = "this setting is missing" if target is None else f"{flow(target)} is not text"
            raise draft.error(f"{place}.name", f"{what}, the entry has {given}", "Write `name: package.module:Name`.")
        try:
            schema = schema_of(target)
        except RecipeError as error:
            raise error if error.where else draft.error(f"{place}.name", error.what, error.remedy) from None
        own = {"name": Setting("name", "name", str)}
        if key == "metrics":
            own["label"] = Setting("label", "label", str, Unread(""))
        arguments = {name: _as_given(item) for name, item in schema.settings.items()}
        schema = replace(schema, settings={**arguments, **own})
        checked.append(_filled(draft, place, entry, schema, notes))
    return checked


def _as_given(setting: Setting) -> Setting:
    """A setting whose default stays the constructor's business."""
    return setting if setting.default is REQUIRED else replace(setting, default=Unread(""))


def _scale(draft: Draft, settings: dict[str, Any]) -> None:
    """The linear rule: batch and learning rates become `batch.factor` times as large (Goyal et al., arXiv 1706.02677).

    The factor itself is gone then: a frozen recipe holds the numbers that it made.
    """
    factor, batch = settings["batch"].pop("factor"), settings["batch"]
    if factor == 1:
        return
    if not isinstance(factor, int) or factor < 1 or not isinstance(batch["global"], int):
        what = f"{flow(factor)} cannot multiply batch.global {flow(batch['global'])}"
        raise draft.error("batch.factor", what, "Write both as numbers of at least 1.")
    if settings["train"]["steps"] is not None:
        what = f"{factor} makes a step larger, and train.steps counts steps"
        raise draft.error("batch.factor", what, "Give train.epochs instead.")
    batch["global"] *= factor
    if settings["data"]["name"] == "text" and isinstance(settings["data"].get("lanes"), int):
        settings["data"]["lanes"] *= factor  # of which a batch holds one window each
    if isinstance(batch["tokens"], int):
        batch["tokens"] *= factor
    optimizer = settings["optimizer"] or {"groups": []}
    for group in (optimizer, *optimizer["groups"]):
        if isinstance(group.get("lr"), int | float):
            group["lr"] *= factor


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
            close = get_close_matches(name, schema.settings, n=1, cutoff=0.8)
            question = f" Did you mean '{close[0]}'?" if close else ""
            notes.append(
                f"{draft.place(key)}: {key}: passed on unchecked, for {schema.title} takes any setting.{question}"
            )
            kept[name] = value
        elif key in draft.left_over:
            notes.append(f"{draft.place(key)}: {key}: left out, for {schema.title} has no such setting.")
        else:
            raise _unknown(draft, key, "no setting", list(schema.settings), schema.title)
    return kept


def _value(draft: Draft, key: str, value: Any, setting: Setting) -> Any:
    if is_open(value) and not any(get_origin(kind) is list for kind in arms(setting.kind)):
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
