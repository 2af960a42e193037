"""ImageNet in each of its forms, as small archives of the true format."""

import io
import json
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from dltk.data.decode import decode, shape
from dltk.data.pack import Packing, Settings
from dltk.data.pack.packing import JOURNAL
from dltk.data.prepare import SETS, Origin
from dltk.data.prepare.imagenet2012 import DEVKIT, MAPPING, SOLUTION, SYNSETS, TRAIN, TRUTH, VAL
from dltk.data.shards.dataset import Shards
from dltk.data.shards.index import Index
from dltk.data.shards.sets import read_set
from dltk.data.shards.writer import write_shard
from dltk.errors import DataError
from tests.data.conftest import photograph
from tests.data.prepare.conftest import quiet

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
    """With one synset above the classes, as the true one has hundreds."""
    rows = [(number + 1, wnid, f"words of {wnid}", "a gloss", 0, [], 8) for number, wnid in enumerate(WNIDS)]
    rows.append((4, "n00001740", "entity", "that which is", 3, [1, 2, 3], 0))
    names = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "num_train_images")
    synsets = np.array(rows, dtype=[(name, "O") for name in names])[:, None]  # a column, as Matlab writes it
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
    return SETS["imagenet2012"].prepare(Origin(folder=source), to, Settings(**settings), quiet)  # type: ignore[arg-type]


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
    with pytest.raises(DataError, match=r"holds no labels of the validation pictures\. Put ILSVRC2012_devkit"):
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


def test_kaggles_inner_folder_finds_the_lists_above_it(tmp_path: Path) -> None:
    source = kaggle(tmp_path / "in") / "ILSVRC" / "Data" / "CLS-LOC"
    require_right(tmp_path / "out", prepare(source, tmp_path / "out"))
    assert read_set(tmp_path / "out").about["words"] == {wnid: f"words of {wnid}" for wnid in SORTED}


def test_validation_pictures_are_found_by_their_numbers_not_their_places(tmp_path: Path) -> None:
    source = kaggle(tmp_path / "in")
    (source / SOLUTION).unlink()
    (source / SYNSETS).write_text("\n".join(TRUE))
    val = source / "ILSVRC" / "Data" / "CLS-LOC" / "val"
    (val / "ILSVRC2012_val_00000002.JPEG").unlink()
    prepare(source, tmp_path / "out")
    data = Shards("val", str(tmp_path), folder="out", image_size=32)
    assert len(data) == 11
    for number, key in enumerate(data.keys[:]):
        assert SORTED[int(data.fields(number)["cls"])] == TRUE[int(key[-8:]) - 1]
    (val / "ILSVRC2012_val_00000013.JPEG").write_bytes(photograph(1))
    with pytest.raises(DataError, match="ILSVRC2012_val_00000013: has no label"):
        prepare(source, tmp_path / "other")


def odd(folder: Path) -> Path:
    """The official archives with the oddities that ImageNet is known for, and a picture that is cut off."""
    image = Image.open(io.BytesIO(photograph(3)))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn me
    files = {"png": io.BytesIO(), "cmyk": io.BytesIO(), "turned": io.BytesIO(), "cut": io.BytesIO(photograph(4)[:900])}
    image.save(files["png"], "PNG")
    image.convert("CMYK").save(files["cmyk"], "JPEG", quality=95)
    image.save(files["turned"], "JPEG", quality=95, exif=exif)
    official(folder)
    devkit(folder)
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as archive:
        for number, file in enumerate(files.values()):
            add(archive, f"n00500000_{number}.JPEG", file.getvalue())
    with tarfile.open(folder / TRAIN, "a") as archive:
        add(archive, "n00500000.tar", inner.getvalue())
    return folder


def test_odd_pictures_are_mended_and_damaged_ones_told(tmp_path: Path) -> None:
    source = odd(tmp_path / "in")
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in source.iterdir()}
    with pytest.raises(DataError, match=r"--max-bad: 1 damaged sample\(s\), 0 allowed; the first is 'n005.*_3'"):
        prepare(source, tmp_path / "out")
    packing = prepare(source, tmp_path / "out", max_bad=1)
    assert [key for key, _ in packing.bad] == ["n00500000/n00500000_3"]
    assert packing.samples == {"train": 27, "val": 12}
    assert read_set(tmp_path / "out").classes == ["n00500000", *SORTED]
    data = Shards("train", str(tmp_path), folder="out", image_size=96)
    plain = np.asarray(Image.open(io.BytesIO(photograph(3)))).astype(int)
    found = {key: data.fields(number) for number, key in enumerate(data.keys[:]) if key.startswith("n005")}
    assert len(found) == 3
    for key, files in found.items():
        assert set(files) == {"jpg", "cls"}
        assert np.abs(decode(files["jpg"]).astype(int) - plain).mean() < 8, key  # upright, colours right
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in source.iterdir()} == before


def test_any_number_of_processes_and_a_kill_give_the_same_bytes(tmp_path: Path) -> None:
    source = odd(tmp_path / "in")
    settings = {"shard_bytes": 20_000, "max_bad": 1, "seed": 7}
    prepare(source, tmp_path / "one", **settings)
    prepare(source, tmp_path / "two", processes=2, **settings)
    command = [sys.executable, "-c", KILLED, str(source), str(tmp_path / "killed")]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    train = tmp_path / "killed" / "train"
    finished = {path.name: path.stat().st_mtime_ns for path in train.glob("[!.]*.tar")}
    assert len(finished) == 3
    noted = map(json.loads, (train / JOURNAL).read_text().splitlines()[1:])
    (damaged,) = ((line["name"], [key for key, _ in line["notes"]]) for line in noted if line["notes"])
    assert damaged[1] == ["n00500000/n00500000_3"]
    prepare(source, tmp_path / "killed", **settings)
    again = [name for name, changed in finished.items() if (train / name).stat().st_mtime_ns != changed]
    assert again == [damaged[0]], "the shard with the damaged picture alone: it may have been mended since"
    one, two, killed = (contents(tmp_path / name) for name in ("one", "two", "killed"))
    assert len([name for name in one if name.endswith(".tar")]) > 6
    assert one == two == killed


KILLED = """
import os, signal, sys
from pathlib import Path
from dltk.data.pack import Settings
from dltk.data.prepare import SETS, Origin
shards = []
def progress(done, total, what="samples"):
    shards.append(done)
    if len(shards) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
settings = Settings(shard_bytes=20_000, max_bad=1, seed=7)
SETS["imagenet2012"].prepare(Origin(folder=Path(sys.argv[1])), Path(sys.argv[2]), settings, progress)
"""


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the one that holds times."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "shards.npy"
    }


def shards(folder: Path, part: str, samples: dict[str, dict[str, bytes]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_shard(folder / f"imagenet1k-{part}-0000.tar", [{"__key__": key, **files} for key, files in samples.items()])


def existing(folder: Path, wnids: list[str] = SORTED) -> Path:
    """Shards as others pack them: keys that say nothing, classes and names in a json."""
    for part, each in (("train", 8), ("validation", 4)):
        samples = {}
        for number in range(3 * each):
            target = number % 3
            name = f"{wnids[target]}_{number}.JPEG" if part == "train" else f"ILSVRC2012_val_{number + 1:08d}.JPEG"
            about = json.dumps({"label": target, "filename": name}).encode()
            samples[f"{number:08d}"] = {"jpg": photograph(number), "cls": str(target).encode(), "json": about}
        shards(folder, part, samples)
    return folder


def test_shards_that_exist_are_indexed_where_they_lie(tmp_path: Path) -> None:
    source = existing(tmp_path / "shards")
    before = {path.name: path.stat().st_mtime_ns for path in source.iterdir()}
    packing = prepare(source, tmp_path / "out")
    assert packing.samples == {"train": 24, "val": 12}
    assert {path.name: path.stat().st_mtime_ns for path in source.iterdir()} == before
    assert not list((tmp_path / "out").rglob("*.tar"))
    assert read_set(tmp_path / "out").classes == SORTED
    assert Index(tmp_path / "out" / "train" / "index").classes == SORTED
    assert len(Shards("test", str(tmp_path), folder="out", image_size=32)) == 12


def test_shards_that_exist_are_packed_anew_where_pictures_are_resized(tmp_path: Path) -> None:
    packing = prepare(existing(tmp_path / "shards"), tmp_path / "out", resize=60)
    assert packing.samples == {"train": 24, "val": 12}
    data = Shards("train", str(tmp_path), folder="out", image_size=32)
    assert data.classes == SORTED
    for number, key in enumerate(data.keys[:]):
        files = data.fields(number)
        assert shape(files["jpg"]) == (60, 80)
        assert int(files["cls"]) == data.targets[number] == int(key) % 3
        assert json.loads(files["json"])["filename"] == f"{SORTED[int(key) % 3]}_{int(key)}.JPEG"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["set.json", "train", "val"]


def test_a_sample_without_a_picture_is_damaged_in_shards_that_exist(tmp_path: Path) -> None:
    source = existing(tmp_path / "shards")
    about = json.dumps({"label": 0, "filename": f"{SORTED[0]}_99.JPEG"}).encode()
    write_shard(source / "imagenet1k-train-0001.tar", [{"__key__": "99", "cls": b"0", "json": about}])
    with pytest.raises(DataError, match=r"1 sample\(s\) have no picture; the first is '99' in .*; 0 allowed"):
        prepare(source, tmp_path / "out")
    with pytest.raises(DataError, match=r"--max-bad: 1 damaged sample\(s\), 0 allowed; the first is '99'.*no picture"):
        prepare(source, tmp_path / "small", resize=60)
    assert prepare(source, tmp_path / "small", resize=60, max_bad=1).samples == {"train": 24, "val": 12}


def test_shards_whose_classes_are_numbered_otherwise_or_not_named_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cls: class 1 is n01000000, which is not its place among the sorted WordNet"):
        prepare(existing(tmp_path / "wrong", WNIDS), tmp_path / "out")
    shards(tmp_path / "bare", "train", {f"{n:04d}": {"jpg": photograph(n), "cls": b"%d" % (n % 3)} for n in range(6)})
    shards(tmp_path / "bare", "val", {f"{n:04d}": {"jpg": photograph(n), "cls": b"%d" % (n % 3)} for n in range(6)})
    with pytest.raises(DataError, match=r"nothing names the 3 classes of the shards\. Put ILSVRC2012_devkit"):
        prepare(tmp_path / "bare", tmp_path / "other")
    (tmp_path / "bare" / MAPPING).write_text("".join(f"{wnid} words of {wnid}\n" for wnid in SORTED))
    prepare(tmp_path / "bare", tmp_path / "other")
    assert read_set(tmp_path / "other").classes == SORTED
    shards(tmp_path / "none", "train", {"a": {"jpg": photograph(1)}})
    shards(tmp_path / "none", "val", {"b": {"jpg": photograph(1)}})
    with pytest.raises(DataError, match="the train shards have samples without a class"):
        prepare(tmp_path / "none", tmp_path / "third")


def test_mistakes(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds neither ILSVRC2012_img_train\.tar, nor ILSVRC/Data/CLS-LOC"):
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
