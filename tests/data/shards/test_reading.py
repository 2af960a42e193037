"""Reading samples of shards by the index, and every way in which shards and index can disagree."""

import hashlib
import io
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dltk.data.datamodule import DataModule
from dltk.data.dataset import check_data
from dltk.data.shards.build import build, scan_shard
from dltk.data.shards.dataset import Shards
from dltk.data.shards.index import Index, IndexWriter
from dltk.data.shards.reader import ShardReader
from dltk.data.shards.source import expand
from dltk.data.shards.tar import split_name
from dltk.data.shards.writer import write_shard
from dltk.data.splits import SPLITS
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


def test_classes_without_names_are_counted(copy: Copy) -> None:
    """Of somebody's shards, indexed where they lie: a network with fewer outputs is refused before it trains."""
    folder = copy()
    (folder / "set.json").unlink()
    for split in SPLITS:
        index = build(expand(str(folder / split / "*.tar")), folder / split / "index", replace=True)
        assert index.classes == []
    assert opened(folder).classes == []
    facts = check_data(Shards, {"folder": folder.name, "image_size": 48}, str(folder.parent))
    assert facts.classes == 3


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
        data[-1] ^= 1  # of the padding behind the end: every sample is as it was
        shard.write_bytes(data)


@pytest.mark.parametrize(("name", "says"), [
    ("cut off", "has changed since it was indexed"),
    ("gone", "the shard is gone"),
    ("other samples of the same size", "the shard has changed under it"),
    ("another file of the same size", "has changed since it was indexed"),
])  # fmt: skip
def test_a_shard_that_is_not_what_was_indexed(copy: Copy, name: str, says: str) -> None:
    folder = copy()
    shard = folder / "train" / "photos-train-000000.tar"
    damage(name, shard)
    with pytest.raises(DataError, match=says) as caught:
        [opened(folder).fields(number) for number in range(3)]
    assert "photos-train-000000.tar" in str(caught.value)


def test_a_copy_with_another_time_is_read_through_once(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy()
    as_it_was = opened(folder).fields(3)
    for path in folder.rglob("*.tar"):
        path.touch()
    looked: list[str] = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: looked.append("") or digest(*given))
    set_ = opened(folder)
    assert set_.fields(3) == as_it_was
    assert looked
    looked.clear()
    set_._opened.reader.close()
    assert set_.fields(4)
    assert looked == [], "its contents are known"


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
        (archive(tmp_path / "up.tar", *good, ("../../b.jpg", b"x")), "leads out of the folder"),
        (archive(tmp_path / "root.tar", *good, ("/etc/b.jpg", b"x")), "leads out of the folder"),
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
    reasons = data.damage.of("train")
    assert set(reasons) == {"s3", "s5", "s7", "s9"}
    assert "has no class" in reasons["s3"]
    assert "is empty" in reasons["s5"]
    assert "class 7 of 2" in reasons["s7"]
    with pytest.raises(
        DataError, match=r"[23] damaged sample\(s\), 1 allowed; the last is 's\d' \(train\): s\.tar: s\d"
    ):
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


def test_an_index_whose_parts_do_not_belong_together(copy: Copy) -> None:
    folder = copy()
    index = folder / "train" / "index"
    keys = (index / "keys.bin").read_bytes()
    (index / "keys.bin").write_bytes(keys[:-1])
    with pytest.raises(DataError, match=r"keys\.bin: cannot be read \(it has"):
        Index(index)
    (index / "keys.bin").write_bytes(b"\xff" * len(keys))
    with pytest.raises(DataError, match=r"keys\.bin: the key of sample 3 is no text"):
        Index(index).keys[3]
    (index / "keys.bin").write_bytes(keys)
    for name in ("offsets", "key_ends", "targets", "shards"):
        whole = (index / f"{name}.npy").read_bytes()
        for end in (0, 100, len(whole) - 4):
            (index / f"{name}.npy").write_bytes(whole[:end])
            with pytest.raises(DataError, match=rf"{name}\.npy: cannot be read"):
                Index(index)
        (index / f"{name}.npy").write_bytes(whole)
    about = (index / "index.json").read_text()
    for wrong in (
        about.replace('"shards": ', '"shards": -'),
        "[" * 100_000,
        about.replace('"root": ".."', '"root": 7'),
    ):
        (index / "index.json").write_text(wrong)
        with pytest.raises(DataError, match="is no index"):
            Index(index)
    (index / "index.json").write_text(about.replace('"fields"', '"others"'))
    with pytest.raises(DataError, match="has no fields"):
        Index(index)


def test_an_index_that_is_replaced_under_a_run(copy: Copy) -> None:
    """Workers open it again; with another one their sample numbers would mean other samples."""
    folder = copy()
    data = pickle.dumps(opened(folder))
    pickle.loads(data)
    build(expand(str(folder / "train" / "*00000[0-1].tar")), folder / "train" / "index", replace=True)
    with pytest.raises(DataError, match="was replaced while it was read"):
        pickle.loads(data)


@pytest.mark.parametrize("how", ["in place", "cut off", "another file"])
def test_a_shard_that_changes_under_the_reader(copy: Copy, how: str) -> None:
    """During an epoch, while it is open; contents of the same length included."""
    folder = copy()
    data = opened(folder)
    first = data.fields(0)
    shard = Path(data.index.url(0))
    if how == "another file":  # the open one stays what it was
        other = shard.with_name("other.tar")
        other.write_bytes(bytes(shard.stat().st_size))
        other.rename(shard)
        assert data.fields(0) == first
        data._opened.reader.close()
    elif how == "cut off":
        os.truncate(shard, 1000)
    else:
        with shard.open("r+b") as file:
            file.seek(600)
            file.write(b"other")
    for says in ("has changed under it" if how != "another file" else "has changed since", "has changed since"):
        with pytest.raises(DataError, match=says):
            data.fields(0)


def test_a_shard_that_changes_during_an_epoch_stops_the_run(copy: Copy) -> None:
    folder = copy()
    settings = {"folder": "photos", "image_size": 32, "lanes": 2, "window": 8}
    data = DataModule(Shards, settings, data_dir=str(folder.parent), batch=8, epochs=1)
    batches = iter(data.train_dataloader())
    next(batches)
    for shard in sorted((folder / "train").glob("*.tar"))[::2]:
        with shard.open("r+b") as file:
            file.write(b"x")
    with pytest.raises(DataError, match=r"data\.max_bad: .* has changed"):
        list(batches)


def test_a_shard_older_than_its_index(copy: Copy) -> None:
    """Brought back from somewhere: only its contents say what it is. Copying in whole seconds makes it a bit older."""
    folder = copy()
    shard = folder / "train" / "photos-train-000000.tar"
    time = shard.stat().st_mtime_ns
    os.utime(shard, ns=(time, time // 10**9 * 10**9))
    opened(folder).fields(0)
    os.utime(shard, ns=(time, time - 10**10))
    opened(folder).fields(0)
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    os.utime(shard, ns=(time, time - 10**10))
    with pytest.raises(DataError, match="has changed since it was indexed"):
        opened(folder).fields(0)


@pytest.mark.timeout(20)
def test_what_is_no_file_is_not_opened(copy: Copy) -> None:
    """A named pipe would wait for a writer for ever."""
    folder = copy()
    shard = folder / "train" / "photos-train-000000.tar"
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(DataError, match="is no regular file"):
        opened(folder).fields(0)
    with pytest.raises(DataError, match="is no regular file"):
        scan_shard(str(shard))


def test_a_shard_that_is_written_while_it_is_indexed(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = copy() / "train" / "photos-train-000000.tar"
    seen: list[str] = []

    def split_and_touch(name: str) -> tuple[str, str]:
        if not seen:
            os.utime(shard, (1, 1))
        seen.append(name)
        return split_name(name)

    monkeypatch.setattr("dltk.data.shards.build.split_name", split_and_touch)
    with pytest.raises(DataError, match="changed while it was read"):
        scan_shard(str(shard))


def test_a_label_that_is_no_number_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "label.tar", ("a.cls", b"1"), ("b.cls", b"cat"))
    with pytest.raises(DataError, match=r"label\.tar: b: cls: cannot be read .*cat.* Mend it"):
        scan_shard(str(path))
    path = archive(tmp_path / "large.tar", ("a.cls", b"99999999999"))
    with pytest.raises(DataError, match="99999999999 does not fit int32"):
        build([str(path)], tmp_path / "index")


def test_shards_outside_of_the_set_are_read_where_their_index_was_made(packed: Path, tmp_path: Path) -> None:
    """A set that cannot be written to; see also the attack in tests/test_trust.py."""
    place = tmp_path / "mine" / "train" / "index"
    index = build(expand(str(packed / "train" / "*.tar")), place)
    assert ShardReader(index, cache=None).fields(3) == opened(packed).fields(3)
    assert opened(tmp_path / "mine").fields(3) == opened(packed).fields(3)
    (tmp_path / "mine").rename(tmp_path / "moved")
    assert opened(tmp_path / "moved").fields(3) == opened(packed).fields(3)


def test_a_set_may_be_moved_with_its_shards(packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed, tmp_path / "elsewhere" / "photos")
    assert opened(tmp_path / "elsewhere" / "photos").fields(3) == opened(packed).fields(3)


def test_a_set_is_read_by_any_way_of_writing_its_folder(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(packed / "train")
    for folder in (Path("..", "..", packed.name), Path("..", "train", ".."), Path("index", "..", "..")):
        written = Shards("train", str(folder), folder=".", image_size=48)
        assert written.fields(3) == opened(packed).fields(3)
        assert Index(folder / "train" / "index").url(0) == opened(packed).index.url(0)
