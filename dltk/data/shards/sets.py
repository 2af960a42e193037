"""A set: a folder with `set.json` and a folder of shards for each split."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dltk.data.shards.index import Index
from dltk.data.splits import SPLITS
from dltk.errors import DataError

FORMAT = 1
FILE = "set.json"
PLACE = re.compile(r"\w[\w.+-]*")  # a folder's name
KINDS = ("images", "captions", "text", "audio", "arrays", "other")


@dataclass(kw_only=True)
class ShardSet:
    """What `set.json` says."""

    name: str
    kind: str  # one of KINDS
    splits: dict[str, str]  # split: its folder; two splits may name one
    classes: list[str] | None = None
    about: dict[str, Any] = field(default_factory=dict)  # where it comes from, and how it was packed

    def write(self, folder: Path) -> None:
        """Write it into the set's folder, whole or not at all."""
        partial = folder / f".{FILE}.part"
        partial.write_text(json.dumps({"format": FORMAT, **asdict(self)}, ensure_ascii=False, indent=1) + "\n", "utf-8")
        partial.rename(folder / FILE)


def read_set(folder: Path) -> ShardSet:
    """The set of a folder.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    path = folder / FILE
    try:
        said: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if said["format"] > FORMAT:
            raise DataError(path, "format", f"{said['format']} is newer than {FORMAT}", "Install a newer dltk.")
        found = ShardSet(**{key: value for key, value in said.items() if key != "format"})
        _require_kinds(found)
    except FileNotFoundError:
        remedy = "Set data_dir to the folder that holds it, or make it with `dltk data prepare` (`dltk data list`)."
        raise DataError(folder, "data.folder", "holds no set of shards", remedy) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(path, "", f"is no description of a set ({error})", "Prepare the set again.") from None
    for place in found.splits.values():
        if not PLACE.fullmatch(place):
            raise DataError(path, "splits", f"'{place}' is no folder inside of the set", "Prepare the set again.")
    return found


def _require_kinds(found: ShardSet) -> None:
    texts = [found.name, found.kind, *found.splits, *found.splits.values(), *(found.classes or [])]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a name is no text")


def index_of(folder: Path, split: str) -> Index:
    """The index of one split of a set; a folder that is no set may hold an index for each split, as `train/index`.

    Raises:
        DataError: it has no such split.
    """
    if not (folder / FILE).exists() and (folder / split / "index" / "index.json").exists():
        return Index(folder / split / "index")
    found = read_set(folder)
    if split not in found.splits:
        there = ", ".join(name for name in SPLITS if name in found.splits)
        raise DataError(folder / FILE, "splits", f"there is no '{split}', only {there}", "Prepare the set again.")
    return Index(folder / found.splits[split] / "index")
