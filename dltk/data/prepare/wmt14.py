"""WMT 2014 (Bojar et al., Ninth Workshop on Statistical Machine Translation), English and French.

All parallel corpora of the task: Europarl, Common Crawl, United Nations, News Commentary, and the 10^9 corpus of French
and English (giga-fren). As in the papers, newstest2013 is for validation and newstest2014 (all 3,003 sentences) for
tests. Sutskever, Vinyals and Le (2014) and Cho et al. (2014) trained on 12 million pairs chosen from these, whose list
is no longer published.
"""

import html
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dltk.data.pack import Packing, Settings, aligned, pack, pair
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.archives import FOLDER, Archive, lines, obtain
from dltk.errors import DataError

# Hashes as TensorFlow Datasets publishes them.
CORPORA = {
    "europarl-v7": (
        Archive(
            "https://www.statmt.org/wmt13/training-parallel-europarl-v7.tgz",
            "0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7",
            657_632_379,
        ),
        "training/europarl-v7.fr-en.{}",
    ),
    "commoncrawl": (
        Archive(
            "https://www.statmt.org/wmt13/training-parallel-commoncrawl.tgz",
            "c7a74e2ea01ac6c920123108627e35278d4ccb5701e15428ffa34de86fa3a9e5",
            918_311_367,
        ),
        "commoncrawl.fr-en.{}",
    ),
    "undoc.2000": (
        Archive(
            "https://www.statmt.org/wmt13/training-parallel-un.tgz",
            "29141b5c1eba149a94f7a59d3b1a834b2e47fe0f8758d68dcd77a3d3f497ee47",
            2_365_634_246,
        ),
        "un/undoc.2000.fr-en.{}",
    ),
    "news-commentary-v9": (
        Archive(
            "https://www.statmt.org/wmt14/training-parallel-nc-v9.tgz",
            "cb8953f292298e6877ae433c98912b927cb0766b303f4540512ddd286c748485",
            80_418_416,
        ),
        "training/news-commentary-v9.fr-en.{}",
    ),
    "giga-fren": (
        Archive(
            "https://www.statmt.org/wmt10/training-giga-fren.tar",
            "3ff8319f6919393520559bfbc7ad6a747ec81b3abc7be9993b338d4b017b4d9a",
            2_595_102_720,
        ),
        "giga-fren.release2.fixed.{}.gz",
    ),
}
NEWSTESTS = Archive(
    "https://data.statmt.org/wmt19/translation-task/dev.tgz",
    "7a7deccf82ebb05ba508dba5eb21356492224e8f630ec4f992132b029b4b25e7",
    38_654_961,
)
VAL = ("dev/newstest2013.en", "dev/newstest2013.fr")
TEST = ("dev/newstest2014-fren-ref.en.sgm", "dev/newstest2014-fren-src.fr.sgm")
PARTS = {"newstest2013": "val", "newstest2014": "test"}  # of the others, all train
SEGMENT = re.compile(rb"<seg[^>]*>(.*?)</seg>", re.IGNORECASE)


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set from all corpora, or from those that lie in the user's folder.

    Raises:
        DataError: an archive is missing, damaged, or another than expected.
    """
    archives = [archive for archive, _ in CORPORA.values()]
    found = obtain([*archives, NEWSTESTS], origin, to, progress)
    chosen = [name for name, (archive, _) in CORPORA.items() if archive.name in found]
    if not chosen or NEWSTESTS.name not in found:
        missing = " or ".join(archive.name for archive in archives) if not chosen else NEWSTESTS.name
        raise DataError(origin.folder or to, "--source", f"holds no {missing}", "Add it, or leave --source out.")
    packing = pack(
        _samples(found, chosen), to, name="wmt14", kind="text",
        about={"source": "WMT 2014", "languages": ["en", "fr"], "corpora": chosen}, settings=settings,
        progress=progress, split_of=lambda key: PARTS.get(key.partition("/")[0], "train"),
    )  # fmt: skip
    shutil.rmtree(to / FOLDER, ignore_errors=True)
    return packing


def _samples(found: dict[str, Path], chosen: list[str]) -> Iterator[dict[str, Any]]:
    for name in chosen:
        archive, pattern = CORPORA[name]
        yield from _corpus(found[archive.name], name, pattern.format("en"), pattern.format("fr"))
    yield from _corpus(found[NEWSTESTS.name], "newstest2013", *VAL)
    yield from _corpus(found[NEWSTESTS.name], "newstest2014", *TEST)


def _corpus(archive: Path, name: str, english: str, french: str) -> Iterator[dict[str, Any]]:
    """The pairs of one corpus; its archive is read twice at the same time, once for each language."""
    left, right = lines(archive, english), lines(archive, french)
    if english.endswith(".sgm"):
        left, right = _segments(left), _segments(right)
    for number, (one, other) in enumerate(aligned(left, right, (f"{archive}: {english}", f"{archive}: {french}"))):
        if one and other:
            yield pair(f"{name.replace('.', '-')}/{number:08d}", one, other)


def _segments(text: Iterator[bytes]) -> Iterator[bytes]:
    """The sentences of an SGML file. They are found by a pattern: some of these files are no correct SGML."""
    for line in text:
        for segment in SEGMENT.findall(line):
            yield html.unescape(segment.decode()).encode()
