"""ImageNet of 2012 (Russakovsky et al., Int. J. Computer Vision 2015): 1,000 classes.

Class numbers are the places of the sorted WordNet ids, n01440764 (tench) being 0; the devkit numbers them otherwise.
The official archives are read in place: the training archive holds an archive for each class. The test part has no
public labels, so `test` is the validation part, as in the papers; a claim measured on it says so.
"""

import csv
import io
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dltk.data.pack import Item, Packing, Settings, pack
from dltk.data.prepare import Origin, Progress
from dltk.data.shards.build import Halves, build
from dltk.data.shards.fields import decoded
from dltk.data.shards.index import Index, name_classes
from dltk.data.shards.reader import ShardReader
from dltk.data.shards.sets import FILE, ShardSet
from dltk.data.shards.tar import Part, scan
from dltk.errors import DataError

TRAIN, VAL, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"
META, TRUTH = "meta.mat", "ILSVRC2012_validation_ground_truth.txt"  # in the devkit
SYNSETS = "imagenet_2012_validation_synset_labels.txt"  # a WordNet id for each picture, as TensorFlow's lists have it
SOLUTION, MAPPING = "LOC_val_solution.csv", "LOC_synset_mapping.txt"  # Kaggle's
WNID = re.compile(r"n\d{8}")
SOURCE = "ImageNet ILSVRC 2012"
NOTE = "The test part has no public labels: test is the validation part."
LABELS_WANTED = f"Put {DEVKIT}, {SYNSETS} or Kaggle's {SOLUTION} beside it."
FOUND = ".found"  # indices of shards that are packed anew


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set from whatever form the pictures have.

    Raises:
        DataError: no form is recognised, labels of the validation pictures are missing, or an archive is damaged.
    """
    source = origin.folder
    if source is None or not source.is_dir():
        raise DataError(source or "", "--source", "names no folder", "Give the one that holds the archives.")
    if (source / TRAIN).exists():
        classes, train = _nested(source / TRAIN)
        val = _validation(source, classes)
    elif _shards(source, "train"):
        return _from_shards(source, to, settings, progress)
    elif (folder := _kaggle(source)) is not None:
        classes, train = _folders(folder / "train")
        val = _validation_folder(source, folder / "val", classes)
    else:
        what = f"holds neither {TRAIN}, nor ILSVRC/Data/CLS-LOC, nor shards *train*.tar"
        raise DataError(source, "--source", what, "Name the folder that holds one of them.")
    about = {"source": SOURCE, "note": NOTE, "words": _words(source)}
    return pack(
        {"train": train, "val": val}, to, name="imagenet2012", classes=classes, about=about, same={"test": "val"},
        settings=settings, progress=progress,
    )  # fmt: skip


# The official archives


def _nested(archive: Path) -> tuple[list[str], list[Item]]:
    """Classes and pictures of the training archive; only headers are read."""
    found: dict[str, list[Item]] = {}
    with archive.open("rb") as file:
        for member in list(scan(Part(file, 0, archive.stat().st_size), archive)):
            wnid = Path(member.name).stem
            if not WNID.fullmatch(wnid) or not member.name.endswith(".tar"):
                raise DataError(archive, member.name, "is no class's archive", "Use the official training archive.")
            part = Part(file, member.data, member.size)
            found[wnid] = [
                Item(f"{wnid}/{_stem(one.name)}", str(archive), member.data + one.data, one.size, "jpeg")
                for one in scan(part, f"{archive}: {member.name}")
            ]
    classes = sorted(found)
    return classes, [item._replace(target=number) for number, wnid in enumerate(classes) for item in found[wnid]]


def _validation(source: Path, classes: list[str]) -> list[Item]:
    """The pictures of the validation archive, with their classes."""
    archive = source / VAL
    if not archive.exists():
        raise DataError(archive, "", "is missing", "Put the official validation archive beside the training one.")
    labels = _Labels(source, classes)
    with archive.open("rb") as file:
        return [
            Item(f"val/{name}", str(archive), one.data, one.size, "jpeg", labels.number(name))
            for one in scan(Part(file, 0, archive.stat().st_size), archive)
            if (name := _stem(one.name))
        ]


# Kaggle's folder, and that of whoever has unpacked the archives


def _kaggle(source: Path) -> Path | None:
    for folder in (source / "ILSVRC" / "Data" / "CLS-LOC", source / "Data" / "CLS-LOC", source):
        if (folder / "train").is_dir() and (folder / "val").is_dir():
            return folder
    return None


def _folders(folder: Path) -> tuple[list[str], list[Item]]:
    classes = sorted(entry.name for entry in folder.iterdir() if WNID.fullmatch(entry.name))
    if not classes:
        raise DataError(folder, "", "holds no folders named by WordNet ids", "Use ImageNet's own layout.")
    items = [item for number, wnid in enumerate(classes) for item in _pictures(folder / wnid, wnid, number)]
    return classes, items


def _pictures(folder: Path, prefix: str, target: int | None) -> Iterator[Item]:
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (".jpeg", ".jpg"):
            yield Item(f"{prefix}/{_stem(path.name)}", str(path), 0, path.stat().st_size, "jpeg", target)


def _validation_folder(source: Path, folder: Path, classes: list[str]) -> list[Item]:
    """Validation pictures side by side, or in a folder for each class."""
    if any(WNID.fullmatch(entry.name) for entry in folder.iterdir()):
        return [item for number, wnid in enumerate(classes) for item in _pictures(folder / wnid, "val", number)]
    labels = _Labels(source, classes)
    return [item._replace(target=labels.number(_stem(item.path))) for item in _pictures(folder, "val", None)]


# Labels and names


class _Labels:
    """The classes of the validation pictures, which lie without them.

    Args:
        source: the folder with a file that says them.
        classes: sorted WordNet ids.

    Raises:
        DataError: there is no such file.
    """

    def __init__(self, source: Path, classes: list[str]) -> None:
        self._source = source
        self._numbers = {wnid: number for number, wnid in enumerate(classes)}
        self._wnids: dict[str, str] = {}  # by name of the picture
        if solution := _beside(source, SOLUTION):
            with solution.open(newline="", encoding="utf-8") as file:
                self._wnids = {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}
            return
        if synsets := _beside(source, SYNSETS):
            listed = synsets.read_text(encoding="utf-8").split()
        elif archive := _beside(source, DEVKIT):
            meta, truth = _devkit(archive)
            ids = {number: wnid for number, wnid, _ in meta}
            listed = [ids[number] for number in truth]
        else:
            raise DataError(source, "", "holds no labels of the validation pictures", LABELS_WANTED)
        self._wnids = {f"ILSVRC2012_val_{number:08d}": wnid for number, wnid in enumerate(listed, 1)}

    def number(self, name: str) -> int:
        """The class of a picture."""
        wnid = self._wnids.get(name)
        if wnid not in self._numbers:
            what = "has no label" if wnid is None else f"its class {wnid} is not among the training classes"
            raise DataError(self._source, name, what, LABELS_WANTED)
        return self._numbers[wnid]


def _beside(source: Path, name: str) -> Path | None:
    """A file in the source's folder; for Kaggle's CLS-LOC also in the folders that it lies in."""
    above = list(source.resolve().parents)[:3] if source.resolve().name == "CLS-LOC" else []
    return next((folder / name for folder in (source, *above) if (folder / name).exists()), None)


def _devkit(archive: Path) -> tuple[list[tuple[int, str, str]], list[int]]:
    """Number, WordNet id and words of each class, and the numbers of the validation pictures."""
    from scipy.io import loadmat

    try:
        with tarfile.open(archive) as opened:
            contents = {}
            for member in opened:
                if member.isfile() and Path(member.name).name in (META, TRUTH):
                    file = opened.extractfile(member)
                    contents[Path(member.name).name] = file.read() if file else b""
        synsets: Any = loadmat(io.BytesIO(contents[META]), squeeze_me=True)["synsets"]
        meta = [(int(row["ILSVRC2012_ID"]), str(row["WNID"]), str(row["words"])) for row in synsets]
        return meta, [int(line) for line in contents[TRUTH].split()]
    except (OSError, EOFError, KeyError, ValueError, tarfile.TarError) as error:
        raise DataError(archive, "", f"cannot be read ({error})", "Fetch it again.") from None


def _words(source: Path) -> dict[str, str]:
    """What the WordNet ids of the 1,000 classes mean, where a file says so."""
    if mapping := _beside(source, MAPPING):
        pairs = (line.partition(" ") for line in mapping.read_text(encoding="utf-8").splitlines())
        return {wnid: text for wnid, _, text in pairs}
    if archive := _beside(source, DEVKIT):
        meta, truth = _devkit(archive)
        return {wnid: text for number, wnid, text in meta if number <= max(truth)}  # others are above the classes
    return {}


# WebDataset shards


def _shards(source: Path, part: str) -> list[str]:
    """Shards of a part side by side, or in its folder; the training archive of another task is none."""
    beside = [path for path in source.glob(f"*{part}*.tar") if not path.name.startswith("ILSVRC2012_img_")]
    return sorted(map(str, beside or (source / part).glob("*.tar")))


def _from_shards(source: Path, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Shards that exist are indexed where they lie; where pictures are to be resized, they are packed anew."""
    if (to / FILE).exists():
        raise DataError(to, "", "there is a set already", "Remove it, or give another folder.")
    urls = {part: _shards(source, part) for part in ("train", "val")}
    if not urls["val"]:
        raise DataError(source, "--source", "holds shards *train*.tar but none *val*.tar", "Add the validation part.")
    anew = settings.resize is not None
    places = {part: to / (FOUND if anew else "") / part / "index" for part in urls}
    halves = Halves()
    found = {part: build(urls[part], place, replace=place.exists(), halves=halves) for part, place in places.items()}
    classes = _class_names(source, found)
    about = {"source": SOURCE, "note": NOTE, "words": _words(source)}
    if anew:
        packing = pack(
            {part: _items(index) for part, index in found.items()}, to, name="imagenet2012", classes=classes,
            about=about, same={"test": "val"}, settings=settings, progress=progress,
        )  # fmt: skip
        shutil.rmtree(to / FOUND)
        return packing
    if halves.lacking({"picture", "cls"}) > settings.max_bad:
        what = f"{'; '.join(halves.lines())}; {settings.max_bad} allowed"
        raise DataError(source, "--max-bad", what, "Mend the shards, allow them, or pack them anew: --resize.")
    for place in places.values():
        name_classes(place, classes)
    made = ShardSet(
        name="imagenet2012",
        kind="images",
        splits={"train": "train", "val": "val", "test": "val"},
        classes=classes,
        about={**about, "shards": "as they were found"},
    )
    made.write(to)
    size = sum(int(index.bytes.sum()) for index in found.values())
    return Packing(made, {part: index.total for part, index in found.items()}, size, [])


def _items(index: Index) -> list[Item]:
    targets = [] if index.targets is None else index.targets.tolist()
    lies = zip(index.keys, map(index.lies, range(index.total)), targets, strict=True)
    return [Item(key, index.url(shard), offset, size, "", target) for key, (shard, offset, size), target in lies]


def _class_names(source: Path, found: dict[str, Index]) -> list[str]:
    """The sorted WordNet ids; that the shards number their classes by them is seen in their own names of pictures.

    Raises:
        DataError: samples have no classes, classes are numbered otherwise, or nothing names them.
    """
    seen: dict[int, str] = {}
    for part, index in found.items():
        if index.targets is None:
            what = f"the {part} shards have samples without a class"
            raise DataError(source, "cls", what, "Each needs a cls, or a label in its json.")
        seen |= _seen_names(index)
    count = 1 + max(int(index.targets.max(initial=0)) for index in found.values() if index.targets is not None)
    listed = sorted(_words(source))
    classes = listed if len(listed) == count else [seen[number] for number in sorted(seen)]
    if len(classes) != count:
        what = f"nothing names the {count} classes of the shards"
        raise DataError(source, "", what, f"Put {DEVKIT} or Kaggle's {MAPPING} beside them.")
    for number, wnid in seen.items():
        if wnid != classes[number] or (number and classes[number - 1] >= wnid):
            what = f"class {number} is {wnid}, which is not its place among the sorted WordNet ids"
            raise DataError(source, "cls", what, "Pack the pictures from the archives.")
    return classes


def _seen_names(index: Index) -> dict[int, str]:
    """The WordNet id of a class, as the first of its samples has it in its key or in the file name of its json."""
    assert index.targets is not None
    reader = ShardReader(index, cache=None)
    named = {}
    for target, number in zip(*np.unique(index.targets, return_index=True), strict=True):
        fields = reader.fields(int(number))
        about = decoded("json", fields["json"]) if "json" in fields else {}
        texts = index.keys[int(number)], str(about.get("filename", "")) if isinstance(about, dict) else ""
        if wnid := next((match[0] for match in map(WNID.search, texts) if match), None):
            named[int(target)] = wnid
    reader.close()
    return named


def _stem(name: str) -> str:
    return Path(name).name.partition(".")[0]
