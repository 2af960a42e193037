"""Recipes, overlays and overrides laid over one another, with the place that every value came from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dltk.errors import RecipeError

# Sections whose settings belong to the thing that they name, and the key that names it.
SELECTORS = {
    "model": "architecture",
    "task": "name",
    "data": "name",
    "data.augment": "name",
    "optimizer": "name",
    "schedule": "name",
}
# Sections that are one value: a source that says their kind says all of them.
WHOLE = {"launch.container": "kind"}


@dataclass
class Layer:
    """One source: its values, and where each stands."""

    values: dict[str, Any]
    origin: dict[str, str]  # dotted key -> place
    source: str


@dataclass
class Draft:
    """What the sources say together, before it is checked."""

    source: str = ""  # the first one, named where nothing nearer can be
    values: dict[str, Any] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    # Settings of a thing for which a later source chose another: dropped where the other has no such setting.
    left_over: set[str] = field(default_factory=set)

    def add(self, layer: Layer) -> None:
        """Lay a source over what is there: maps join, anything else is replaced."""
        self.source = self.source or layer.source
        self._merge(self.values, layer.values, layer.origin, "")

    def place(self, key: str) -> str:
        """Where a setting, or the nearest section around it, was given."""
        while key and key not in self.origin:
            key = key.rpartition(".")[0]
        return self.origin.get(key, self.source)

    def error(self, key: str, what: str, remedy: str = "") -> RecipeError:
        """A mistake in a setting; an override names its key already."""
        place = self.place(key)
        named = place.startswith((f"override '{key}=", f"override '{key}."))
        return RecipeError(place, "" if named else key, what, remedy)

    def _merge(self, old: dict[str, Any], new: Mapping[str, Any], origin: Mapping[str, str], path: str) -> None:
        if self._chooses_another(old, new, path):
            self.left_over |= {f"{path}.{name}" for name in old}
        for name, value in new.items():
            key = f"{path}.{name}" if path else name
            before = old.get(name)
            if isinstance(before, str) and key in SELECTORS and isinstance(value, dict):
                before = old[name] = {SELECTORS[key]: before}  # `augment: affine` is short for {name: affine}
            if isinstance(before, dict) and isinstance(value, dict) and WHOLE.get(key) not in value:
                self._merge(before, value, origin, key)
            else:
                self._replace(old, name, value, origin, key)
            self.left_over.discard(key)

    def _replace(self, old: dict[str, Any], name: str, value: Any, origin: Mapping[str, str], key: str) -> None:
        old[name] = value
        inside = f"{key}."
        for stale in [item for item in self.origin if item.startswith(inside)]:
            del self.origin[stale]
        self.origin |= {item: place for item, place in origin.items() if item == key or item.startswith(inside)}

    @staticmethod
    def _chooses_another(old: Mapping[str, Any], new: Mapping[str, Any], path: str) -> bool:
        selector = SELECTORS.get(path, "")
        return selector in old and selector in new and old[selector] != new[selector]


def texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in nested maps and lists, with its dotted key."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, item in items:
            yield from texts(item, f"{key}.{name}" if key else str(name))


def put(values: Any, key: str, value: Any) -> None:
    """Set what stands under a dotted key that `texts` gave."""
    *path, last = key.split(".")
    for name in path:
        values = values[int(name)] if isinstance(values, list) else values[name]
    values[int(last) if isinstance(values, list) else last] = value
