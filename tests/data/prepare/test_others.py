"""The other known sets, from small archives of their formats or made by rule."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from num2words import num2words

from dltk.data.decode import decode
from dltk.data.pack import Settings
from dltk.data.prepare import SETS, cifar10, number_names, rendered
from dltk.data.shards.dataset import Shards
from dltk.data.shards.index import Index
from dltk.data.shards.reader import ShardReader
from dltk.errors import DataError


def quiet(done: int, total: int) -> None:
    pass


def test_cifar10(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (6, 30, cifar10.ROW), dtype=np.uint8)
    rows[:, :, 0] %= 10
    with tarfile.open(tmp_path / cifar10.ARCHIVE, "w:gz") as archive:
        for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
            about = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            about.size = rows[number].nbytes
            archive.addfile(about, io.BytesIO(rows[number].tobytes()))
    packing = SETS["cifar10"].prepare(tmp_path, tmp_path / "out", Settings(), quiet)
    assert packing.samples["test"] == 30
    assert packing.samples["train"] + packing.samples["val"] == 150
    data = Shards("test", str(tmp_path), folder="out", image_size=32)
    for number, key in enumerate(data.keys[:]):
        row = rows[5, int(key[-5:])]
        assert int(data.fields(number)["cls"]) == row[0]
        assert (decode(data.fields(number)["png"]).transpose(2, 0, 1).ravel() == row[1:]).all()
    with pytest.raises(DataError, match=r"there is no cifar-10-binary\.tar\.gz"):
        SETS["cifar10"].prepare(tmp_path / "nowhere", tmp_path / "other", Settings(), quiet)


def test_number_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(number_names, "PAIRS", 300)
    packing = SETS["number_names"].prepare(None, tmp_path / "out", Settings(), quiet)
    assert sum(packing.samples.values()) == 300
    index = Index(tmp_path / "out" / "train" / "index")
    reader = ShardReader(index, cache=None)
    for number in range(0, index.total, 10):
        value = int(index.keys[number])
        assert reader.fields(number) == {
            "src.txt": num2words(value, lang="en").encode(),
            "tgt.txt": num2words(value, lang="fr").encode(),
        }


def test_rendered_characters_differ_and_come_out_the_same_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(set(rendered._characters())) == rendered.CLASSES == 1000
    monkeypatch.setattr(rendered, "CLASSES", 12)
    monkeypatch.setattr(rendered, "EACH", 10)
    for name in ("one", "two"):
        packing = SETS["rendered"].prepare(None, tmp_path / name, Settings(), quiet)
        assert packing.samples == {"train": 84, "val": 12, "test": 24}
    hashes = [Index(tmp_path / name / "train" / "index").hash for name in ("one", "two")]
    assert hashes[0] == hashes[1]
    data = Shards("train", str(tmp_path), folder="one", image_size=64)
    assert len({data.fields(number)["jpg"] for number in range(84)}) == 84


def test_mnist_without_its_files_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train-images"):
        SETS["mnist"].prepare(tmp_path, tmp_path / "out", Settings(), quiet)
