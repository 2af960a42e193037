"""The frozen settings of a run by dotted key, kept as JSON in the run's `cache/`: a recipe takes long to read."""

from typing import Any

from dltk.compare.cache import FOLDER, keep, signature
from dltk.recipe import leaves
from dltk.run.atomic import read_object, to_json
from dltk.run.folder import RunFolder

FORMAT = 2


def settings_of(run: RunFolder) -> dict[str, Any]:
    """Every setting by dotted key.

    Raises:
        LaunchError: the frozen recipe is damaged.
    """
    source, cache = signature(run.path / "recipe.yaml"), run.path / FOLDER / "settings.json"
    kept = read_object(cache) or {}
    if kept.get("format") == FORMAT and kept.get("source") == source and isinstance(kept.get("settings"), dict):
        return kept["settings"]
    found = leaves(run.recipe)
    keep(cache, to_json({"format": FORMAT, "source": source, "settings": found}).encode())
    return found


def section_of(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """One section, by its keys' last parts: `claim` of settings with `claim.metric` gives `metric`."""
    return {key[len(name) + 1 :]: value for key, value in settings.items() if key.startswith(f"{name}.")}
