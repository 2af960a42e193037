"""Tatoeba: short sentences and their translations by volunteers, as its weekly exports or as manythings.org has them.

Both change from week to week, so there is no hash to hold a download to: give `--source`, or `--sha256` for each file.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from dltk.data.pack import Packing, Settings
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.archives import FOLDER, Archive, lines, obtain
from dltk.data.prepare.pairs import pack_pairs
from dltk.errors import DataError

EXPORTS = "https://downloads.tatoeba.org/exports/per_language"
LENGTH = 3  # letters of a language's code, as in ISO 639-3


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set of two languages, named by three letters.

    Raises:
        DataError: a file is missing, damaged, or of another format.
    """
    source, target = origin.languages or ("eng", "fra")
    if len(source) != LENGTH or len(target) != LENGTH:
        raise DataError("", "--languages", f"{source}-{target} are no codes of three letters", "Give eng-fra.")
    sentences = [Archive(f"{EXPORTS}/{one}/{one}_sentences.tsv.bz2") for one in (source, target)]
    links = Archive(f"{EXPORTS}/{source}/{source}-{target}_links.tsv.bz2")
    zipped = Archive(f"https://www.manythings.org/anki/{target}-eng.zip")
    wanted = [*sentences, links, *([] if origin.folder is None else [zipped])]
    found = obtain(wanted, origin, to, progress)
    if links.name in found and all(one.name in found for one in sentences):
        pairs = _exported(*(found[one.name] for one in (*sentences, links)))
    elif zipped.name in found and source == "eng":
        pairs = _tabbed(found[zipped.name], f"{target}.txt")
    else:
        what = f"holds neither {', '.join(one.name for one in (*sentences, links))} nor {zipped.name}"
        raise DataError(origin.folder or to, "--source", what, "Add them.")
    about = {"source": "Tatoeba", "languages": [source, target], "licence": "CC BY 2.0 FR"}
    packing = pack_pairs(pairs, to, name="tatoeba", about=about, settings=settings, progress=progress)
    shutil.rmtree(to / FOLDER, ignore_errors=True)
    return packing


def _exported(source: Path, target: Path, links: Path) -> Iterator[tuple[str, str]]:
    """Pairs from Tatoeba's own files: sentences (number, language, text), and links (number, number)."""
    left, right = _sentences(source), _sentences(target)
    for one, other in _rows(links, links.name, 2):
        if one in left and other in right:
            yield left[one], right[other]


def _sentences(path: Path) -> dict[str, str]:
    return {number: text.strip() for number, _, text in _rows(path, path.name, 3)}


def _tabbed(archive: Path, name: str) -> Iterator[tuple[str, str]]:
    """Pairs from manythings.org: English, the other language, whom to thank."""
    for one, other, *_ in _rows(archive, name, 3):
        yield one.strip(), other.strip()


def _rows(archive: Path, name: str, columns: int) -> Iterator[list[str]]:
    for number, line in enumerate(lines(archive, name), 1):
        try:
            row = line.decode().rstrip("\r\n").split("\t")
        except UnicodeDecodeError as error:
            raise DataError(archive, f"line {number}", f"is not in UTF-8 ({error})", "Fetch it again.") from None
        if len(row) < columns:
            what = f"has {len(row)} columns, {columns} are expected"
            raise DataError(archive, f"line {number}", what, "It is of another format, or was cut off.")
        yield row
