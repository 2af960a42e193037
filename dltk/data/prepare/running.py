"""Sets of text that goes on: how their parts are written, and cut from pieces."""

from collections.abc import Mapping
from pathlib import Path

from dltk.data.pack import Packing
from dltk.data.prepare import Progress
from dltk.data.shards.sets import ShardSet
from dltk.data.splits import SPLITS
from dltk.errors import DataError


def written(name: str, texts: Mapping[str, str], to: Path, progress: Progress) -> Packing:
    """Write a file for each part, whole or not at all.

    Args:
        name: of the set.
        texts: of the parts; a line is a sentence.
        to: the set's folder.
        progress: hears of the parts.

    Raises:
        DataError: a part has no text.
    """
    empty = [part for part in SPLITS if not texts.get(part, "").strip()]
    if empty:
        raise DataError("", name, f"has no text for {', '.join(empty)}", "Give the whole text.")
    to.mkdir(parents=True, exist_ok=True)
    for count, (part, text) in enumerate(texts.items(), 1):
        partial = to / f".{part}.txt.part"
        partial.write_bytes(text.encode())  # line ends as they stand
        partial.replace(to / f"{part}.txt")
        progress(count, len(texts))
    made = ShardSet(name=name, kind="running text", splits={part: f"{part}.txt" for part in texts})
    size = sum((to / place).stat().st_size for place in made.splits.values())
    return Packing(made, {part: len(text.removesuffix("\n").split("\n")) for part, text in texts.items()}, size, [])
