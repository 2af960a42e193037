"""Recipes: YAML files, overlays and `key=value` become one checked set of settings, or one clear error.

`load` merges and checks, `freeze` and `thaw` write and read the result in a run folder, `difference`, `leaves` and
`recipe_hash` compare results, `settings_of` and `help_of` tell what can be set.
"""

import contextlib
import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dltk.errors import RecipeError
from dltk.recipe.check import arguments_of, check, complaint, constructor_of, schema_for, setting_of, target_of
from dltk.recipe.draft import WHOLE, Draft, put, texts
from dltk.recipe.kinds import Duration, Misfit, conform
from dltk.recipe.places import (
    FORMAT,
    bring_up_to_date,
    fill_environment,
    find,
    interpolate,
    is_open,
    overlays,
    read_source,
    recipes,
)
from dltk.recipe.schema import Setting, resolve, without_imports
from dltk.recipe.yaml12 import read, scalar, write

__all__ = [
    "HARMLESS",
    "Duration",
    "Recipe",
    "Setting",
    "arguments_of",
    "changed",
    "complaint",
    "constructor_of",
    "difference",
    "find",
    "freeze",
    "harmless",
    "help_of",
    "leaves",
    "load",
    "overlays",
    "recipe_hash",
    "recipes",
    "resolve",
    "resolve_place",
    "settings_of",
    "target_of",
    "thaw",
    "with_changes",
    "without_imports",
]

# Settings that cannot change the result: where and how often, not what. A section's name stands for all of it.
HARMLESS = (
    *("format", "name", "run", "runs_dir", "data_dir", "log", "launch", "site", "claim"),
    *("data.workers", "data.cache", "data.cache_gb", "data.allow_pipe", "data.max_bad"),
    *("batch.micro", "batch.accumulate"),
    *("checkpoint.every_steps", "checkpoint.every_minutes", "checkpoint.keep_best", "checkpoint.keep_last"),
    "checkpoint.asynchronous",
)
# Of these sections, settings that change the result in its rounding, unless they have this value.
ROUNDING = {"launch.compression": "none"}


@dataclass(frozen=True)
class Recipe:
    """A checked recipe: every setting, and where each was given."""

    name: str
    settings: dict[str, Any]  # plain Python, defaults filled in
    origin: dict[str, str] = field(default_factory=dict)  # dotted key -> "file:line", "override 'k=v'" or "default"
    notes: tuple[str, ...] = ()  # one line each, for the user

    def __getitem__(self, section: str) -> Any:
        """A section, or a setting at the top."""
        return self.settings[section]


def load(*sources: str | Path | Mapping[str, Any], check_model: bool = True, going_on: bool = False) -> Recipe:
    """One recipe from files, names of shipped files, `key=value` and mappings, merged left to right.

    Args:
        sources: what to merge.
        check_model: also make the network on the meta device; this imports torch and what the recipe names. Without
            it nothing is executed that the recipe names, and what others' source does not tell is taken unchecked.
        going_on: the first source is the recipe of a run that exists. Nothing can be said to it but what its place
            changes, so `key=value` may say what only a place may, such as `${oc.env:X}`.

    Raises:
        RecipeError: something is wrong; the message says what, where, and what to do.
    """
    draft = Draft()
    for source in sources:
        draft.add(read_source(source, place=going_on))
    interpolate(draft)
    with contextlib.nullcontext() if check_model else without_imports():
        settings, notes = check(draft, _stem(sources))
    if check_model:
        from dltk.recipe.network import check_made

        notes += check_made(draft, settings)
    origin = {key: draft.origin.get(key, "default") for key in leaves(settings)}
    return Recipe(settings["name"], settings, origin, tuple(notes))


def _stem(sources: Sequence[str | Path | Mapping[str, Any]]) -> str:
    """The name of the first file."""
    files = [source for source in sources if not isinstance(source, Mapping) and "=" not in str(source)]
    return Path(files[0]).stem if files else "recipe"


# Frozen recipes -----------------------------------------------------------------------------------------------------


def freeze(recipe: Recipe) -> str:
    """The recipe as YAML that loads back identically; environment variables of the place stay unresolved."""
    return f"# {recipe.name}: resolved and frozen by dltk\n" + write({"format": FORMAT, **recipe.settings})


def thaw(path: str | Path) -> Recipe:
    """A frozen recipe, as it was; nothing is merged or checked again.

    Raises:
        RecipeError: the file is missing, damaged, or of a newer format.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(path, "", f"cannot be read: {error}", "Name a run folder's recipe.yaml.") from None
    settings, lines = read(text, str(path))
    if not isinstance(settings, dict) or "model" not in settings or "name" not in settings:
        raise RecipeError(path, "", "this is not a frozen recipe", "Use `dltk train` with the recipe itself.")
    if settings.pop("format", FORMAT) != FORMAT:
        raise RecipeError(lines["format"], "format", f"not the format {FORMAT} that this dltk reads", "Update dltk.")
    bring_up_to_date(settings, lines)
    return Recipe(settings["name"], settings, {key: lines[key] for key in leaves(settings)})


def resolve_place(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the environment variables of this machine put in; called by every rank.

    Raises:
        RecipeError: a variable is not set, or its value is not of the setting's type.
    """
    resolved = copy.deepcopy(dict(settings))
    for key, text in list(texts(resolved)):
        if is_open(text):
            put(resolved, key, _fitted(resolved, key, fill_environment(key, text)))
    return resolved


def _fitted(settings: Mapping[str, Any], key: str, text: str) -> Any:
    """Text where the setting takes text, else what the text reads like."""
    setting = setting_of(settings, key)
    if setting is None:
        return text
    try:
        return conform(text, setting.kind)
    except Misfit:
        pass
    try:
        return conform(scalar(text), setting.kind)
    except Misfit as fault:
        raise RecipeError(
            "", key, f"{fault.what}, from the environment", "Set the variable to another value."
        ) from None


def with_changes(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with others in place of some, by dotted key; a section that was left out, such as claim, is made."""
    whole = copy.deepcopy(dict(settings))
    for key, value in changes.items():
        *sections, last = key.split(".")
        inner = whole
        for name in sections:
            inner[name] = inner.get(name) or {}
            inner = inner[name]
        inner[last] = value
    return whole


# Comparing ----------------------------------------------------------------------------------------------------------


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Dotted keys whose values differ, with both values; None stands for a setting that is absent."""
    before, after = leaves(old), leaves(new)
    keys = [*before, *(key for key in after if key not in before)]
    pairs = [(key, before.get(key), after.get(key)) for key in keys]
    return [(key, a, b) for key, a, b in pairs if a != b or type(a) is not type(b)]


def changed(then: Mapping[str, Any], now: Recipe) -> list[tuple[str, Any, Any]]:
    """What differs between settings of an earlier time and a recipe of today, as `difference` has it.

    A setting that dltk did not have then does not count where it stands at its default, which means what was done
    before there was a choice.

    Args:
        then: frozen or recorded; nested, or by dotted key.
        now: as it is loaded today.
    """
    known = leaves(then)
    found = difference(known, now.settings)
    return [one for one in found if one[0] in known or now.origin.get(one[0]) != "default"]


def harmless(key: str) -> bool:
    """Whether a setting cannot change the result of a run."""
    return key not in ROUNDING and any(key == name or key.startswith(f"{name}.") for name in HARMLESS)


def recipe_hash(settings: Mapping[str, Any], without: Sequence[str] = (*HARMLESS, "train.seed")) -> str:
    """Sixteen hexadecimal digits that are equal for recipes with the same result but for the seed.

    Args:
        settings: of a checked recipe.
        without: dotted keys and sections that do not count.
    """
    names, sections = set(without), tuple(f"{name}." for name in without)
    kept = {
        key: value
        for key, value in leaves(settings).items()
        if value != ROUNDING.get(key, value) or not (key in names or key.startswith(sections))
    }
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def leaves(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key to value; lists, empty maps and what is said as a whole are values."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value and f"{prefix}{name}" not in WHOLE:
            found |= leaves(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


# Help ---------------------------------------------------------------------------------------------------------------


def settings_of(section: str, name: str | None = None) -> list[Setting]:
    """What can be set in a section.

    Args:
        section: "" for the top of a recipe, `train`, `model`, `data.augment` …
        name: the architecture, data set … whose settings are asked for, where the section names one.

    Raises:
        RecipeError: there is no such thing.
    """
    return list(schema_for(section, name).settings.values())


def help_of(key: str, name: str | None = None) -> str:
    """One line on a setting: type, default, meaning.

    Raises:
        RecipeError: there is no such setting.
    """
    section, _, wanted = key.rpartition(".")
    for setting in settings_of(section, name):
        if setting.name == wanted:
            return f"{key}: {setting.kind_text} (default {setting.default_text}). {setting.help}".strip()
    raise RecipeError("", key, f"no setting '{wanted}' in {section or 'a recipe'}", "`dltk show` lists the settings.")
