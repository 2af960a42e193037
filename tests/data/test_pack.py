"""Packing: the same bytes for the same input, whatever the processes and kills; what is damaged is told."""

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from dltk.data.decode import decode, shape
from dltk.data.pack import Item, Settings, arrays, audio, class_folders, pack, text
from dltk.data.shards.dataset import Shards
from dltk.data.shards.index import Index
from dltk.data.shards.sets import read_set
from dltk.data.shards.writer import _header
from dltk.errors import DataError
from tests.data.conftest import digit, photograph


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("shards.npy",)  # which holds times
    }


def test_a_folder_becomes_shards_that_webdataset_and_the_index_read_alike(packed: Path, folders: Path) -> None:
    found = read_set(packed)
    assert (found.kind, found.classes) == ("images", ["class0", "class1", "class2"])
    sizes = {part: Index(packed / part / "index").total for part in ("train", "val", "test")}
    assert sizes == {"train": 84, "val": 12, "test": 24}
    index = Index(packed / "train" / "index")
    assert len(index.counts) > 3
    urls = [index.url(shard) for shard in range(len(index.counts))]
    read = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))
    assert [sample["__key__"] for sample in read] == list(index.keys[:])
    data = Shards("train", str(packed.parent), folder="photos", image_size=64)
    for number, sample in enumerate(read):
        assert sample["jpg"] == (folders / f"{sample['__key__']}.jpg").read_bytes()  # unchanged
        assert data.fields(number) == {name: sample[name] for name in ("jpg", "cls")}
        assert int(sample["cls"]) == index.targets[number] == int(sample["__key__"][5])
    classes = [int(key[5]) for key in index.keys[:]]
    assert classes != sorted(classes)  # shuffled


def test_the_same_bytes_with_more_processes_and_another_order_with_another_seed(folders: Path, tmp_path: Path) -> None:
    items, classes = class_folders(folders)
    made = {}
    for name, processes, seed in (("one", 1, 0), ("two", 2, 0), ("other", 1, 1)):
        settings = Settings(shard_bytes=60_000, processes=processes, seed=seed, resize=64)
        pack(items, tmp_path / name, name="photos", classes=classes, settings=settings)
        made[name] = hashes(tmp_path / name)
    assert made["one"] == made["two"]
    assert made["one"] != made["other"]
    data = Shards("val", str(tmp_path), folder="one", image_size=64)
    assert shape(data.fields(0)["jpg"]) == (64, 85)


PACK = """
import sys, time
from dltk.data.pack import Settings, class_folders, pack
items, classes = class_folders(sys.argv[1])
def slow(done, total):
    print(done, flush=True)
    time.sleep(float(sys.argv[3]))
pack(items, sys.argv[2], name="photos", classes=classes, settings=Settings(shard_bytes=60_000), progress=slow)
"""


def test_a_killed_packing_goes_on_and_gives_the_same_bytes(folders: Path, packed: Path, tmp_path: Path) -> None:
    to = tmp_path / "photos"
    command = [sys.executable, "-c", PACK, str(folders), str(to)]
    process = subprocess.Popen([*command, "0.4"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while int(process.stdout.readline()) == 0:  # until one shard is done
        pass
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in (to / "train").glob("*.tar")}
    assert finished
    assert not (to / "set.json").exists()
    said = subprocess.run([*command, "0"], capture_output=True, text=True, check=True).stdout.split()
    assert int(said[0]) > 0  # what was done counts
    assert hashes(to) == hashes(packed)
    for name, changed in finished.items():
        assert (to / "train" / name).stat().st_mtime_ns == changed  # not written again


def test_what_is_damaged_is_told_and_left_out_only_where_allowed(folders: Path, tmp_path: Path) -> None:
    for path in folders.rglob("*.jpg"):
        (tmp_path / "in" / path.parent.name).mkdir(parents=True, exist_ok=True)
        os.link(path, tmp_path / "in" / path.parent.name / path.name)
    bad = tmp_path / "in" / "class1" / "aa.jpg"
    bad.write_bytes(photograph(1)[:900])
    (tmp_path / "in" / "class1" / "ab.jpg").write_bytes(b"")
    items, classes = class_folders(tmp_path / "in")
    with pytest.raises(DataError, match=r"--max-bad: 2 damaged sample\(s\), 0 allowed; the first is 'class1/aa'"):
        pack(items, tmp_path / "out", name="photos", classes=classes)
    result = pack(items, tmp_path / "out", name="photos", classes=classes, settings=Settings(max_bad=2))
    assert [key for key, _ in result.bad] == ["class1/aa", "class1/ab"]
    assert sum(result.samples.values()) == 120
    assert read_set(tmp_path / "out").about["left_out"] == ["class1/aa", "class1/ab"]
    with pytest.raises(DataError, match="there is a set already"):
        pack(items, tmp_path / "out", name="photos", classes=classes)


def test_what_was_mended_is_read_again(folders: Path, tmp_path: Path) -> None:
    """Also where the file is as long as it was; shards without damage are kept."""
    shutil.copytree(folders, tmp_path / "in")
    mended = next((tmp_path / "in").rglob("*.jpg"))
    whole = mended.read_bytes()
    mended.write_bytes(bytes(len(whole)))
    settings = Settings(shard_bytes=60_000)
    items, classes = class_folders(tmp_path / "in")
    with pytest.raises(DataError, match=r"1 damaged sample\(s\), 0 allowed"):
        pack(items, tmp_path / "out", name="photos", classes=classes, settings=settings)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.tar")}
    mended.write_bytes(whole)
    result = pack(items, tmp_path / "out", name="photos", classes=classes, settings=settings)
    assert result.bad == []
    assert sum(result.samples.values()) == len(items)
    assert [path.stat().st_mtime_ns != changed for path, changed in before.items()].count(True) == 1 < len(before)


def test_imagenets_oddities(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "one"
    folder.mkdir(parents=True)
    image = Image.open(io.BytesIO(photograph(3)))
    image.save(folder / "png-named.JPEG", "PNG")
    image.convert("CMYK").save(folder / "cmyk.JPEG", "JPEG", quality=95)
    image.convert("L").save(folder / "grey.JPEG", "JPEG", quality=95)
    turned = Image.Exif()
    turned[0x0112] = 6
    image.save(folder / "turned.JPEG", "JPEG", quality=95, exif=turned)
    items, classes = class_folders(tmp_path / "in")
    pack({"train": items}, tmp_path / "out", name="odd", classes=classes)
    data = Shards("train", str(tmp_path), folder="out", image_size=96)
    plain = np.asarray(image).astype(int)
    for number, key in enumerate(data.keys[:]):
        files = data.fields(number)
        assert set(files) == {"jpg", "cls"}
        pixels = decode(files["jpg"])
        assert pixels.shape == (120, 160, 3), key
        if key != "one/grey":
            assert np.abs(pixels - plain).mean() < 8, key  # upright, colours right
        if key in ("one/grey", "one/turned"):
            assert files["jpg"] == (folder / f"{key[4:]}.JPEG").read_bytes()


def test_text_audio_arrays_and_any_iterable(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("one\ntwo\n\nfour\n")
    (tmp_path / "a.fr").write_text("un\ndeux\ntrois\nquatre\n")
    assert [sample["src.txt"] for sample in text(tmp_path / "a.en", tmp_path / "a.fr")] == [b"one", b"two", b"four"]
    (tmp_path / "b.fr").write_text("un\n")
    with pytest.raises(DataError, match="has more lines than"):
        list(text(tmp_path / "a.en", tmp_path / "b.fr"))
    np.save(tmp_path / "x.npy", np.arange(60).reshape(20, 3))
    np.save(tmp_path / "y.npy", np.arange(20) % 2)
    rows = list(arrays({"npy": tmp_path / "x.npy", "cls": tmp_path / "y.npy"}))
    assert len(rows) == 20
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read as an array"):
        list(arrays({"npy": tmp_path / "objects.npy"}))
    with pytest.raises(DataError, match="holds no wav, flac, sph files"):
        list(audio(tmp_path))
    made = ({"__key__": f"d{number}", "png": digit(number), "cls": str(number % 2).encode()} for number in range(40))
    result = pack(made, tmp_path / "digits", name="digits", classes=["even", "odd"])
    assert result.samples == {"train": 28, "val": 4, "test": 8}
    assert not list((tmp_path / "digits").glob(".*"))
    result = pack(rows, tmp_path / "rows", name="rows", kind="arrays")
    index = Index(tmp_path / "rows" / "train" / "index")
    assert index.fields == ["cls", "npy"]


def test_impossible_keys_are_refused(tmp_path: Path) -> None:
    for key in ("", "a.b", "x" * 91, 3):
        with pytest.raises(DataError, match="is no key"):
            pack([{"__key__": key, "txt": b"x"}], tmp_path / "out", name="x", kind="text")
    with pytest.raises(DataError, match="is the key of"):
        pack({"train": [Item("a", "x", 0, 1, "jpg", 0), Item("a", "y", 0, 1, "jpg", 0)]}, tmp_path / "two", name="x")


def test_headers_are_those_of_tarfile() -> None:
    for name in ("a.txt", "é/ü.src.txt", "x" * 96 + ".txt", "d/" + "y" * 95 + ".txt", "d/" * 30 + "y" * 60 + ".txt"):
        for size in (0, 1, 511, 8**11 - 1):
            about = tarfile.TarInfo(name)
            about.size, about.mode = size, 0o444
            assert _header(name, size) == about.tobuf(tarfile.USTAR_FORMAT)


def test_what_some_encodings_take_for_the_end_of_a_line_shifts_no_pair(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_bytes("one\r more\u2028 and\x85 more\ntwo\n".encode())
    (tmp_path / "a.fr").write_bytes(b"un\r\ndeux\r\n")
    pairs = [(one["src.txt"], one["tgt.txt"]) for one in text(tmp_path / "a.en", tmp_path / "a.fr")]
    assert pairs == [("one\r more\u2028 and\x85 more".encode(), b"un"), (b"two", b"deux")]
    (tmp_path / "a.fr").write_bytes(b"un\nd\xe9j\xe0\n")
    with pytest.raises(DataError, match=r"a\.fr: line 2: is not in UTF-8"):
        list(text(tmp_path / "a.en", tmp_path / "a.fr"))


def test_nothing_to_pack(tmp_path: Path) -> None:
    for nothing in ([], iter(()), {"train": []}):
        with pytest.raises(DataError, match="there are no samples to pack"):
            pack(nothing, tmp_path / "out", name="x")


def test_arrays_that_are_no_classes(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 2)))
    for wrong, says in ((np.zeros(4), "holds float64 of shape"), (np.zeros((4, 2), int), r"of shape \(4, 2\)")):
        np.save(tmp_path / "y.npy", wrong)
        with pytest.raises(DataError, match=says):
            list(arrays({"npy": tmp_path / "x.npy", "cls": tmp_path / "y.npy"}))
    np.save(tmp_path / "y.npy", np.float32(1))
    with pytest.raises(DataError, match="holds one number, not a row"):
        list(arrays({"npy": tmp_path / "y.npy"}))


def test_folders_that_are_split_already_stay_so(tmp_path: Path) -> None:
    for part, count in (("train", 6), ("val", 2)):
        for number in range(count):
            place = tmp_path / "in" / part / f"class{number % 2}"
            place.mkdir(parents=True, exist_ok=True)
            (place / f"a.b.{number}.PNG").write_bytes(digit(number))  # dots would end the key
    (tmp_path / "in" / "train" / ".hidden").mkdir()
    items, classes = class_folders(tmp_path / "in")
    assert classes == ["class0", "class1"]
    result = pack(items, tmp_path / "out", name="split", classes=classes)
    assert result.samples == {"train": 6, "val": 2}
    assert sorted(Index(tmp_path / "out" / "val" / "index").keys[:]) == ["class0/a_b_0", "class1/a_b_1"]


# What would be left out without a word


def test_pictures_where_none_are_looked_for_are_told(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        (tmp_path / "parts" / part / "a").mkdir(parents=True)
        (tmp_path / "parts" / part / "a" / "0.jpg").write_bytes(photograph(0))
    with pytest.raises(DataError, match=r"holds 'valid' beside train\. The parts are train, val and test"):
        class_folders(tmp_path / "parts")
    (tmp_path / "loose" / "a").mkdir(parents=True)
    for name in ("a/0.jpg", "1.jpg", "2.JPG"):
        (tmp_path / "loose" / name).write_bytes(photograph(0))
    with pytest.raises(DataError, match=r"holds 2 picture\(s\) in no class's folder"):
        class_folders(tmp_path / "loose")


def test_lines_left_out_are_counted(tmp_path: Path) -> None:
    for name, text_ in (("en", "one\n\nthree\n"), ("fr", "un\ndeux\ntrois\n")):
        (tmp_path / name).write_text(text_)
    empty: list[int] = []
    assert len(list(text(tmp_path / "en", tmp_path / "fr", empty.append))) == 2
    assert empty == [2]


def test_a_picture_that_no_jpeg_can_hold_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    for number in range(12):
        (tmp_path / "in" / "a" / f"{number}.jpg").write_bytes(photograph(number))
    Image.new("L", (200_000, 12)).save(tmp_path / "in" / "a" / "long.png")
    items, classes = class_folders(tmp_path / "in")
    packing = pack(items, tmp_path / "out", name="out", classes=classes, settings=Settings(resize=8, max_bad=1))
    ((key, reason),) = packing.bad
    assert key == "a/long"
    assert reason.startswith("cannot be stored: ")


def test_a_file_whose_name_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "a" / os.fsdecode(b"\xff\xfe.jpg")).write_bytes(photograph(0))
    items, classes = class_folders(tmp_path / "in")
    with pytest.raises(DataError, match=r"a/\\udcff\\udcfe: is no name in UTF-8"):
        pack(items, tmp_path / "out", name="out", classes=classes)
