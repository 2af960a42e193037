"""`dltk data` as it is used: each command, its JSON, and the mistakes that people make."""

import contextlib
import json
import os
import pty
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from dltk.cli import data
from dltk.data.decode import decode, shape
from dltk.data.pack import Settings, class_folders, pack
from dltk.data.prepare import SETS, number_names
from dltk.data.shards.build import build
from dltk.data.shards.dataset import Shards
from dltk.data.shards.index import Index
from dltk.data.shards.writer import write_shard
from dltk.data.views import Crop2012
from tests.cli.conftest import ROOT, Command
from tests.data.conftest import digit, photograph
from tests.data.prepare.conftest import served

COMMANDS = ("prepare", "pack", "index", "verify", "show", "colours", "order", "bench", "list")
CLASSES = ("cat", "dog", "emu")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs in folders of three classes, twenty of each."""
    root = tmp_path_factory.mktemp("pictures")
    for number in range(60):
        place = root / CLASSES[number % 3]
        place.mkdir(exist_ok=True)
        (place / f"p{number:02d}.jpg").write_bytes(photograph(number, 90, 120))
    return root


@pytest.fixture(scope="session")
def photos(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of them; its parent is a data_dir."""
    items, classes = class_folders(pictures)
    to = tmp_path_factory.mktemp("data") / "photos"
    pack(items, to, name="photos", classes=classes, settings=Settings(shard_bytes=40_000))
    return to


@pytest.fixture(scope="session")
def by_class(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set whose shards hold a class each, as careless packing makes them."""
    root, pictures = tmp_path_factory.mktemp("sorted") / "digits", [digit(number) for number in range(10)]
    for part in ("train", "val", "test"):
        (root / part).mkdir(parents=True)
        for target in range(4):
            rows = [
                {"__key__": f"{target}/{number:03d}", "png": pictures[number % 10], "cls": b"%d" % target}
                for number in range(150)
            ]
            write_shard(root / part / f"{target}.tar", rows)
        build([str(root / part / f"{target}.tar") for target in range(4)], root / part / "index")
    return root


def of_shards(folder: Path, *more: str) -> list[str]:
    """A recipe for pictures in shards."""
    where = f"data={{name: shards, folder: {folder.name}, image_size: 8, channels: 1}}"
    return ["mlp_digits", where, f"data_dir={folder.parent}", *more]


def test_every_command_is_here_and_has_an_example(dltk: Command) -> None:
    registered = [info.name for group in data.group.registered_groups
                  for info in group.typer_instance.registered_commands]  # fmt: skip
    assert sorted(registered) == sorted(COMMANDS)
    for command in COMMANDS:
        said = dltk("data", command, "--help")
        assert said.code == 0
        assert f"dltk data {command}" in said.out.split("Example")[1]


# pack


def test_pack_images(pictures: Path, tmp_path: Path, dltk: Command) -> None:
    said = dltk("data", "pack", "images", "--source", pictures, "--to", tmp_path / "photos", "--resize", 64,
                "--megabytes", 0.03, "--quality", 80)  # fmt: skip
    assert said.code == 0, said.err
    assert "photos: train 42, val 6, test 12 samples, 0." in said.out
    assert f"Recipes: data_dir={tmp_path}, data: {{name: shards, folder: photos, image_size: …}}" in said.out
    train = Shards("train", str(tmp_path), folder="photos", image_size=32)
    assert train.classes == list(CLASSES)
    assert shape(train.fields(0)["jpg"]) == (64, 85)
    assert len(train.shard_sizes) > 2
    again = dltk("data", "pack", "images", "--source", pictures, "--to", tmp_path / "photos")
    assert (again.code, again.err) == (
        2,
        f"{tmp_path / 'photos'}: there is a set already. Remove it, or give another folder.\n",
    )


def test_pack_images_square_by_two_processes(pictures: Path, tmp_path: Path, start: Command) -> None:
    said = start("data", "pack", "images", "--source", pictures, "--to", "squares", "--resize", 48, "--square",
                 "--processes", 2, "--json", cwd=tmp_path)  # fmt: skip
    assert said.code == 0, said.err
    assert said.json["samples"] == {"train": 42, "val": 6, "test": 12}
    assert said.json["left_out"] == []
    train = Shards("train", str(tmp_path), folder="squares", image_size=32)
    assert {shape(train.fields(number)["jpg"]) for number in range(42)} == {(48, 48)}


def test_pack_tells_all_that_is_damaged(pictures: Path, tmp_path: Path, dltk: Command) -> None:
    source = Path(shutil.copytree(pictures, tmp_path / "in"))
    (source / "cat" / "cut.jpg").write_bytes(photograph(1)[:900])
    (source / "dog" / "nothing.jpg").write_bytes(b"")
    said = dltk("data", "pack", "images", "--source", source, "--to", tmp_path / "out")
    assert said.code == 2
    told, error = said.err.splitlines()
    assert told == "damaged: dog/nothing: is empty."
    assert "--max-bad: 2 damaged sample(s), 0 allowed; the first is 'cat/cut': cannot be read as a picture" in error
    said = dltk("data", "pack", "images", "--source", source, "--to", tmp_path / "out", "--max-bad", 2)
    assert said.code == 0
    assert "left out cat/cut: cannot be read" in said.out
    assert "left out dog/nothing: is empty." in said.out


def test_pack_and_show_text(tmp_path: Path, dltk: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.en").write_text("".join(f"sentence {number}\n" for number in range(50)))
    Path("a.fr").write_text("".join(f"phrase {number} [unk]\n" for number in range(50)))
    said = dltk("data", "pack", "text", "--source", "a.en", "--source", "a.fr", "--to", "pairs")
    assert (said.code, said.out.splitlines()) == (0, [
        "pairs: train 35, val 5, test 10 samples, 0.1 MB",
        f"Recipes: data_dir={Path.cwd()}, data: {{name: parallel_text, folder: pairs}}",
    ])  # fmt: skip
    said = dltk("data", "show", "pairs", "--split", "val")
    assert said.out.startswith("5 samples in 1 shard(s) of src.txt, tgt.txt\n")
    assert len(said.out.splitlines()) == 6
    key = Index("pairs/val/index").keys[0]
    assert f"{key}: src.txt: sentence {int(key)}  tgt.txt: phrase {int(key)} [unk]" in said.out
    assert dltk("data", "verify", "pairs").code == 0
    Path("a.fr").write_text("phrase\n")
    said = dltk("data", "pack", "text", "--source", "a.en", "--source", "a.fr", "--to", "short")
    assert (said.code, said.err) == (2, "a.en: has more lines than a.fr, which has 1. Align them again.\n")


def test_pack_and_show_recordings(tmp_path: Path, dltk: Command) -> None:
    (tmp_path / "in").mkdir()
    for number in range(20):
        with wave.open(str(tmp_path / "in" / f"r{number}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(bytes(2 * 4000))
        (tmp_path / "in" / f"r{number}.txt").write_text(f"number {number}\n")
    said = dltk("data", "pack", "audio", "--source", tmp_path / "in", "--to", tmp_path / "speech")
    assert said.code == 0, said.err
    said = dltk("data", "show", tmp_path / "speech", "--count", 2)
    assert len(said.out.splitlines()) == 3
    assert "wav: 0.50 s at 8,000 Hz, 1 channel(s)" in said.out
    (tmp_path / "sphere").mkdir()
    for name in "abcdefghij":  # TIMIT's call themselves wav
        soundfile.write(tmp_path / "sphere" / f"{name}.wav", np.zeros((800, 2)), 16_000, format="NIST")
        (tmp_path / "sphere" / f"{name}.txt").write_text(f"word {name}\n")
    assert dltk("data", "pack", "audio", "--source", tmp_path / "sphere", "--to", tmp_path / "timit").code == 0
    assert "wav: 0.05 s at 16,000 Hz, 2 channel(s)" in dltk("data", "show", tmp_path / "timit", "--count", 1).out
    (tmp_path / "in" / "r3.txt").unlink()
    said = dltk("data", "pack", "audio", "--source", tmp_path / "in", "--to", tmp_path / "other")
    assert said.code == 2
    assert "r3.wav: has no transcript r3.txt beside it" in said.err


def test_pack_and_show_arrays(tmp_path: Path, dltk: Command) -> None:
    np.save(tmp_path / "x.npy", np.arange(120.0).reshape(40, 3))
    np.save(tmp_path / "y.npy", np.arange(40) % 2)
    sources = ["--source", tmp_path / "x.npy", "--source", tmp_path / "y.npy"]
    said = dltk("data", "pack", "arrays", *sources, "--to", tmp_path / "rows")
    assert (said.code, said.err) == (0, "")
    said = dltk("data", "show", tmp_path / "rows", "--json")
    assert said.json["fields"] == ["cls", "npy"]
    assert said.json["classes"] == {"0": 14, "1": 14}
    assert said.json["picture"] is None
    np.save(tmp_path / "y.npy", np.arange(39))
    said = dltk("data", "pack", "arrays", *sources, "--to", tmp_path / "other")
    assert said.code == 2
    assert "--source: the arrays differ in length: {'npy': 40, 'cls': 39}" in said.err


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("one\n" * 2500)
    (tmp_path / "a.fr").write_text("un\n" * 2500)
    command = [
        sys.executable,
        "-m",
        "dltk",
        "data",
        "pack",
        "text",
        "--source",
        "a.en",
        "--source",
        "a.fr",
        "--to",
        "p",
    ]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # how a terminal ends
        while piece := os.read(ours, 1 << 16):
            said += piece
    os.close(ours)
    assert process.stdout is not None
    assert process.stdout.readline() == b"p: train 1,750, val 250, test 500 samples, 5.1 MB\n"
    assert process.wait() == 0
    assert b"2500/2500" in said


# index, verify


def test_index_of_shards_that_exist(by_class: Path, tmp_path: Path, dltk: Command) -> None:
    pattern = str(by_class / "val" / "{0..3}.tar")
    said = dltk("data", "index", pattern, "--to", tmp_path / "index")
    assert said.code == 0, said.err
    index = Index(tmp_path / "index")
    assert said.out == f"{tmp_path / 'index'}: 600 samples in 4 shard(s), cls, png; hash {index.hash}\n"
    (tmp_path / "names").write_text("nought\none\ntwo\nthree\n")
    again = ["data", "index", str(by_class / "val" / "*.tar"), "--to", tmp_path / "index"]
    said = dltk(*again)
    assert said.code == 2
    assert "there is an index already. Remove it, or say --replace." in said.err
    said = dltk(*again, "--replace", "--classes", tmp_path / "names", "--json")
    expected = {"index": str(tmp_path / "index"), "shards": 4, "samples": 600, "hash": index.hash, "lacking": []}
    assert said.json == expected
    assert Index(tmp_path / "index").classes == ["nought", "one", "two", "three"]
    said = dltk("data", "show", tmp_path / "index", "--png", tmp_path / "sheet.png")
    assert "nought" in said.out


def test_index_tells_of_samples_that_lack_a_file(tmp_path: Path, dltk: Command) -> None:
    whole = {"png": b"drawn", "cls": b"1"}
    write_shard(tmp_path / "0.tar", [{"__key__": "s0", **whole}, {"__key__": "s1", "jpg": b"taken"}])
    write_shard(tmp_path / "1.tar", [{"__key__": "s2", "cls": b"1"}, {"__key__": "s3", "webp": b"made"}])
    said = dltk("data", "index", tmp_path / "{0..1}.tar")
    assert said.code == 0, said.err
    assert said.err.splitlines()[-3:] == [
        "2 sample(s) have no cls; the first is 's1' in 0.tar.",
        "1 sample(s) have no picture; the first is 's2' in 1.tar.",
        "They count as damaged wherever that is read (data.max_bad); `dltk data verify` lists them.",
    ]
    said = dltk("data", "verify", tmp_path / "index")
    assert said.code == 1
    assert "0.tar: s1: has no cls." in said.out + said.err


def test_index_of_shards_elsewhere(by_class: Path, tmp_path: Path, dltk: Command) -> None:
    with served(by_class / "val") as (address, asked):
        said = dltk("data", "index", f"{address}/{{0..3}}.tar", "--to", tmp_path / "web", "--workers", 2)
        assert said.code == 0, said.err
        assert sorted(asked) == [f"/{number}.tar" for number in range(4)]
        assert Index(tmp_path / "web").url(3) == f"{address}/3.tar"
        asked.clear()
        said = dltk("data", "show", tmp_path / "web", "--png", tmp_path / "web.png", "--count", 9, "--json")
        assert (said.code, len(set(said.json["keys"]))) == (0, 9), said.err
        assert "fetching 4 of 4 shard(s)" in said.err
        assert Image.open(tmp_path / "web.png").size == (3 * 128, 3 * 142)
        assert sorted(asked) == [f"/{number}.tar" for number in range(4)]
        assert dltk("data", "colours", tmp_path / "web", "--count", 9, "--json").json["pictures"] == 9
        assert dltk("data", "verify", tmp_path / "web").code == 0
    piped = ["data", "index", f"pipe:cat {by_class / 'val' / '0.tar'}", "--to", tmp_path / "piped"]
    said = dltk(*piped)
    assert said.code == 2
    assert "is a command, and commands of an index are not run." in said.err
    assert dltk(*piped, "--allow-pipe").code == 0
    assert Index(tmp_path / "piped").total == 150


def test_verify(photos: Path, tmp_path: Path, dltk: Command) -> None:
    said = dltk("data", "verify", photos, "--decode")
    assert said.code == 0
    assert "train: 42 samples in" in said.out
    assert "42 pictures decoded\n  nothing is wrong\n" in said.out
    copy = Path(shutil.copytree(photos, tmp_path / "photos"))
    shard = min((copy / "train").glob("*.tar"))
    damaged = bytearray(shard.read_bytes())
    damaged[3000] ^= 1
    shard.write_bytes(damaged)
    said = dltk("data", "verify", copy)
    assert said.code == 1
    assert f"{shard.name}: has other contents than when it was indexed" in said.out
    assert "1 complaint(s)" in said.out
    parts = dltk("data", "verify", copy, "--json").json
    assert {part["split"]: part["ok"] for part in parts} == {"train": False, "val": True, "test": True}


# show, list, colours


def test_show_makes_a_sheet(photos: Path, tmp_path: Path, dltk: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = dltk("data", "show", photos)
    assert said.code == 0, said.err
    assert "3 classes of 14 to 14 samples" in said.out
    assert "42 pictures are in photos-train.png" in said.out
    assert [path.name for path in tmp_path.iterdir()] == ["photos-train.png"]
    sheet = np.asarray(Image.open("photos-train.png").convert("RGB")).astype(int)
    assert sheet.shape == (6 * 142, 7 * 128, 3)
    first = decode(Shards("train", str(photos.parent), folder="photos", image_size=32).fields(0)["jpg"]).astype(int)
    middle = Image.fromarray(first[:, 15:105].astype(np.uint8)).resize((126, 126), Image.Resampling.BILINEAR)
    assert np.abs(sheet[1:127, 1:127] - np.asarray(middle)).mean() < 6  # the middle square of the first
    said = dltk("data", "show", photos, "--split", "val", "--count", 4, "--png", "v.png", "--json")
    assert said.json["samples"] == 6
    assert said.json["classes"] == dict.fromkeys(CLASSES, 2)
    assert (said.json["picture"], len(said.json["keys"])) == ("v.png", 4)
    assert Image.open("v.png").size == (2 * 128, 2 * 142)


def test_show_names_what_wordnet_ids_mean(tmp_path: Path, dltk: Command) -> None:
    samples = [{"__key__": str(n), "jpg": photograph(n), "cls": b"%d" % (n % 2)} for n in range(20)]
    about = {"words": {"n01440764": "tench, Tinca tinca", "n01443537": "goldfish, Carassius auratus"}}
    pack(samples, tmp_path / "fish", name="fish", classes=["n01440764", "n01443537"], about=about)
    said = dltk("data", "show", tmp_path / "fish", "--png", tmp_path / "sheet.png", "--json")
    assert said.json["classes"] == {"n01440764 tench": 7, "n01443537 goldfish": 7}


def test_list(photos: Path, dltk: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DLTK_DATA", raising=False)
    said = dltk("data", "list", photos.parent)
    assert said.code == 0
    row = next(line.split() for line in said.out.splitlines() if "photos" in line and "images" in line)
    assert row[:8] == ["photos", "images", "train", "42,", "val", "6,", "test", "12"]
    size = sum(path.stat().st_size for path in photos.rglob("*.tar"))
    assert row[-3:] == [f"{size / 1e6:.1f}", "MB", "3"]
    for name in SETS:
        assert f" {name} " in said.out
    assert max(map(len, said.out.splitlines())) <= 80 or len(str(photos.parent)) > 80
    monkeypatch.setenv("DLTK_DATA", str(photos.parent))
    answer = dltk("data", "list", "--json").json
    assert answer["sets"] == [
        {
            "name": "photos",
            "kind": "images",
            "samples": {"train": 42, "val": 6, "test": 12},
            "bytes": sum(path.stat().st_size for path in photos.rglob("*.tar")),
            "classes": 3,
        }
    ]
    assert answer["known"] == sorted(SETS)
    monkeypatch.delenv("DLTK_DATA")
    assert "No data folder was given. Name one, or set DLTK_DATA." in dltk("data", "list").out


def test_a_broken_set_does_not_hide_the_others(photos: Path, tmp_path: Path, dltk: Command) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    shutil.copytree(photos, tmp_path / "torn")
    (tmp_path / "torn" / "set.json").write_text("{")
    said = dltk("data", "list", tmp_path, "--json")
    assert [one["name"] for one in said.json["sets"]] == ["photos"]
    assert "set.json: is no description of a set" in said.err


def test_colours(photos: Path, tmp_path: Path, dltk: Command) -> None:
    answer = dltk("data", "colours", photos, "--json").json
    assert answer["pictures"] == 42
    train = Shards("train", str(photos.parent), folder="photos", image_size=32)
    pixels = np.concatenate([decode(train.fields(number)["jpg"]).reshape(-1, 3) for number in range(42)]) / 255
    covariance = np.cov(pixels, rowvar=False, bias=True)
    rows = np.asarray(answer["components"])
    assert (np.diff(rows[:, 0]) < 0).all()
    for value, *vector in rows.tolist():
        np.testing.assert_allclose(covariance @ vector, value * np.asarray(vector), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(vector), 1, atol=1e-5)
    said = dltk("data", "colours", photos, "--count", 5)
    assert "5 of 42 pictures" in said.out
    line = said.out.splitlines()[-1]
    assert line.startswith("In a recipe: data: {augment: {name: crop2012, components: [[")
    # What is printed is what the transform takes: shifts along it have its standard deviations.
    view = Crop2012(colour=1.0, components=answer["components"])
    shifts = view.beside(np.random.default_rng(0).random((20_000, 9)))["colour"].numpy().astype(np.float64) / 255
    np.testing.assert_allclose((shifts @ rows[:, 1:].T).std(0), rows[:, 0], rtol=0.05)
    setting = line.removeprefix("In a recipe: data: {augment: ").removesuffix("}")
    where = f"data={{name: shards, folder: photos, image_size: 8, augment: {setting}}}"
    said = dltk("validate", "mlp_digits", where, f"data_dir={photos.parent}", "model.image=[3, 8, 8]",
                "model.num_classes=3", "claim=null")  # fmt: skip
    assert (said.code, said.err) == (0, "")


# order, bench


def test_order_is_one_for_any_world(by_class: Path, dltk: Command) -> None:
    alone = dltk("data", "order", *of_shards(by_class), "--batches", 3)
    assert alone.code == 0, alone.err
    rows = [line.split("\t") for line in alone.out.splitlines()]
    assert len(rows) == 3 * 32
    assert [row[:4] for row in rows[31:33]] == [["0", "0", "0", "31"], ["1", "0", "0", "32"]]
    many = dltk("data", "order", *of_shards(by_class), "--batches", 3, "--world", 4, "--workers", 2, "--json").json
    assert [row["key"] for row in many] == [row[4] for row in rows]
    assert {(row["place"] % 4, row["batch"] % 2) for row in many} == {(row["rank"], row["worker"]) for row in many}
    other = dltk("data", "order", *of_shards(by_class), "--batches", 3, "--epoch", 1)
    assert other.out != alone.out
    keys = dltk("data", "order", *of_shards(by_class), "--json").json
    assert len(keys) == len({row["key"] for row in keys}) == 600 // 32 * 32
    said = dltk("data", "order", *of_shards(by_class), "--world", 33)
    assert said.code == 2
    assert "--world: 33 processes are more than the 32 samples of the smallest batch" in said.err


def test_order_warns_of_shards_packed_class_by_class(by_class: Path, dltk: Command) -> None:
    narrow = of_shards(by_class, "data.lanes=1", "data.window=16")
    said = dltk("data", "order", *narrow, "--stats")
    assert said.code == 0, said.err
    assert "600 samples, 4 shards, 1 lanes, window 16" in said.out
    assert "% of a full shuffle's class entropy. Set data.window=8192." in said.out
    answer = dltk("data", "order", *narrow, "--stats", "--json").json
    assert answer["ratio"] < 0.5
    assert answer["window"] == 8192
    widened = dltk("data", "order", *narrow[:-1], f"data.window={answer['window']}", "--stats", "--json").json
    assert widened["ratio"] > 0.95
    said = dltk("data", "order", *narrow[:-1], "data.window=8192", "--stats")
    assert "full shuffle's class entropy" not in said.out


def test_bench(by_class: Path, dltk: Command) -> None:
    arguments = [*of_shards(by_class), "--seconds", 0.1, "--workers", 0, "--step-ms", 100]
    said = dltk("data", "bench", *arguments)
    assert said.code == 0, said.err
    for part in ("read", "loader", "A step of 32 samples in 100 ms needs"):
        assert part in said.out
    answer = dltk("data", "bench", *arguments, "--json").json
    (row,) = answer["loader"]
    assert (row["workers"], row["samples_per_second"] > 0) == (0, True)
    assert answer["cores_needed"] > 0


def test_data_lie_where_the_environment_says(
    by_class: Path, tmp_path: Path, dltk: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLTK_TEST_DATA", str(by_class.parent))
    (tmp_path / "place.yaml").write_text("place: true\ndata_dir: ${oc.env:DLTK_TEST_DATA}\n")
    here = [*of_shards(by_class)[:-1], str(tmp_path / "place.yaml")]
    said = dltk("data", "order", *here, "--batches", 1)
    assert said.code == 0, said.err
    assert len(said.out.splitlines()) == 32
    said = dltk("data", "bench", *here, "--seconds", 0.1, "--workers", 0, "--json")
    assert said.code == 0, said.err


# prepare


def test_prepare_goes_where_data_lie(tmp_path: Path, dltk: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(number_names, "PAIRS", 50)
    monkeypatch.setenv("DLTK_DATA", str(tmp_path))
    said = dltk("data", "prepare", "number_names")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[0] == f"{tmp_path / 'number_names'}: train 35, val 5, test 10 samples, 0.1 MB"
    answer = dltk("data", "prepare", "number_names", "--to", tmp_path / "two", "--seed", 3, "--json").json
    assert answer["samples"] == {"train": 35, "val": 5, "test": 10}


def test_prepare_says_which_pairs_these_are_and_how_many_were_left_out(tmp_path: Path, dltk: Command) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for language, word in (("en", "thing"), ("fr", "chose")):
        records = [
            f"Package: p{n}\nDescription-md5: {n:032}\nDescription-{language}: {word} {n}\n Of {word} all.\n"
            for n in range(200)
        ]
        (source / f"Translation-{language}").write_text("\n".join(records))
    (source / "Packages").write_text("Package: p0\n")
    said = dltk("data", "prepare", "debian_descriptions", "--source", source, "--to", tmp_path / "one")
    answer = dltk("data", "prepare", "debian_descriptions", "--source", source, "--to", tmp_path / "two", "--json").json
    counts = answer["samples"]
    assert sum(counts.values()) == 201  # the sentence that all share is trained on once
    assert answer["shared"] == {"val": 1, "test": 1}
    assert said.out.splitlines()[1:] == [
        "left out of val: 1 pairs of which either side stands in a part before it",
        "left out of test: 1 pairs of which either side stands in a part before it",
        f"sha256 of the pairs: {answer['sha256']}",
        f"Recipes: data_dir={tmp_path}, data: {{name: parallel_text, folder: one}}",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["prepare", "mnits"], "mnits: is no known set. Did you mean 'mnist'?"),
        (["prepare", "x"], "x: is no known set. Known: imagenet2012, "),
        (["prepare", "imagenet2012"], "--source: is missing: the folder with the official archives, Kaggle's ILSVRC"),
        (["prepare", "mnist", "--source", ".", "--to", "x"], ".: --source: holds no train-images-idx3-ubyte and the"),
        (["prepare", "number_names", "--source", "."], "--source: number_names is made by rule, from no files."),
        (["prepare", "number_names"], "--to: is missing. Give the folder of the set, or set DLTK_DATA."),
        (["prepare", "wmt14", "--languages", "en-de"], "--languages: wmt14 has no choice of languages."),
        (["prepare", "multi30k", "--languages", "en", "--to", "x"], "--languages: 'en' are no two languages."),
        (["prepare", "tatoeba", "--sha256", "a=b", "--to", "x"], "--sha256: 'a=b' names no hash of 64 digits."),
        (["prepare", "imagenet2012", "--source", ".", "--sha256", "a=b"], "--sha256: imagenet2012 is not fetched."),
        (["prepare", "tatoeba", "--to", "x"], "eng_sentences.tsv.bz2: has no sha256 that is known here, and is not "),
        (["prepare", "mnist", "--source", ".", "--to", "x", "--square"], "--square: needs the size of the square."),
        (["pack", "movies", "--source", ".", "--to", "x"], "'movies' is not one of 'images', 'text', 'audio'"),
        (["pack", "images", "--source", "nowhere", "--to", "x"], "nowhere: --source: is not there. Check the path."),
        (["pack", "images", "--source", ".", "--to", "x"], ".: --source: holds no pictures in its 0 folder(s)."),
        (["pack", "text", "--source", ".", "--to", "x"], "--source: 1 given, text needs 2."),
        (["index", "nowhere-{00..03}.tar"], "nowhere-00.tar: no such shard. Check the path and its numbers."),
        (["index", "https://example.org/a.tar"], "--to: is missing, and the shards are not on this machine."),
        (["index", ".", "--classes", "nowhere"], "nowhere: --classes: cannot be read ([Errno 2] No such file"),
        (["verify", "nowhere"], "nowhere: no such folder. `dltk data list` shows the sets of a data folder."),
        (["verify", "."], ".: holds no index. Make one: `dltk data index SHARDS`."),
        (["show", "nowhere"], "nowhere: no such folder."),
        (["colours", "nowhere"], "nowhere: no such folder."),
        (["list", "nowhere"], "nowhere: data_dir: is no folder. Check the path."),
        (
            ["order", "mlp_digits", "data={name: shards, folder: a, image_size: 8, channels: 1}"],
            "data_dir: is not set.",
        ),
        (["order", "mlp_digitz"], "Did you mean 'mlp_digits'?"),
        (["bench", "mlp_digits", "--seconds", "0"], "Invalid value for '--seconds'"),
    ],
)
def test_a_mistake_is_one_line_and_2(
    arguments: list[str], says: str, dltk: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DLTK_DATA", raising=False)
    said = dltk("data", *arguments)
    assert said.code == 2
    assert says in said.err
    assert len(said.err.splitlines()) == 1
    assert not said.out
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_mistakes_with_a_set(photos: Path, tmp_path: Path, dltk: Command) -> None:
    said = dltk("data", "show", photos, "--split", "tests")
    assert (said.code, said.err) == (2, f"{photos}: --split: there is no 'tests'. Choose from train, val, test.\n")
    said = dltk("data", "order", *of_shards(photos.parent / "photoz"))
    assert said.code == 2
    assert "photoz: data.folder: holds no set of shards." in said.err
    pack([{"__key__": str(number), "txt": b"x"} for number in range(20)], tmp_path / "t", name="t", kind="text")
    said = dltk("data", "colours", tmp_path / "t")
    assert said.code == 2
    assert "holds no pictures that can be read. Name a set of pictures." in said.err
    described = json.loads((tmp_path / "t" / "set.json").read_text())
    described["splits"].pop("test")
    (tmp_path / "t" / "set.json").write_text(json.dumps(described))
    said = dltk("data", "show", tmp_path / "t", "--split", "test")
    assert "there is no 'test'. Choose from train, val." in said.err
