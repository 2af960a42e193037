"""Pictures with captions, from small archives of their true formats: Flickr8k, Flickr30k, COCO; and as data."""

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dltk.cli import run
from dltk.data.datamodule import DataModule
from dltk.data.pack import Packing, Settings, TooManyDamaged
from dltk.data.prepare import SETS, Origin
from dltk.data.shards.captioned import CaptionedPictures
from dltk.data.shards.sets import read_set
from dltk.errors import DataError
from dltk.layers.tokens import EOS, UNK
from tests.data.prepare.conftest import quiet, samples, tar


def jpeg(number: int) -> bytes:
    file = io.BytesIO()
    colour = (number * 37 % 256, number * 91 % 256, number * 13 % 256)
    Image.new("RGB", (40 + number % 3, 36), colour).save(file, "JPEG")
    return file.getvalue()


def zipped(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def prepare(name: str, folder: Path, to: Path, **settings: int) -> Packing:
    return SETS[name].prepare(Origin(folder=folder), to, Settings(**settings), quiet)  # type: ignore[arg-type]


PARTS = {"train": [0, 1, 2, 3, 4, 5], "val": [6, 7], "test": [8, 9]}


def flickr8k(folder: Path, broken: dict[str, bytes] | None = None, extra: str = "") -> Path:
    """Ten pictures with two captions each, and one that no list names."""
    folder.mkdir(parents=True)
    pictures = {f"Flicker8k_Dataset/{number}.jpg": jpeg(number) for number in range(11)} | (broken or {})
    zipped(folder / "Flickr8k_Dataset.zip", {"Flicker8k_Dataset/": b"", **pictures})
    tokens = "".join(
        f"{number}.jpg#0\tA dog number {number} runs .\n{number}.jpg#1\tThe  Dog's ball, {number} !\n"
        for number in range(11)
    )
    lists = {
        f"Flickr_8k.{name}Images.txt": "".join(f"{number}.jpg\n" for number in PARTS[part])
        for part, name in (("train", "train"), ("val", "dev"), ("test", "test"))
    }
    texts = {"Flickr8k.token.txt": tokens + extra, "Flickr8k.lemma.token.txt": "", **lists}
    zipped(folder / "Flickr8k_text.zip", {name: text.encode() for name, text in texts.items()})
    return folder


def test_flickr8k(tmp_path: Path) -> None:
    packing = prepare("flickr8k", flickr8k(tmp_path / "in"), tmp_path / "out")
    assert packing.samples == {"train": 6, "val": 2, "test": 2}
    found = samples(tmp_path / "out", "val")
    assert set(found) == {"val/6", "val/7"}
    assert found["val/6"]["jpg"] == jpeg(6)
    assert found["val/6"]["captions.txt"].decode() == "A dog number 6 runs .\nThe Dog's ball, 6 !"
    assert read_set(tmp_path / "out").about["captions_without_words"] == 0


def test_flickr8k_from_archives_that_were_unpacked(tmp_path: Path) -> None:
    folder = flickr8k(tmp_path / "in")
    for name in ("Flickr8k_Dataset", "Flickr8k_text"):
        with zipfile.ZipFile(folder / f"{name}.zip") as archive:
            archive.extractall(folder / name)
        (folder / f"{name}.zip").unlink()
    assert prepare("flickr8k", folder, tmp_path / "out").samples == {"train": 6, "val": 2, "test": 2}


def test_flickr30k_by_hashes_and_as_it_is_listed(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    tar(folder / "flickr30k-images.tar.gz", {f"flickr30k-images/{number}.jpg": jpeg(number) for number in range(40)})
    tokens = "".join(f"{number}.jpg#{at}\tcaption {number} {at}\n" for number in range(40) for at in range(5))
    tar(folder / "flickr30k.tar.gz", {"results_20130124.token": tokens.encode(), "readme.txt": b""})
    assert prepare("flickr30k", folder, tmp_path / "out").samples == {"train": 28, "val": 4, "test": 8}
    rows = [
        {"filename": f"{number}.jpg", "split": ("train", "val", "test", "restval")[number % 4]} for number in range(36)
    ]
    (folder / "dataset_flickr30k.json").write_text(json.dumps({"images": rows}))
    listed = prepare("flickr30k", folder, tmp_path / "listed")
    assert listed.samples == {"train": 18, "val": 9, "test": 9}
    assert set(samples(tmp_path / "listed", "val")) == {f"val/{number}" for number in range(1, 36, 4)}
    (folder / "dataset_flickr30k.json").write_text('{"images": [{"filename": "0.jpg"}]}')
    with pytest.raises(DataError, match=r"dataset_flickr30k\.json: is no list of pictures"):
        prepare("flickr30k", folder, tmp_path / "third")


def test_coco(tmp_path: Path) -> None:
    folder, annotations = tmp_path / "in", {}
    folder.mkdir()
    for part, numbers in (("train", range(100, 112)), ("val", range(200, 220))):
        names = {number: f"COCO_{part}2014_{number:012d}.jpg" for number in numbers}
        zipped(folder / f"{part}2014.zip", {f"{part}2014/{name}": jpeg(number) for number, name in names.items()})
        told = {
            "images": [{"id": number, "file_name": name} for number, name in names.items()],
            "annotations": [
                {"id": 10 * number + at, "image_id": number, "caption": f"Caption {at} of {number}\n"}
                for at in reversed(range(5))
                for number in numbers
            ],
        }
        annotations[f"annotations/captions_{part}2014.json"] = json.dumps(told).encode()
    zipped(folder / "annotations_trainval2014.zip", annotations)
    packing = prepare("coco2014", folder, tmp_path / "out")
    assert packing.samples == {"train": 12 + 10, "val": 2, "test": 8}
    found = samples(tmp_path / "out", "train")
    captions = found["train/COCO_train2014_000000000100"]["captions.txt"].decode()
    assert captions.split("\n") == [f"Caption {at} of 100" for at in range(5)]
    rows = [{"filename": f"COCO_train2014_{100:012d}.jpg", "split": "test"}]
    rows += [{"filename": f"COCO_val2014_{number:012d}.jpg", "split": "restval"} for number in range(200, 205)]
    rows += [{"filename": f"COCO_val2014_{210:012d}.jpg", "split": "val"}]
    (folder / "dataset_coco.json").write_text(json.dumps({"images": rows}))
    assert prepare("coco2014", folder, tmp_path / "listed").samples == {"train": 5, "val": 1, "test": 1}


# Bad input


def test_captions_without_words_are_counted_and_pictures_without_captions_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = flickr8k(tmp_path / "in", extra="3.jpg#2\t \n4.jpg#2\t...\n")
    text = folder / "Flickr8k_text.zip"
    with zipfile.ZipFile(text) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    tokens = files["Flickr8k.token.txt"].decode().replace("5.jpg#0\tA dog number 5 runs .", "5.jpg#0\t!!")
    files["Flickr8k.token.txt"] = tokens.replace("5.jpg#1\tThe  Dog's ball, 5 !", "5.jpg#1\t ").encode()
    zipped(text, files)
    assert run(["data", "prepare", "flickr8k", "--source", str(folder), "--to", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "train 5, val 2, test 2 samples" in told
    assert "left out 4 caption(s) without words" in told
    assert "left out 5.jpg: has no caption with words" in told
    assert "captioned_pictures, folder: out" in told


def test_a_picture_that_cannot_be_read_is_named_or_left_out(tmp_path: Path) -> None:
    folder = flickr8k(tmp_path / "in", {"Flicker8k_Dataset/2.jpg": jpeg(2)[:100]})
    with pytest.raises(TooManyDamaged, match=r"1 damaged sample\(s\), 0 allowed; the first is 'train/2'"):
        prepare("flickr8k", folder, tmp_path / "out")
    packing = prepare("flickr8k", folder, tmp_path / "again", max_bad=1)
    assert packing.samples["train"] == 5
    assert [key for key, _ in packing.bad] == ["train/2"]


def test_what_is_missing_or_of_another_form_is_said(tmp_path: Path) -> None:
    folder = flickr8k(tmp_path / "in", extra="11.jpg a caption without a tab\n")
    with pytest.raises(DataError, match=r"Flickr8k\.token\.txt, line 23: is no line FILE#NUMBER, tab, caption"):
        prepare("flickr8k", folder, tmp_path / "out")
    with pytest.raises(DataError, match=r"--source: has no captions: flickr30k\.tar\.gz or results_20130124\.token"):
        prepare("flickr30k", folder, tmp_path / "out")
    with pytest.raises(DataError, match="--source: names no folder"):
        prepare("coco2014", tmp_path / "nowhere", tmp_path / "out")
    other = flickr8k(tmp_path / "other")
    zipped(other / "Flickr8k_Dataset.zip", {f"{number}.jpg": jpeg(number) for number in range(8)})
    with pytest.raises(DataError, match=r"2 picture\(s\) that have captions are not there, such as 8\.jpg"):
        prepare("flickr8k", other, tmp_path / "third")


# As data


def part(tmp_path: Path, split: str, **settings: int) -> CaptionedPictures:
    if not (tmp_path / "set").exists():
        prepare("flickr8k", flickr8k(tmp_path / "in"), tmp_path / "set")
    return CaptionedPictures(split, str(tmp_path), folder="set", image_size=32, **settings)


def test_each_caption_trains_and_each_picture_is_tested_with_all_of_them(tmp_path: Path) -> None:
    train, test = part(tmp_path, "train"), part(tmp_path, "test")
    assert (len(train), len(test)) == (12, 2)
    assert sorted(train.keys) == sorted(f"train/{number}#{at}" for number in range(6) for at in range(2))
    assert sorted(test.keys) == ["test/8", "test/9"]
    for some in (train, test):
        for number, key in enumerate(some.keys):
            one = some[number]
            picture = int(key.partition("/")[2].partition("#")[0])
            captions = [f"a dog number {picture} runs", f"the dog's ball {picture}"]
            assert one["references"] == captions
            assert one["target"][-1] == EOS
            wanted = captions[int(key.partition("#")[2] or 0)]
            assert some.vocabulary.decode(one["target"][:-1]).replace("<unk>", str(picture)) == wanted
            assert len(one["target"]) == some.lengths[number, 0]
            colour = torch.tensor([picture * 37 % 256, picture * 91 % 256, picture * 13 % 256])
            assert (one["image"].float().mean((1, 2)) - colour).abs().max() < 6
    assert test.vocabulary.hash == train.vocabulary.hash
    assert UNK in test[0]["target"]  # 8 and 9 are in no caption of training
    assert len(part(tmp_path, "train", vocab_size=6).vocabulary) == 6


def test_the_loaders_give_every_caption_once_and_batches_of_one_length(tmp_path: Path) -> None:
    part(tmp_path, "train")
    settings = {"folder": "set", "image_size": 32}
    data = DataModule(CaptionedPictures, settings, batch=4, epochs=1, data_dir=str(tmp_path), workers=0)
    keys = []
    for batch in data.train_dataloader():
        keys += batch["info"].keys
        assert batch["image"].shape[1:] == (3, 32, 32)
        assert batch["target"].shape[0] == len(batch["references"]) == len(batch["info"].keys)
    assert sorted(keys) == sorted(data.part("train").keys)
    assert sum(len(batch["info"].keys) for batch in data.eval_dataloader("test")) == 2


def test_a_damaged_picture_is_counted_by_its_caption(tmp_path: Path) -> None:
    train = part(tmp_path, "train")
    path = next((tmp_path / "set" / "train").glob("*.tar"))
    contents, about = bytearray(path.read_bytes()), path.stat()
    start = contents.find(b"\xff\xd8")
    contents[start : start + 200] = bytes(200)
    path.write_bytes(bytes(contents))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))  # a disk that forgets says nothing
    broken = []
    for number in range(len(train)):
        try:
            train[number]
        except DataError as error:
            broken.append((train.keys[number], str(error)))
    assert len(broken) == 2
    assert len({key.partition("#")[0] for key, _ in broken}) == 1
    with pytest.raises(DataError):
        train.batch(np.arange(len(train)))


def test_shards_without_captions_are_refused(tmp_path: Path) -> None:
    from dltk.data.pack import pack

    pack([{"__key__": f"{number:02d}", "jpg": jpeg(number)} for number in range(20)], tmp_path / "bare", name="bare")
    with pytest.raises(DataError, match=r"has no captions\.txt, only jpg"):
        CaptionedPictures("train", str(tmp_path), folder="bare")
