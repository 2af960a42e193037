"""Where recipes and overlays lie, and the values that only the place of a run knows.

From a checkout the shipped files are `recipes/` and `cluster/` beside the package, from a wheel `dltk/shipped/`.
"""

import copy
import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dltk.errors import RecipeError
from dltk.recipe.draft import Draft, Layer, put, texts
from dltk.recipe.yaml12 import read, read_value

FORMAT = 1  # of frozen recipes
MOVE = "Move it to a place overlay: a file in a folder `cluster`, or one with `place: true`."

_OVERRIDE = re.compile(r"([A-Za-z_][\w-]*(?:\.[\w-]+)*)=(.*)\Z", re.DOTALL)
_REFERENCE = re.compile(r"\$\{[\w.-]+\}")
_ENVIRONMENT = re.compile(r"\$\{oc\.env:(\w+)(,[^${}]*)?\}")


def shipped() -> Path:
    """The folder that holds the shipped `recipes/` and `cluster/`."""
    package = Path(__file__).resolve().parents[1]
    return package / "shipped" if (package / "shipped").is_dir() else package.parent


def recipes() -> list[Path]:
    """The shipped recipes."""
    return sorted((shipped() / "recipes").glob("*.yaml"))


def overlays() -> list[Path]:
    """The shipped overlays."""
    return sorted((shipped() / "cluster").glob("*.yaml"))


def find(name: str | Path) -> Path:
    """The file of a recipe or overlay: a path, or the name of a shipped one.

    Raises:
        RecipeError: there is neither.
    """
    path = Path(name)
    if path.is_file():
        return path
    wanted = path if path.suffix in (".yaml", ".yml") else path.with_name(path.name + ".yaml")
    known = {file: file.relative_to(shipped()) for file in recipes() + overlays()}
    for file, relative in known.items():
        if wanted in (relative, Path(relative.name)):
            return file
    raise _not_found(str(name), path, [file.stem for file in known])


def _not_found(name: str, path: Path, known: list[str]) -> RecipeError:
    if path.is_dir():
        return RecipeError("", name, "is a folder, a recipe is a file", "Name the YAML file in it.")
    if "=" in name:
        return RecipeError("", name, "is neither a file nor an override", "Write an override as section.setting=value.")
    close = get_close_matches(path.stem, known, n=1)
    remedy = f"Did you mean '{close[0]}'?" if close else "`dltk list` shows the recipes."
    return RecipeError("", name, "no such file, and no shipped recipe or overlay of this name", remedy)


# Sources ------------------------------------------------------------------------------------------------------------


def read_source(source: str | Path | Mapping[str, Any], *, place: bool = False) -> Layer:
    """One source of a recipe: a YAML file, a shipped name, `key=value`, or a mapping.

    Args:
        source: what to read.
        place: `key=value` is a place's word. A file says of itself whether it is a place's.

    Raises:
        RecipeError: it cannot be found or read.
    """
    if isinstance(source, Mapping):
        values = _copied(source, "")
        return _checked(Layer(values, dict.fromkeys(_keys(values), "settings"), "settings"), place=False)
    override = _OVERRIDE.match(source) if isinstance(source, str) else None
    if override:
        return _override(override[0], override[1], override[2], place)
    return _file(find(source))


def _file(path: Path) -> Layer:
    shown = _shown(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        what = "is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"cannot be read: {error.strerror}"
        raise RecipeError(shown, "", what, "Give a YAML file.") from None
    values, lines = read(text, shown)
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise RecipeError(f"{shown}:1", "YAML", "a recipe is a map of sections", "Write it like `model: {…}`.")
    layer = Layer(values, lines, shown)
    frozen = values.pop("format", None)
    if frozen is not None:
        bring_up_to_date(values, lines)
    if frozen not in (None, FORMAT):
        what = f"{frozen!r} is newer than {FORMAT}, which this dltk reads"
        raise RecipeError(lines["format"], "format", what, "Update dltk.")
    declared = values.pop("place", False)
    return _checked(layer, place=path.resolve().parent.name == "cluster" or declared is True or frozen is not None)


def bring_up_to_date(frozen: dict[str, Any], lines: dict[str, str]) -> None:
    """Make of a recipe that an earlier dltk froze what today's would have frozen, in place.

    Args:
        frozen: its settings.
        lines: where each stands, by dotted key.
    """
    site, launch = frozen.get("site"), frozen.get("launch")
    command = site.pop("wrapper", None) if isinstance(site, dict) else None
    if command and isinstance(launch, dict):  # what is now a kind of container
        launch["container"] = {"kind": "wrapper", "image": None, "mounts": [], "home": False, "command": command}
        where = lines.get("site.wrapper", lines.get("format", ""))
        lines |= dict.fromkeys(_keys({"launch": {"container": launch["container"]}}), where)


def _override(text: str, key: str, word: str, place: bool) -> Layer:
    where = f"override '{text}'"
    value = read_value(word, where)
    values: dict[str, Any] = {}
    *path, last = key.split(".")
    inner = values
    for name in path:
        inner = inner.setdefault(name, {})
    inner[last] = value
    return _checked(Layer(values, dict.fromkeys(_keys(values), where), where), place=place)


def _shown(path: Path) -> str:
    """A path as short as it can be said from here."""
    full, here = path.resolve(), Path.cwd().resolve()
    return str(full.relative_to(here)) if full.is_relative_to(here) else str(path)


def _copied(value: Any, key: str) -> Any:
    """Plain Python from what a notebook may hold; tuples become lists."""
    if isinstance(value, Mapping):
        return {str(name): _copied(item, f"{key}.{name}".lstrip(".")) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(item, f"{key}.{i}") for i, item in enumerate(value)]
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise RecipeError("settings", key, f"{value!r} is a {type(value).__name__}", "Give plain Python values.")


def _keys(value: Any, key: str = "") -> list[str]:
    if not isinstance(value, dict | list):
        return [key] if key else []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    inner = [found for name, item in items for found in _keys(item, f"{key}.{name}" if key else str(name))]
    return ([key] if key else []) + inner


# Interpolation ------------------------------------------------------------------------------------------------------


def _checked(layer: Layer, *, place: bool) -> Layer:
    """The layer, if it says nothing that is a place's to say, and its `${…}` are references or a place's variables."""
    data = layer.values.get("data")
    if not place and isinstance(data, dict) and data.get("allow_pipe", False) is not False:
        what = f"{data['allow_pipe']} given, but whether commands of an index run is the place's to say"
        raise Draft(layer.source, layer.values, layer.origin).error("data.allow_pipe", what, MOVE)
    for key, text in texts(layer.values):
        if "${" not in text:
            continue
        error = Draft(layer.source, layer.values, layer.origin).error
        if not place and _ENVIRONMENT.search(text):
            raise error(key, f"'{text}' takes an environment variable", MOVE)
        if "${" in _REFERENCE.sub("", _ENVIRONMENT.sub("", text)) or "\\${" in text:
            raise error(key, f"'{text}' is no reference", "Write ${section.setting}.")
    return layer


def interpolate(draft: Draft) -> None:
    """Put in the values that `${section.setting}` stands for; environment variables stay for `resolve_place`.

    Raises:
        RecipeError: there is no such setting, or references run in a circle.
    """
    references = [(key, text) for key, text in texts(draft.values) if _REFERENCE.search(text)]
    if not references:
        return
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    escaped = copy.deepcopy(draft.values)
    for key, text in texts(escaped):
        put(escaped, key, _ENVIRONMENT.sub(lambda found: "\\" + found[0], text))
    tree = OmegaConf.create(escaped)
    for key, text in references:
        try:
            value = OmegaConf.select(tree, key)
        except OmegaConfBaseException as error:
            circle = "ecursi" in str(error)
            what = f"'{text}' refers to itself" if circle else f"'{text}' refers to a setting that is not given"
            raise draft.error(key, what, "Write the value." if circle else "Give that setting, or the value.") from None
        put(draft.values, key, OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value)


def is_open(value: Any) -> bool:
    """Whether a value waits for the environment of the place where the run will be."""
    return isinstance(value, str) and _ENVIRONMENT.search(value) is not None


def fill_environment(key: str, text: str) -> str:
    """A text with its environment variables put in.

    Raises:
        RecipeError: one is not set here, and has no default.
    """

    def value(found: re.Match[str]) -> str:
        name, default = found[1], found[2]
        if name not in os.environ and default is None:
            remedy = "Set it in the job's environment, or give a default: ${oc.env:NAME,default}."
            raise RecipeError("", key, f"environment variable '{name}' is not set here", remedy)
        return os.environ.get(name, (default or ",")[1:].strip())

    return _ENVIRONMENT.sub(value, text)
