"""ImageNet of 2012 (Russakovsky et al., Int. J. Computer Vision 2015): 1,000 classes.

Class numbers are the places of the sorted WordNet ids, n01440764 (tench) being 0. The official archives are read in
place: the training archive holds an archive for each class. The test part has no public labels, so `test` is the
validation part, as in the papers; a claim measured on it says so.
"""

import csv
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dltk.data.pack import Item, Packing, Settings, pack
from dltk.data.prepare import Progress
from dltk.data.shards.build import build
from dltk.data.shards.sets import FILE, ShardSet
from dltk.data.shards.tar import Part, scan
from dltk.errors import DataError

TRAIN, VAL, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
SYNSETS = "imagenet_2012_validation_synset_labels.txt"  # a WordNet id for each picture, as TensorFlow's lists have it
SOLUTION, MAPPING = "LOC_val_solution.csv", "LOC_synset_mapping.txt"  # Kaggle's
WNID = re.compile(r"n\d{8}")
NOTE = "The test part has no public labels: test is the validation part."
LABELS_WANTED = f"Put {DEVKIT}, {SYNSETS} or Kaggle's {SOLUTION} beside it."


def prepare(source: Path | None, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set from whatever form the pictures have.

    Raises:
        DataError: no form is recognised, labels of the validation pictures are missing, or an archive is damaged.
    """
    if source is None or not source.is_dir():
        raise DataError(source or "", "--source", "names no folder", "Give the one that holds the archives.")
    if (source / TRAIN).exists():
        classes, train = _nested(source / TRAIN)
        val = _validation(source, classes)
    elif (folder := _kaggle(source)) is not None:
        classes, train = _folders(folder / "train")
        val = _validation_folder(source, folder / "val", classes)
    elif list(source.glob("*train*.tar")):
        return _index(source, to)
    else:
        what = f"holds neither {TRAIN}, nor ILSVRC/Data/CLS-LOC, nor shards *train*.tar"
        raise DataError(source, "--source", what, "Name the folder that holds one of them.")
    about = {"source": "ImageNet ILSVRC 2012", "note": NOTE, "words": _words(source, classes)}
    parts = {"train": train, "val": val}
    return pack(
        parts, to, name="imagenet2012", classes=classes, about=about, same={"test": "val"}, settings=settings,
        progress=progress,
    )  # fmt: skip


def _nested(archive: Path) -> tuple[list[str], list[Item]]:
    """Classes and pictures of the training archive; only headers are read."""
    found: dict[str, list[Item]] = {}
    with archive.open("rb") as file:
        inner = list(scan(Part(file, 0, archive.stat().st_size), archive))
        for member in inner:
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
    labels = _labels(source)
    with archive.open("rb") as file:
        members = sorted(scan(Part(file, 0, archive.stat().st_size), archive), key=lambda one: _stem(one.name))
    return [
        Item(f"val/{name}", str(archive), one.data, one.size, "jpeg", _number(labels, name, at, classes, source))
        for at, one in enumerate(members)
        if (name := _stem(one.name))
    ]


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
    labels = _labels(source)
    return [
        item._replace(target=_number(labels, item.key.removeprefix("val/"), at, classes, source))
        for at, item in enumerate(_pictures(folder, "val", None))
    ]


def _labels(source: Path) -> dict[str, str] | list[str]:
    """The WordNet ids of the validation pictures, by name or in the order of the names."""
    if (source / SOLUTION).exists():
        with (source / SOLUTION).open(newline="") as file:
            return {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}
    if (source / SYNSETS).exists():
        return (source / SYNSETS).read_text().split()
    if (source / DEVKIT).exists():
        meta, truth = _devkit(source / DEVKIT)
        ids = {number: wnid for number, wnid, _ in meta}
        return [ids[number] for number in truth]
    raise DataError(source, "", "holds no labels of the validation pictures", LABELS_WANTED)


def _number(labels: dict[str, str] | list[str], name: str, at: int, classes: list[str], source: Path) -> int:
    wnid = labels.get(name) if isinstance(labels, dict) else labels[at] if at < len(labels) else None
    if wnid is None or wnid not in classes:
        what = "has no label" if wnid is None else f"its class {wnid} is not among the training classes"
        raise DataError(source, name, what, LABELS_WANTED)
    return classes.index(wnid)


def _devkit(archive: Path) -> tuple[list[tuple[int, str, str]], list[int]]:
    """Number, WordNet id and words of each class, and the numbers of the validation pictures."""
    import io

    from scipy.io import loadmat

    try:
        with tarfile.open(archive) as opened:
            contents = {}
            for member in opened:
                if member.isfile() and Path(member.name).name in ("meta.mat", TRUTH):
                    file = opened.extractfile(member)
                    contents[Path(member.name).name] = file.read() if file else b""
        synsets: Any = loadmat(io.BytesIO(contents["meta.mat"]), squeeze_me=True)["synsets"]
        meta = [(int(row["ILSVRC2012_ID"]), str(row["WNID"]), str(row["words"])) for row in synsets]
        return meta, [int(line) for line in contents[TRUTH].split()]
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        raise DataError(archive, "", f"cannot be read ({error})", "Fetch it again.") from None


def _words(source: Path, classes: list[str]) -> dict[str, str]:
    """What the WordNet ids mean, where a file says so."""
    if (source / MAPPING).exists():
        pairs = (line.partition(" ") for line in (source / MAPPING).read_text(encoding="utf-8").splitlines())
        words = {wnid: text for wnid, _, text in pairs}
    elif (source / DEVKIT).exists():
        words = {wnid: text for _, wnid, text in _devkit(source / DEVKIT)[0]}
    else:
        words = {}
    return {wnid: words[wnid] for wnid in classes if wnid in words}


def _index(source: Path, to: Path) -> Packing:
    """Shards that exist already are indexed where they lie."""
    train = sorted(map(str, source.glob("*train*.tar")))
    val = sorted(map(str, source.glob("*val*.tar")))
    if not val:
        raise DataError(source, "--source", "holds shards *train*.tar but none *val*.tar", "Add the validation part.")
    counts = {}
    for part, urls in (("train", train), ("val", val)):
        counts[part] = build(urls, to / part / "index", replace=(to / part / "index").exists()).total
    about = {"source": "ImageNet ILSVRC 2012", "note": NOTE, "shards": "as they were found"}
    found = ShardSet(
        name="imagenet2012", kind="images", splits={"train": "train", "val": "val", "test": "val"}, about=about
    )
    if (to / FILE).exists():
        raise DataError(to, "", "there is a set already", "Remove it, or give another folder.")
    found.write(to)
    return Packing(found, counts, 0, [])


def _stem(name: str) -> str:
    return Path(name).name.partition(".")[0]
