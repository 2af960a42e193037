"""Multi30k (Elliott, Frank, Sima'an, Specia 2016): captions of pictures in English, French and German.

The test part is that of 2016. English and German come in archives with known hashes; nobody publishes hashes of the
French files, so those are fetched only with `--sha256` for each, or read from a folder of the user's.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dltk.data.pack import Packing, Settings, aligned, pack, pair
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.archives import FOLDER, Archive, lines, obtain
from dltk.errors import DataError

LANGUAGES = ("en", "fr", "de", "cs")
MIRROR = "https://raw.githubusercontent.com/neychev/small_DL_repo/master/datasets/Multi30k"
# Hashes as torchtext publishes them. English and German.
ARCHIVES = {
    "train": Archive(f"{MIRROR}/training.tar.gz", "20140d013d05dd9a72dfde46478663ba05737ce983f478f960c1123c6671be5e"),
    "val": Archive(f"{MIRROR}/validation.tar.gz", "a7aa20e9ebd5ba5adce7909498b94410996040857154dab029851af3a866da8c"),
    "test": Archive(
        f"{MIRROR}/mmt16_task1_test.tar.gz", "6d1ca1dba99e2c5dd54cae1226ff11c2551e6ce63527ebb072a1f70f72a5cd36"
    ),
}
MEMBERS = {"train": "train.{}", "val": "val.{}", "test": "test.{}"}  # of these archives
RAW = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
FILES = {"train": "train.{}.gz", "val": "val.{}.gz", "test": "test_2016_flickr.{}.gz"}  # of the authors' repository


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set of two languages.

    Raises:
        DataError: a file is missing, damaged, or another than expected.
    """
    languages = origin.languages or ("en", "fr")
    strange = next((one for one in languages if one not in LANGUAGES), None)
    if strange or languages[0] == languages[1]:
        what = f"there is no '{strange}'" if strange else f"{languages[0]} twice is no translation"
        raise DataError("", "--languages", what, f"Choose two of {', '.join(LANGUAGES)}.")
    places = _places(origin, to, languages, progress)
    about = {"source": "Multi30k, task 1, tested on the pictures of 2016", "languages": list(languages)}
    packing = pack(
        _samples(places), to, name="multi30k", kind="text", about=about, settings=settings, progress=progress,
        split_of=lambda key: key.partition("/")[0],
    )  # fmt: skip
    shutil.rmtree(to / FOLDER, ignore_errors=True)
    return packing


Place = tuple[Path, str]  # a file, and what of it


def _places(origin: Origin, to: Path, languages: tuple[str, str], progress: Progress) -> dict[str, list[Place]]:
    """Where the two sides of each part lie: in the authors' files, or in the archives."""
    files = [Archive(f"{RAW}/{name.format(one)}") for name in FILES.values() for one in languages]
    if origin.folder is None and set(languages) == {"en", "de"}:
        found = obtain(list(ARCHIVES.values()), origin, to, progress)
    else:
        found = obtain([*files, *([] if origin.folder is None else ARCHIVES.values())], origin, to, progress)
    places = {}
    for part in FILES:
        names = [FILES[part].format(one) for one in languages]
        archive = found.get(ARCHIVES[part].name)
        if all(name in found for name in names):
            places[part] = [(found[name], name) for name in names]
        elif archive is not None:
            places[part] = [(archive, MEMBERS[part].format(one)) for one in languages]
        else:
            what = f"holds neither {' and '.join(names)} nor {ARCHIVES[part].name}"
            raise DataError(origin.folder or to, "--source", what, "Add them.")
    return places


def _samples(places: dict[str, list[Place]]) -> Iterator[dict[str, Any]]:
    for part, (left, right) in places.items():
        names = tuple(f"{path}: {name}" for path, name in (left, right))
        for number, (one, other) in enumerate(aligned(lines(*left), lines(*right), (names[0], names[1]))):
            if one and other:
                yield pair(f"{part}/{number:05d}", one, other)
