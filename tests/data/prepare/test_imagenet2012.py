"""ImageNet in each of its forms, as small archives of the true format."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from dltk.data.pack import Packing, Settings
from dltk.data.prepare import SETS
from dltk.data.prepare.imagenet2012 import DEVKIT, MAPPING, SOLUTION, SYNSETS, TRAIN, TRUTH, VAL
from dltk.data.shards.dataset import Shards
from dltk.data.shards.index import Index
from dltk.data.shards.sets import read_set
from dltk.errors import DataError
from tests.data.conftest import photograph

WNIDS = ["n02000000", "n01000000", "n03000000"]  # in the devkit's order, which is not the sorted one
SORTED = sorted(WNIDS)
TRUE = [WNIDS[number % 3] for number in range(12)]  # of the validation pictures


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size = len(data)
    archive.addfile(about, io.BytesIO(data))


def official(folder: Path) -> Path:
    """The training archive of archives, and the validation archive."""
    folder.mkdir(parents=True)
    with tarfile.open(folder / TRAIN, "w") as outer:
        for place, wnid in enumerate(WNIDS):
            file = io.BytesIO()
            with tarfile.open(fileobj=file, mode="w") as inner:
                for number in range(8):
                    add(inner, f"{wnid}_{number}.JPEG", photograph(100 * place + number))
            add(outer, f"{wnid}.tar", file.getvalue())
    with tarfile.open(folder / VAL, "w") as archive:
        for number in reversed(range(12)):  # not in the order of the names
            add(archive, f"ILSVRC2012_val_{number + 1:08d}.JPEG", photograph(1000 + number))
    return folder


def devkit(folder: Path) -> None:
    rows = [(number + 1, wnid, f"words of {wnid}") for number, wnid in enumerate(WNIDS)]
    synsets = np.array(rows, dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")])
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets})
    truth = "".join(f"{WNIDS.index(wnid) + 1}\n" for wnid in TRUE).encode()
    with tarfile.open(folder / DEVKIT, "w:gz") as archive:
        add(archive, "ILSVRC2012_devkit_t12/data/meta.mat", meta.getvalue())
        add(archive, f"ILSVRC2012_devkit_t12/data/{TRUTH}", truth)


def kaggle(folder: Path) -> Path:
    root = folder / "ILSVRC" / "Data" / "CLS-LOC"
    for place, wnid in enumerate(WNIDS):
        (root / "train" / wnid).mkdir(parents=True)
        for number in range(8):
            (root / "train" / wnid / f"{wnid}_{number}.JPEG").write_bytes(photograph(100 * place + number))
    (root / "val").mkdir()
    lines = ["ImageId,PredictionString"]
    for number, wnid in enumerate(TRUE):
        name = f"ILSVRC2012_val_{number + 1:08d}"
        (root / "val" / f"{name}.JPEG").write_bytes(photograph(1000 + number))
        lines.append(f"{name},{wnid} 1 2 30 40 ")
    (folder / SOLUTION).write_text("\n".join(lines) + "\n")
    (folder / MAPPING).write_text("".join(f"{wnid} words of {wnid}\n" for wnid in SORTED))
    return folder


def prepare(source: Path, to: Path, **settings: int) -> Packing:
    return SETS["imagenet2012"].prepare(source, to, Settings(**settings), lambda done, total: None)  # type: ignore[arg-type]


def require_right(to: Path, packing: Packing) -> None:
    """Every picture has its own class, and every class its number."""
    assert packing.samples == {"train": 24, "val": 12}
    found = read_set(to)
    assert found.classes == SORTED
    assert found.splits == {"train": "train", "val": "val", "test": "val"}
    train = Shards("train", str(to.parent), folder=to.name, image_size=32)
    for number, key in enumerate(train.keys[:]):
        wnid, _, name = key.partition("/")
        fields = train.fields(number)
        assert int(fields["cls"]) == SORTED.index(wnid)
        assert fields["jpg"] == photograph(100 * WNIDS.index(wnid) + int(name.rpartition("_")[2]))
    val = Shards("test", str(to.parent), folder=to.name, image_size=32)
    for number, key in enumerate(val.keys[:]):
        place = int(key[-8:]) - 1
        fields = val.fields(number)
        assert SORTED[int(fields["cls"])] == TRUE[place]
        assert fields["jpg"] == photograph(1000 + place)


def test_the_official_archives_with_the_devkit(tmp_path: Path) -> None:
    source = official(tmp_path / "in")
    devkit(source)
    require_right(tmp_path / "out", prepare(source, tmp_path / "out"))
    assert read_set(tmp_path / "out").about["words"] == {wnid: f"words of {wnid}" for wnid in SORTED}


def test_the_official_archives_with_the_list_of_labels(tmp_path: Path) -> None:
    source = official(tmp_path / "in")
    with pytest.raises(DataError, match="holds no labels of the validation pictures. Put ILSVRC2012_devkit"):
        prepare(source, tmp_path / "out")
    (source / SYNSETS).write_text("\n".join(TRUE))
    require_right(tmp_path / "out", prepare(source, tmp_path / "out", shard_bytes=20_000, processes=2))


def test_kaggles_folder(tmp_path: Path) -> None:
    source = kaggle(tmp_path / "in")
    require_right(tmp_path / "out", prepare(source, tmp_path / "out"))
    again = prepare(source, tmp_path / "small", resize=64)
    assert again.bytes < prepare(source, tmp_path / "same").bytes


def test_all_forms_give_the_same_shards(tmp_path: Path) -> None:
    archives = official(tmp_path / "a")
    devkit(archives)
    prepare(archives, tmp_path / "one")
    prepare(kaggle(tmp_path / "b"), tmp_path / "two")
    for part in ("train", "val"):
        assert Index(tmp_path / "one" / part / "index").hash == Index(tmp_path / "two" / part / "index").hash


def test_shards_that_exist_are_indexed_where_they_lie(tmp_path: Path) -> None:
    source = official(tmp_path / "a")
    devkit(source)
    prepare(source, tmp_path / "packed")
    shards = tmp_path / "shards"
    shards.mkdir()
    for part in ("train", "val"):
        for path in (tmp_path / "packed" / part).glob("*.tar"):
            (shards / path.name).write_bytes(path.read_bytes())
    before = {path.name: path.stat().st_mtime_ns for path in shards.iterdir()}
    packing = prepare(shards, tmp_path / "out")
    assert packing.samples == {"train": 24, "val": 12}
    assert {path.name: path.stat().st_mtime_ns for path in shards.iterdir()} == before
    assert not list((tmp_path / "out").rglob("*.tar"))
    assert len(Shards("test", str(tmp_path), folder="out", image_size=32)) == 12


def test_mistakes(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds neither ILSVRC2012_img_train.tar, nor ILSVRC/Data/CLS-LOC"):
        prepare(tmp_path / "empty", tmp_path / "out")
    source = official(tmp_path / "in")
    devkit(source)
    whole = (source / TRAIN).read_bytes()
    (source / TRAIN).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"ILSVRC2012_img_train\.tar.*(cut off|missing)"):
        prepare(source, tmp_path / "out")
    (source / TRAIN).write_bytes(whole)
    (source / VAL).unlink()
    with pytest.raises(DataError, match=r"ILSVRC2012_img_val\.tar: is missing"):
        prepare(source, tmp_path / "out")
