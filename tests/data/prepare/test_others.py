"""The other known sets of pictures and numbers, from small archives of their formats or made by rule."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
from num2words import num2words

from dltk.data.decode import decode
from dltk.data.mnist import Mnist
from dltk.data.pack import Settings
from dltk.data.prepare import SETS, Origin, cifar10, mnist, number_names, rendered
from dltk.data.prepare.archives import Archive
from dltk.data.shards.dataset import Shards
from dltk.data.shards.index import Index
from dltk.data.shards.sets import read_set
from dltk.errors import DataError
from tests.data.prepare.conftest import pairs, quiet, samples, served, tar


def batches() -> tuple[np.ndarray, dict[str, bytes]]:
    """Rows (6, 30, 3073) of CIFAR-10's binary files, and the files."""
    rows = np.random.default_rng(0).integers(0, 256, (6, 30, cifar10.ROW), dtype=np.uint8)
    rows[:, :, 0] %= 10
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    files = {f"cifar-10-batches-bin/{name}.bin": rows[at].tobytes() for at, name in enumerate(names)}
    return rows, {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n", **files}


def test_cifar10(tmp_path: Path) -> None:
    rows, files = batches()
    tar(tmp_path / cifar10.ARCHIVE.name, files)
    packing = SETS["cifar10"].prepare(Origin(folder=tmp_path), tmp_path / "out", Settings(), quiet)
    assert packing.samples["test"] == 30
    assert packing.samples["train"] + packing.samples["val"] == 150
    assert read_set(tmp_path / "out").classes == cifar10.CLASSES
    seen = 0
    for split in ("train", "val", "test"):
        data = Shards(split, str(tmp_path), folder="out", image_size=32)
        for number, key in enumerate(data.keys[:]):
            batch = 5 if split == "test" else int(key[11]) - 1
            row = rows[batch, int(key[-5:])]
            assert int(data.fields(number)["cls"]) == row[0]
            assert (decode(data.fields(number)["png"]).transpose(2, 0, 1).ravel() == row[1:]).all()
            seen += 1
    assert seen == 180


def test_cifar10_is_fetched_and_held_to_its_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "web").mkdir()
    path = tar(tmp_path / "web" / cifar10.ARCHIVE.name, batches()[1])
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    told: list[tuple[int, int | None, str]] = []
    with served(path.parent) as (address, _):
        real = Archive(f"{address}/{path.name}", digest, path.stat().st_size)
        monkeypatch.setattr(cifar10, "ARCHIVE", real._replace(sha256="0" * 64))
        with pytest.raises(DataError, match=f"has sha256 {digest}, 0000.* was expected. It has changed since"):
            SETS["cifar10"].prepare(Origin(), tmp_path / "out", Settings(), quiet)
        assert not list((tmp_path / "out").rglob("*.gz*"))  # nothing of it is kept
        monkeypatch.setattr(cifar10, "ARCHIVE", real)
        SETS["cifar10"].prepare(Origin(), tmp_path / "out", Settings(), lambda *said: told.append(said))  # type: ignore[arg-type]
    assert (path.stat().st_size, path.stat().st_size, path.name) in told
    assert len(samples(tmp_path / "out", "test")) == 30
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["set.json", "test", "train", "val"]


def test_cifar10_damaged_or_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--source: holds no cifar-10-binary\.tar\.gz"):
        SETS["cifar10"].prepare(Origin(folder=tmp_path), tmp_path / "out", Settings(), quiet)
    path = tar(tmp_path / cifar10.ARCHIVE.name, batches()[1])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz: cannot be read .* Fetch it again"):
        SETS["cifar10"].prepare(Origin(folder=tmp_path), tmp_path / "out", Settings(), quiet)
    files = batches()[1]
    files.pop("cifar-10-batches-bin/data_batch_3.bin")
    tar(path, files)
    with pytest.raises(DataError, match="holds 5 batches, not 6"):
        SETS["cifar10"].prepare(Origin(folder=tmp_path), tmp_path / "out", Settings(), quiet)
    tar(path, {"data_batch_1.bin": bytes(cifar10.ROW + 1)})
    with pytest.raises(DataError, match="has 3074 bytes, no multiple of 3073"):
        SETS["cifar10"].prepare(Origin(folder=tmp_path), tmp_path / "out", Settings(), quiet)


def idx(path: Path, array: np.ndarray) -> None:
    """A file of the IDX format, zipped where its name says so."""
    data = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def digits(folder: Path) -> None:
    """The four files, smaller."""
    generator = np.random.default_rng(1)
    for part, count in (("train", 60), ("t10k", 20)):
        idx(folder / f"{part}-images-idx3-ubyte.gz", generator.integers(0, 256, (count, 28, 28), dtype=np.uint8))
        idx(folder / f"{part}-labels-idx1-ubyte.gz", np.arange(count, dtype=np.uint8) % 10)


def test_mnist_has_the_splits_and_keys_of_the_data_set(tmp_path: Path) -> None:
    digits(tmp_path)
    SETS["mnist"].prepare(Origin(folder=tmp_path), tmp_path / "out", Settings(), quiet)
    for split, count in (("train", 50), ("val", 10), ("test", 20)):
        plain = Mnist(split, str(tmp_path))
        found = samples(tmp_path / "out", split)
        assert len(found) == len(plain) == count
        for number, key in enumerate(plain.keys):
            assert int(found[key]["cls"]) == plain[number]["target"]
            assert (decode(found[key]["png"], channels=1)[:, :, 0] == plain[number]["image"][0].numpy()).all()


def test_mnist_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "web").mkdir()
    digits(tmp_path / "web")
    with served(tmp_path / "web") as (address, asked):
        local = []
        for one in mnist.ARCHIVES:
            data = (tmp_path / "web" / one.name).read_bytes()
            local.append(Archive(f"{address}/{one.name}", hashlib.sha256(data).hexdigest(), len(data)))
        monkeypatch.setattr(mnist, "ARCHIVES", local)
        packing = SETS["mnist"].prepare(Origin(), tmp_path / "out", Settings(), quiet)
        assert len(asked) == 4
    assert packing.samples == {"train": 50, "val": 10, "test": 20}
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["set.json", "test", "train", "val"]


def test_mnist_without_its_files_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--source: holds no train-images-idx3-ubyte and the like"):
        SETS["mnist"].prepare(Origin(folder=tmp_path), tmp_path / "out", Settings(), quiet)


def test_number_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(number_names, "PAIRS", 300)
    packing = SETS["number_names"].prepare(Origin(), tmp_path / "out", Settings(), quiet)
    assert sum(packing.samples.values()) == 300
    assert packing.samples["test"] == 60
    numbers = [int(key) for split in ("train", "val", "test") for key in samples(tmp_path / "out", split)]
    assert len(set(numbers)) == 300
    assert sum(number < 1000 for number in numbers) > 50  # short ones occur
    assert sum(number >= 100_000 for number in numbers) > 50
    named = {(num2words(number, lang="en"), num2words(number, lang="fr")) for number in numbers}
    assert named == set().union(*(pairs(tmp_path / "out", split) for split in ("train", "val", "test")))


def test_rendered_characters_differ_and_come_out_the_same_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(set(rendered._characters())) == rendered.CLASSES == 1000
    monkeypatch.setattr(rendered, "CLASSES", 12)
    monkeypatch.setattr(rendered, "EACH", 10)
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        packing = SETS["rendered"].prepare(Origin(), tmp_path / name, Settings(seed=seed), quiet)
        assert packing.samples == {"train": 84, "val": 12, "test": 24}
    hashes = [Index(tmp_path / name / "train" / "index").hash for name in ("one", "two", "other")]
    assert hashes[0] == hashes[1] != hashes[2]
    data = Shards("train", str(tmp_path), folder="one", image_size=64)
    assert len({data.fields(number)["jpg"] for number in range(84)}) == 84
