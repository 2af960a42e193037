"""Published texts that go on, from small archives of the same form: their tokens as they stand, in their parts."""

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dltk.data.pack import Settings
from dltk.data.prepare import SETS, Origin, enwik8, ptb, wikitext2, wikitext103
from dltk.data.prepare.archives import Archive
from dltk.data.running_text import RunningText
from dltk.errors import DataError
from dltk.layers.tokens import EOS, UNK
from tests.data.prepare.conftest import quiet, served, tar

PTB = {
    "ptb.train.txt": " aer banknote <unk> n't \n mr. <unk> is N years old \n" * 3,
    "ptb.valid.txt": " mr. banknote \n",
    "ptb.test.txt": " N aer u.s. \n",
}
WIKI = {
    "wiki.train.tokens": " \n = Robert <unk> = \n \n Robert @-@ N , an actor . \n",
    "wiki.valid.tokens": " \n = Robert = \n",
    "wiki.test.tokens": " an actor \n",
}


def plain(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def zipped(folder: Path, archive: str, files: dict[str, str]) -> Path:
    folder.mkdir()
    with zipfile.ZipFile(folder / archive, "w") as made:
        for name, text in files.items():
            made.writestr(f"{archive.removesuffix('-v1.zip')}/{name}", text)
    return folder


def simple_examples(folder: Path) -> Path:
    folder.mkdir()
    files = {f"./simple-examples/data/{name}": text.encode() for name, text in PTB.items()}
    tar(folder / "simple-examples.tgz", {**files, "./simple-examples/data/README": b"ptb.train.txt and so on"})
    return folder


MADE: list[tuple[str, Callable[[Path], Path], dict[str, str]]] = [
    ("ptb", lambda place: plain(place, PTB), PTB),
    ("ptb", simple_examples, PTB),
    ("wikitext2", lambda place: zipped(place, "wikitext-2-v1.zip", WIKI), WIKI),
    ("wikitext103", lambda place: zipped(place, "wikitext-103-v1.zip", WIKI), WIKI),
    ("wikitext103", lambda place: plain(place, WIKI), WIKI),
]


@pytest.mark.parametrize(("name", "make", "files"), MADE)
def test_parts_are_those_that_were_published(tmp_path: Path, name: str, make, files: dict[str, str]) -> None:
    packing = SETS[name].prepare(Origin(folder=make(tmp_path / "from")), tmp_path / name, Settings(), quiet)
    found = [(tmp_path / name / f"{part}.txt").read_text() for part in ("train", "val", "test")]
    assert found == list(files.values())
    assert list(packing.samples.values()) == [text.count("\n") for text in found]
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["test.txt", "train.txt", "val.txt"]


def test_tokens_stay_as_they_stand(tmp_path: Path) -> None:
    ptb.prepare(Origin(folder=plain(tmp_path / "from", PTB)), tmp_path / "ptb", Settings(), quiet)
    cut = {"folder": "ptb", "tokens": "spaced", "vocab_size": 20, "lanes": 1, "unroll": 2}
    train = RunningText("train", str(tmp_path), **cut)
    names = [train.vocabulary.name(number) for number in train.numbers]
    expected = PTB["ptb.train.txt"].replace("\n", "</s>").split()
    assert names == expected
    assert names.count("<unk>") == (train.numbers == UNK).sum() == 6
    assert (train.numbers == EOS).sum() == 6
    assert len(train.vocabulary) == 4 + len(set(expected) - {"<unk>", "</s>"})
    test = RunningText("test", str(tmp_path), **cut)
    assert test.vocabulary.decode(test.numbers.tolist()[:-1]) == "N aer <unk>"  # `u.s.` is not trained on


def test_a_hundred_parts_of_bytes_are_cut_behind_characters(tmp_path: Path) -> None:
    text = "<title>Š</title>\n" + "ab Š\n" * 200 + "é" * 40 + "no end"
    with zipfile.ZipFile(tmp_path / "enwik8.zip", "w") as made:
        made.writestr("enwik8", text)
    enwik8.prepare(Origin(folder=tmp_path), tmp_path / "enwik8", Settings(), quiet)
    parts = [(tmp_path / "enwik8" / f"{part}.txt").read_bytes() for part in ("train", "val", "test")]
    size = len(text.encode())
    assert b"".join(parts) == text.encode()
    for cut, share in ((len(parts[0]), 90), (len(parts[0]) + len(parts[1]), 95)):
        assert 0 <= cut - size * share // 100 <= 1
    all_at = [enwik8.parts("x" * before + "漢" * 99)["train"] for before in range(9)]
    assert all(len(one.encode()) - (before + 297) * 90 // 100 in (0, 1, 2) for before, one in enumerate(all_at))
    val = RunningText("val", str(tmp_path), folder="enwik8", tokens="bytes", vocab_size=260)
    last = parts[1].removesuffix(b"\n") + b"\n"  # the end of the part ends a line
    assert val.numbers.tolist() == [EOS if byte == 10 else byte + 4 for byte in last]


def test_an_archive_is_fetched_where_its_hash_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web = zipped(tmp_path / "web", "wikitext-2-v1.zip", WIKI)
    known = hashlib.sha256((web / "wikitext-2-v1.zip").read_bytes()).hexdigest()
    with served(web) as (address, asked):
        monkeypatch.setattr(wikitext2, "ARCHIVE", Archive(f"{address}/wikitext-2-v1.zip", known))
        wikitext2.prepare(Origin(), tmp_path / "to", Settings(), quiet)
        assert asked == ["/wikitext-2-v1.zip"]  # once for its three files
        monkeypatch.setattr(wikitext103, "ARCHIVE", Archive(f"{address}/wikitext-2-v1.zip", "0" * 64))
        with pytest.raises(DataError, match="has sha256"):
            wikitext103.prepare(Origin(), tmp_path / "other", Settings(), quiet)
    assert (tmp_path / "to" / "train.txt").read_text() == WIKI["wiki.train.tokens"]
    assert not (tmp_path / "to" / ".archives").exists()
    with pytest.raises(DataError, match=r"simple-examples\.tgz: has no sha256 that is known here"):
        ptb.prepare(Origin(), tmp_path / "ptb", Settings(), quiet)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    source = plain(tmp_path / "from", {name: text for name, text in PTB.items() if "test" not in name})
    with pytest.raises(DataError, match=r"holds neither ptb\.test\.txt nor simple-examples\.tgz"):
        ptb.prepare(Origin(folder=source), tmp_path / "to", Settings(), quiet)
    (source / "ptb.test.txt").write_bytes(b"good \xff bad\n")
    with pytest.raises(DataError, match=r"ptb\.test\.txt: byte 5 is no UTF-8"):
        ptb.prepare(Origin(folder=source), tmp_path / "to", Settings(), quiet)
    (source / "ptb.test.txt").write_text(" \n")
    with pytest.raises(DataError, match="ptb: has no text for test"):
        ptb.prepare(Origin(folder=source), tmp_path / "to", Settings(), quiet)
    (source / "simple-examples.tgz").write_bytes(b"no archive")
    (source / "ptb.test.txt").unlink()
    with pytest.raises(DataError, match=r"simple-examples\.tgz: cannot be read"):
        ptb.prepare(Origin(folder=source), tmp_path / "to", Settings(), quiet)
    assert not (tmp_path / "to").exists()
