"""Sets of text that goes on: how their parts are read from somebody's archive, and written."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from dltk.data.pack import Packing
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.archives import FOLDER, Archive, lines, obtain
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


def published(
    name: str, archive: Archive, members: Mapping[str, str], origin: Origin, to: Path, progress: Progress
) -> Packing:
    """Make a set whose parts somebody has cut: from an archive, or its files as they lie in the user's folder.

    Args:
        name: of the set.
        archive: that is fetched where the user has no folder.
        members: the file of each part.
        origin: what it is made from.
        to: the set's folder.
        progress: hears of it.

    Raises:
        DataError: a file is missing, damaged, or no UTF-8.
    """
    texts = {part: read(archive, member, origin, to, progress) for part, member in members.items()}
    packing = written(name, texts, to, progress)
    shutil.rmtree(to / FOLDER, ignore_errors=True)
    return packing


def read(archive: Archive, member: str, origin: Origin, to: Path, progress: Progress) -> str:
    """The text of a file: of the user's folder, or else of the archive, in the user's folder or fetched.

    Raises:
        DataError: it is missing, damaged, or no UTF-8.
    """
    beside = [] if origin.folder is None else [Archive(member)]
    found = obtain([archive, *beside], origin, to, progress)
    path = found.get(member, found.get(archive.name))
    if path is None:
        raise DataError(origin.folder or to, "--source", f"holds neither {member} nor {archive.name}", "Add it.")
    data = b"".join(lines(path, member))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        what = f"byte {error.start:,} is no UTF-8 ({error.reason})"
        raise DataError(path, "" if path.name == member else member, what, "Fetch it again.") from None
