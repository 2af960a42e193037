"""`verify` finds each way in which shards are not what their index says."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dltk import cli
from dltk.data.shards.build import build
from dltk.data.shards.index import Index
from dltk.data.shards.verify import SHOWN, verify
from dltk.data.shards.writer import Sample, write_shard
from tests.data.conftest import photograph
from tests.data.shards.test_cache import Web

Copy = Callable[[], Path]


def made(tmp_path: Path, *shards: list[Sample], classes: tuple[str, ...] = ("zero", "one")) -> Index:
    """An index of shards that hold these samples."""
    paths = [tmp_path / f"{number}.tar" for number in range(len(shards))]
    for path, samples in zip(paths, shards, strict=True):
        write_shard(path, samples)
    return build([str(path) for path in paths], tmp_path / "index", classes=classes, replace=True)


def sample(number: int, **other: bytes) -> dict[str, object]:
    return {"__key__": f"s{number}", "jpg": photograph(number), "cls": b"1", **other}


def test_nothing_is_wrong_with_what_was_packed(packed: Path) -> None:
    index = Index(packed / "train" / "index")
    heard: list[int] = []
    report = verify(index, decode_pictures=True, workers=2, done=heard.append)
    assert report.ok
    assert (report.samples, report.decoded, report.shards) == (index.total, index.total, len(index.counts))
    assert report.bytes == index.bytes.sum()
    assert heard == list(range(1, report.shards + 1))


def changed(shard: Path, kind: str) -> None:
    data = bytearray(shard.read_bytes())
    if kind == "contents":
        data[700] ^= 1
    elif kind == "a name":
        at = data.index(b"picture")
        header = at // 512 * 512
        for number in range(2):  # of the sample's two files
            data[header : header + 7] = b"painted"
            data[header + 148 : header + 156] = b" " * 8
            data[header + 148 : header + 156] = f"{sum(data[header : header + 512]):06o}\0 ".encode()
            header = data.index(b"picture", header + 512) // 512 * 512 if number == 0 else header
    elif kind == "a sample more":
        del data[-1024:]
        data += shard.with_name("more.tar").read_bytes()
    elif kind == "cut off":
        del data[len(data) // 2 :]
    shard.write_bytes(data)


@pytest.mark.parametrize(("kind", "says"), [
    ("contents", "has other contents than when it was indexed (sha256 differs)"),
    ("a name", "holds other samples than the index says"),
    ("a sample more", "samples, the index says"),
    ("cut off", "cut off"),
])  # fmt: skip
def test_a_changed_shard(copy: Copy, kind: str, says: str) -> None:
    folder = copy()
    write_shard(folder / "train" / "more.tar", [sample(0)])
    changed(folder / "train" / "photos-train-000001.tar", kind)
    report = verify(Index(folder / "train" / "index"))
    assert len(report.complaints) == 1
    assert "photos-train-000001.tar" in report.complaints[0]
    assert says in report.complaints[0]


def test_a_shard_that_is_gone(copy: Copy) -> None:
    folder = copy()
    (folder / "train" / "photos-train-000001.tar").unlink()
    complaints = verify(Index(folder / "train" / "index")).complaints
    assert len(complaints) == 1
    assert "photos-train-000001.tar: cannot be fetched (No such file or directory)" in complaints[0]


def test_a_missing_half_of_a_pair_is_found_without_decoding(tmp_path: Path) -> None:
    samples = [sample(number) for number in range(4)]
    del samples[1]["cls"], samples[2]["jpg"]
    samples[3]["png"] = samples[3].pop("jpg")  # a picture all the same
    assert verify(made(tmp_path, samples)).complaints == ["0.tar: s1: has no cls.", "0.tar: s2: has no picture."]


def test_a_picture_that_cannot_be_decoded_is_found_with_decoding(tmp_path: Path) -> None:
    index = made(tmp_path, [sample(0), sample(1, jpg=photograph(1)[:300]), sample(2, jpg=b"")])
    assert verify(index).ok
    report = verify(index, decode_pictures=True)
    assert report.decoded == 1
    assert [line.split(": ")[:2] for line in report.complaints] == [["0.tar", "s1.jpg"], ["0.tar", "s2.jpg"]]


def test_classes_out_of_range(tmp_path: Path) -> None:
    index = made(tmp_path, [sample(0), sample(1, cls=b"2")], [sample(2, cls=b"-1")])
    assert verify(index).complaints == ["s1: class 2 of 2.", "s2: class -1 of 2."]


def test_keys_that_several_samples_share(tmp_path: Path) -> None:
    index = made(tmp_path, [sample(0), sample(1)], [sample(1), sample(2)], [sample(1)])
    assert verify(index).complaints == ["s1: the key of 3 samples."]


def test_many_complaints_are_counted_not_listed(tmp_path: Path) -> None:
    index = made(tmp_path, [{"__key__": f"s{number}", "cls": b"7"} for number in range(SHOWN + 5)])
    complaints = verify(index).complaints
    assert len(complaints) == SHOWN + 1
    assert complaints[-1] == "… and 5 more like this."


def test_shards_of_a_web_server(packed: Path, tmp_path: Path) -> None:
    web = Web(packed / "train")
    names = sorted(path.name for path in (packed / "train").glob("*.tar"))
    index = build([f"{web.url}/{name}" for name in names], tmp_path / "index", classes=["a", "b", "c"])
    report = verify(index, decode_pictures=True, workers=2)
    web.server.shutdown()
    assert report.ok
    assert report.decoded == index.total


def test_the_command_leaves_with_one_where_something_is_wrong(
    copy: Copy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    folder = copy()
    assert cli.run(["data", "verify", str(folder)]) == 0
    os.truncate(folder / "val" / "photos-val-000000.tar", 5000)
    assert cli.run(["data", "verify", str(folder)]) == 1
    assert "val" in capsys.readouterr().out
