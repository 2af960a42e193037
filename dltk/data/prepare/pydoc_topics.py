"""What Python says of itself: the topics of `help()`, from the standard library (`pydoc_data.topics`), as running text.

Some topics hold others whole, so a paragraph is kept where it comes first, in the order of the topics' names. The unit
of the parts is a piece of some 2,000 characters of one topic: 80 of 100 are trained on, 10 choose, 10 test, by the
hashes of their names. Each release of Python has another text.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from dltk.data.hashing import hash64
from dltk.data.pack import Packing, Settings
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.running import written
from dltk.data.splits import SPLITS
from dltk.errors import DataError

PIECE = 2000  # characters, at least, but for the last of a topic


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set.

    Raises:
        DataError: this Python came without its topics.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise DataError("", "pydoc_data", "did not come with this Python", "Install its standard library.") from None
    return written("pydoc_topics", parts(topics), to, progress)


def parts(topics: Mapping[str, str]) -> dict[str, str]:
    """Topics by name to the text of each part, in the order of their names, an empty line between paragraphs."""
    found: dict[str, list[str]] = {part: [] for part in SPLITS}
    for name, paragraphs in pieces(topics):
        place = hash64(name) % 100
        found["train" if place < 80 else "val" if place < 90 else "test"].extend(paragraphs)
    return {part: "".join(f"{paragraph}\n\n" for paragraph in paragraphs) for part, paragraphs in found.items()}


def pieces(topics: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """The names and paragraphs of pieces; none occurs twice."""
    seen: set[str] = set()
    for name in sorted(topics):
        number, piece = 0, list[str]()
        for paragraph in (one.strip("\n") for one in topics[name].split("\n\n")):
            if not paragraph.strip() or paragraph in seen:
                continue
            seen.add(paragraph)
            piece.append(paragraph)
            if sum(map(len, piece)) >= PIECE:
                yield f"{name}-{number}", piece
                number, piece = number + 1, []
        if piece:
            yield f"{name}-{number}", piece
