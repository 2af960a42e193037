"""Reading samples of shards by the index, and every way in which shards and index can disagree."""

import io
import os
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dltk.data.datamodule import DataModule
from dltk.data.shards.build import build, scan_shard
from dltk.data.shards.dataset import Shards
from dltk.data.shards.index import Index, IndexWriter
from dltk.data.shards.source import expand
from dltk.data.shards.writer import write_shard
from dltk.data.views import RandomResizedCrop
from dltk.errors import DataError
from tests.data.conftest import photograph

Copy = Callable[[], Path]


def opened(folder: Path, split: str = "train", **settings: object) -> Shards:
    return Shards(split, str(folder.parent), **{"folder": folder.name, "image_size": 48, **settings})


def test_an_index_made_afterwards_is_the_packers(copy: Copy) -> None:
    folder = copy()
    packed = Index(folder / "train" / "index")
    again = build(expand(str(folder / "train" / "*.tar")), folder / "other", classes=packed.classes, workers=2)
    assert again.hash == packed.hash
    assert again.keys[:] == packed.keys[:]
    for name in ("counts", "bytes", "offsets", "sizes", "targets"):
        assert (getattr(again, name) == getattr(packed, name)).all(), name
    assert [again.url(shard) for shard in range(3)] == [packed.url(shard) for shard in range(3)]
    assert again.sha256(1) == packed.sha256(1)
    with pytest.raises(DataError, match="there is an index already"):
        build(expand(str(folder / "train" / "*.tar")), folder / "other")
    build(expand(str(folder / "train" / "photos-train-{000000..000001}.tar")), folder / "other", replace=True)
    assert len(Index(folder / "other").counts) == 2


def test_foreign_tars_are_read(tmp_path: Path) -> None:
    """As other tools write them: pax and GNU headers, long names, folders, `./` before names, png and json."""
    long = "folder-" * 20 + "/sample"
    for kind, form in (("pax", tarfile.PAX_FORMAT), ("gnu", tarfile.GNU_FORMAT)):
        with tarfile.open(tmp_path / f"{kind}.tar", "w", format=form) as archive:
            directory = tarfile.TarInfo("./some")
            directory.type = tarfile.DIRTYPE
            archive.addfile(directory)
            for name, data in (
                (f"{long}.jpg", photograph(1)),
                (f"{long}.json", b'{"label": 4}'),
                ("./some/ünder.v2.jpg", photograph(2)),
                ("./some/ünder.json", b'{"label": 2}'),
            ):
                about = tarfile.TarInfo(name)
                about.size = len(data)
                archive.addfile(about, io.BytesIO(data))
        index = build([str(tmp_path / f"{kind}.tar")], tmp_path / kind / "train" / "index")
        assert index.keys[:] == [long, "some/ünder"]
        assert index.targets.tolist() == [4, 2]
        assert index.fields == ["jpg", "json", "v2.jpg"]
        data = opened(tmp_path / kind)
        assert data.sample(1)["target"] == 2
        assert data.fields(0)["jpg"] == photograph(1)


def test_a_batch_is_its_samples_whatever_their_order(packed: Path) -> None:
    data, view = opened(packed), RandomResizedCrop()
    numbers = np.array([70, 3, 3, 41, 0])
    drawn = np.random.default_rng(0).random((5, view.uniforms))
    batch = data.batch(numbers, view, drawn)
    for at, number in enumerate(numbers.tolist()):
        one = data.sample(number, view, drawn[at])
        assert torch.equal(batch["image"][at], one["image"])
        assert batch["target"][at] == one["target"]
    again = pickle.loads(pickle.dumps(data))
    assert torch.equal(again.batch(numbers, view, drawn)["image"], batch["image"])
    assert len(pickle.dumps(data)) < 20_000


def test_the_whole_way_is_the_same_with_workers(packed: Path) -> None:
    found = []
    for workers in (0, 2):
        data = DataModule(
            Shards, {"folder": "photos", "image_size": 32, "lanes": 3}, data_dir=str(packed.parent),
            batch=8, seed=3, epochs=2, whole_run=True, workers=workers, augment=RandomResizedCrop(),
        )  # fmt: skip
        batches = list(data.train_dataloader())
        assert len(batches) == data.total_steps == 2 * (84 // 8)
        found.append([(batch["info"].keys, batch["image"].sum(dtype=torch.int64).item()) for batch in batches])
        data.teardown("fit")
    assert found[0] == found[1]


def damage(name: str, shard: Path) -> None:
    data = bytearray(shard.read_bytes())
    if name == "cut off":
        shard.write_bytes(data[: len(data) // 2])
    elif name == "gone":
        shard.unlink()
    elif name == "other samples of the same size":
        at = data.index(b"picture")
        data[at : at + 7] = b"painted"
        status = shard.stat()
        shard.write_bytes(data)
        os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        shard.touch()


@pytest.mark.parametrize(("name", "says"), [
    ("cut off", "has changed since it was indexed"),
    ("gone", "the shard is gone"),
    ("other samples of the same size", "the shard has changed under it"),
    ("touched", "has changed since it was indexed"),
])  # fmt: skip
def test_a_shard_that_is_not_what_was_indexed(copy: Copy, name: str, says: str) -> None:
    folder = copy()
    shard = folder / "train" / "photos-train-000000.tar"
    damage(name, shard)
    with pytest.raises(DataError, match=says) as caught:
        [opened(folder).fields(number) for number in range(3)]
    assert "photos-train-000000.tar" in str(caught.value)


def archive(path: Path, *files: tuple[str, bytes], **kinds: bytes) -> Path:
    with tarfile.open(path, "w") as made:
        for name, data in files:
            about = tarfile.TarInfo(name)
            about.size = len(data)
            made.addfile(about, io.BytesIO(data))
        for name, kind in kinds.items():
            about = tarfile.TarInfo(name)
            about.type, about.linkname = kind, "/etc/passwd"
            made.addfile(about)
    return path


def test_archives_that_are_refused(tmp_path: Path) -> None:
    good = ("a.jpg", photograph(0)), ("a.cls", b"1")
    whole = archive(tmp_path / "whole.tar", *good, ("b.jpg", photograph(1)), ("b.cls", b"0"))
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole.read_bytes()[:3000])
    noise = tmp_path / "noise.tar"
    noise.write_bytes(os.urandom(5000))
    apart = archive(tmp_path / "apart.tar", ("a.jpg", b"x"), ("b.jpg", b"x"), ("a.cls", b"1"))
    for path, says in (
        (cut, "cut off"),
        (noise, "no tar header"),
        (apart, "has its files in two places"),
        (archive(tmp_path / "twice.tar", ("a.jpg", b"x"), ("a.jpg", b"y")), "is there twice"),
        (archive(tmp_path / "pickle.tar", *good, ("b.pth", b"x")), "a pickle, which runs commands"),
        (archive(tmp_path / "link.tar", *good, link=tarfile.SYMTYPE), "a symbolic link"),
        (archive(tmp_path / "device.tar", *good, device=tarfile.CHRTYPE), "a device"),
        (archive(tmp_path / "plain.tar", ("README", b"x")), "has no extension"),
        (archive(tmp_path / "label.tar", ("a.cls", b"cat")), "cannot be read"),
    ):
        with pytest.raises(DataError, match=says):
            scan_shard(str(path))
    with pytest.raises(DataError, match="no such shard"):
        expand(str(tmp_path / "nothing-{00..03}.tar"))


def test_a_missing_half_an_empty_picture_and_a_wrong_label_are_counted_and_skipped(tmp_path: Path) -> None:
    place = tmp_path / "set" / "train"
    place.mkdir(parents=True)
    samples = [{"__key__": f"s{number}", "jpg": photograph(number), "cls": b"1"} for number in range(16)]
    del samples[3]["cls"]
    samples[5]["jpg"] = b""
    samples[7]["cls"] = b"7"
    samples[9]["jpg"] = photograph(9)[:500]
    write_shard(place / "s.tar", samples)
    build([str(place / "s.tar")], place / "index", classes=["zero", "one"])
    settings = {"folder": "set", "image_size": 32}
    make = {"data_dir": str(tmp_path), "batch": 4, "epochs": 1}
    data = DataModule(Shards, settings, max_bad=4, **make)
    weights = torch.cat([batch["weight"] for batch in data.train_dataloader()])
    assert weights.sum() == 12
    reasons = data.damage.reasons
    assert set(reasons) == {"s3", "s5", "s7", "s9"}
    assert "has no class" in reasons["s3"]
    assert "is empty" in reasons["s5"]
    assert "class 7 of 2" in reasons["s7"]
    with pytest.raises(DataError, match=r"[23] damaged sample\(s\), 1 allowed; the last is 's\d': s\.tar: s\d"):
        list(DataModule(Shards, settings, max_bad=1, **make).train_dataloader())


def test_damaged_indices_are_refused(copy: Copy) -> None:
    folder = copy()
    index = folder / "train" / "index"
    about = (index / "index.json").read_text()
    (index / "index.json").write_text(about.replace('"format": 1', '"format": 9'))
    with pytest.raises(DataError, match="9 is newer than 1"):
        Index(index)
    (index / "index.json").write_text("{")
    with pytest.raises(DataError, match="is no index"):
        Index(index)
    (index / "index.json").write_text(about)
    np.save(index / "offsets.npy", np.zeros(3, np.uint64))
    with pytest.raises(DataError, match=r"offsets\.npy: holds \(3,\)"):
        Index(index)
    np.save(index / "offsets.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match="Python objects"):
        Index(index)
    with pytest.raises(DataError, match="holds no set of shards"):
        opened(folder / "val")


def test_an_unfinished_index_is_never_seen(tmp_path: Path) -> None:
    writer = IndexWriter(tmp_path / "index")
    writer.add_shard(name="a.tar", bytes=1024, sha256="0" * 64, offsets=[0], sizes=[512], keys=["k"])
    assert not (tmp_path / "index").exists()
    writer.abandon()
    assert not list(tmp_path.iterdir())


BILLION = """
import resource, sys, time
import numpy as np, torch
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.perf_counter()
from dltk.data.plan import Plan
from dltk.data.shards.index import Index
index = Index(sys.argv[1])
plan = Plan(index.counts, seed=0, batch=256, lanes=64, window=4096)
for step in (0, 1, 2, 3_000_000, 3_900_000):
    numbers = plan.samples(0, np.arange(*plan.bounds(0, step)))
    shards, offsets, sizes = index.locate(numbers)
    assert len({int(shard) for shard in shards}) >= 32, "fewer lanes than asked for"
    [index.keys[number] for number in numbers.tolist()]
print(index.total, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, time.perf_counter() - began)
"""


def test_a_billion_samples_in_a_hundred_thousand_shards(tmp_path: Path) -> None:
    """On sparse files: as large as the real ones, without their contents."""
    shards, each = 100_000, 10_000
    writer = IndexWriter(tmp_path / "index")
    writer.add_shard(name="x.tar", bytes=1024, sha256="0" * 64, offsets=[0], sizes=[512], keys=["k"], targets=[0])
    writer.finish(fields=["jpg"])
    place = tmp_path / "index"
    about = (place / "index.json").read_text().replace('"samples": 1', f'"samples": {shards * each}')
    (place / "index.json").write_text(about.replace('"shards": 1', f'"shards": {shards}'))
    for name, width in (("offsets", 8), ("sizes", 4), ("key_ends", 8), ("targets", 4)):
        path = place / f"{name}.npy"
        header = path.read_bytes()[:128].replace(b"(1,), }".ljust(20), f"({shards * each},), }}".ljust(20).encode())
        with path.open("r+b") as file:
            file.write(header)
            file.truncate(128 + width * shards * each)
    with (place / "keys.bin").open("r+b") as file:
        file.truncate(8 * shards * each)
    table = np.load(place / "shards.npy").repeat(shards)
    table["count"] = each
    np.save(place / "shards.npy", table)
    (place / "names.txt").write_text("".join(f"train-{number:06d}.tar\n" for number in range(shards)))
    said = subprocess.run([sys.executable, "-c", BILLION, str(place)], capture_output=True, text=True, check=True)
    total, megabytes, seconds = map(float, said.stdout.split())
    print(f"{megabytes:.0f} MB above `import torch`, {seconds:.2f} s")
    assert total == shards * each
    assert megabytes <= 300
