from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from dltk import recipe
from dltk.cli import pictures, predict
from dltk.data.digits import Digits
from dltk.data.images import Images
from dltk.run.folder import RunFolder
from tests.cli.conftest import Command, Trained


def zero(path: Path, *, ink: object, ground: object, mode: str = "RGB", size: tuple[int, int] = (300, 400)) -> Path:
    """A nought drawn with a thick pen, away from the middle."""
    picture = Image.new(mode, size, ground)
    w, h = size
    ImageDraw.Draw(picture).ellipse((0.4 * w, 0.2 * h, 0.8 * w, 0.8 * h), outline=ink, width=max(3, w // 11))
    picture.save(path)
    return path


def test_runs_json_has_the_stable_form(dltk: Command, trained: Trained) -> None:
    said = dltk("runs", trained.runs, "--json")
    assert [set(run) for run in said.json] == [{"run", "path", "recipe", "status", "step", "metrics"}]
    one = said.json[0]
    assert (one["run"], one["recipe"], one["status"], one["step"]) == ("first", "mlp_digits", "done", 400)
    assert 0 <= one["metrics"]["test/top1_error"] < 20
    assert "first" in dltk("runs", trained.runs).out


def test_attempts_of_one_run(dltk: Command, trained: Trained) -> None:
    attempts = dltk("runs", trained.path, "--json").json["attempts"]
    assert [(a["reason"], a["exit_code"], a["step"]) for a in attempts] == [("done", 0, 400)]
    assert "done" in dltk("runs", trained.path).out


def test_stop_and_cancel_leave_a_request(dltk: Command, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    said = dltk("stop", trained.path)
    assert said.code == 2
    assert "is not running (done)" in said.err
    monkeypatch.setattr("dltk.run.folder.RunFolder.status", "running")
    run = RunFolder.open(trained.path)
    for command, requeue in (("stop", True), ("cancel", False)):
        assert dltk(command, trained.path, "--why", "enough").code == 0
        request = run.stop_request()
        assert request is not None
        assert (request["requeue"], request["why"]) == (requeue, "enough")
        run.clear_stop()


def test_evaluate_json_is_pure_and_keeps_each_sample(start: Command, trained: Trained) -> None:
    said = start("evaluate", trained.path, "--split", "val", "--json", cwd=trained.runs.parent)
    assert said.code == 0, said.err
    assert {"split", "protocol", "samples", "metrics"} <= set(said.json)
    assert (said.json["split"], said.json["protocol"], said.json["samples"]) == ("val", "single_crop", 180)
    with np.load(said.json["predictions"], allow_pickle=False) as kept:
        wrong = 100 * np.mean(kept["scores"].argmax(1) != kept["targets"])
        assert len(set(kept["keys"])) == 180
    assert said.json["metrics"]["val/top1_error"] == pytest.approx(wrong)


def test_predict_reads_pictures_as_people_make_them(start: Command, trained: Trained, tmp_path: Path) -> None:
    files = [
        zero(tmp_path / "paper.png", ink=(20, 20, 90), ground=(240, 235, 220)),
        zero(tmp_path / "board.jpg", ink="white", ground="black", size=(64, 64)),
        zero(tmp_path / "clear.png", ink=(0, 0, 0, 255), ground=(0, 0, 0, 0), mode="RGBA"),
    ]
    plot = tmp_path / "seen.png"
    said = start("predict", trained.path, *files, "--json", "--top", 3, "--plot", plot, cwd=tmp_path)
    assert said.code == 0, said.err
    assert [answer["top"][0]["class"] for answer in said.json] == ["0", "0", "0"]
    assert [len(answer["top"]) for answer in said.json] == [3, 3, 3]
    inverted = ["inverted" in " ".join(answer["prepared"]) for answer in said.json]
    assert inverted == [True, False, True]
    pixels = np.asarray(Image.open(plot).convert("L"))
    assert pixels.std() > 30


def test_predict_names_a_file_that_is_no_picture(dltk: Command, trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "letter.png").write_text("Dear Sir")
    said = dltk("predict", trained.path, tmp_path / "letter.png")
    assert said.code == 2
    assert "letter.png: cannot be read as a picture (no known format)" in said.err
    said = dltk("predict", trained.path, tmp_path / "none.png")
    assert (said.code, said.err) == (2, f"{tmp_path / 'none.png'}: no such file. Check its name and folder.\n")


def folder_of(runs: Path, *sources: str) -> RunFolder:
    """A run that has not begun."""
    wanted = recipe.load("linear_digits", *sources, f"runs_dir={runs}")
    return RunFolder.create(runs, wanted.name, wanted.settings, text=recipe.freeze(wanted))


def test_predict_bears_damaged_training_pictures(tmp_path: Path) -> None:
    for name, grey in (("dark", 30), ("light", 220)):
        (tmp_path / name).mkdir()
        for number in range(10):
            Image.new("L", (8, 8), grey).save(tmp_path / name / f"{number}.png")
    for key in Images("train", str(tmp_path), image_size=8).keys[:3]:
        (tmp_path / key).write_bytes(b"no picture")
    run = folder_of(
        tmp_path / "runs", "model={num_classes: 2, image: [1, 8, 8]}", f"data_dir={tmp_path}",
        "data={name: images, image_size: 8, channels: 1, folder: ., max_bad: 3}",
    )  # fmt: skip
    manner, classes, _ = predict.data_of(run, None)
    assert manner.shape == (1, 8, 8)
    assert classes == ["dark", "light"]


COARSE = """
import torch


class Coarse:
    native = 4
    classes = ("a", "b")

    def __init__(self, split: str) -> None:
        pass

    def __len__(self) -> int:
        return 20

    def __getitem__(self, number: int) -> dict:
        image = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
        image[..., 1:3, 1:3] = 255
        return {"image": self.enlarge(image, 8)[0], "target": number % 2}

    @staticmethod
    def enlarge(images, size):
        return images.repeat_interleave(size // 4, 2).repeat_interleave(size // 4, 3)
"""


def test_a_data_set_says_how_it_enlarges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "coarse_set.py").write_text(COARSE)
    monkeypatch.syspath_prepend(str(tmp_path))
    run = folder_of(tmp_path / "runs", "model={num_classes: 2, image: [1, 8, 8]}", "data={name: coarse_set:Coarse}")
    manner, _, enlarge = predict.data_of(run, None)
    assert (manner.native, manner.shape, manner.inked) == (4, (1, 8, 8), True)
    path = zero(tmp_path / "a.png", ink="black", ground="white")
    image, said = pictures.prepare(path, manner, enlarge=enlarge)
    assert "4 × 4, enlarged like the data" in said
    assert torch.equal(image[0, ::2, ::2], image[0, 1::2, 1::2])
    run = folder_of(tmp_path / "runs", "data={name: digits, image_size: 28}", "model={image: [1, 28, 28]}")
    manner, _, enlarge = predict.data_of(run, None)
    assert (manner.native, enlarge) == (8, Digits.enlarge)
    run = folder_of(tmp_path / "runs")
    assert predict.data_of(run, None)[0].native is None


@pytest.mark.parametrize("size", [8, 32])
def test_the_manner_of_digits_is_seen(size: int) -> None:
    images = Digits("train", image_size=size).images[:100]
    manner = pictures.learn_manner(images)
    assert manner.inked
    assert manner.shape == (1, size, size)
    assert manner.extent == pytest.approx(1.0 if size == 8 else 0.75, abs=0.13)


def test_coloured_pictures_are_only_resized(tmp_path: Path) -> None:
    images = torch.randint(0, 256, (20, 3, 24, 24), generator=torch.Generator().manual_seed(0)).byte()
    manner = pictures.learn_manner(images)
    assert not manner.inked
    path = tmp_path / "red.png"
    Image.new("RGB", (100, 60), (200, 10, 20)).save(path)
    image, _ = pictures.prepare(path, manner)
    assert image.shape == (3, 24, 24)
    assert image[:, 12, 12].tolist() == [200, 10, 20]


def test_invert_can_be_chosen_and_a_blank_is_said(tmp_path: Path) -> None:
    manner = pictures.Manner((1, 28, 28), inked=True, extent=0.7)
    path = zero(tmp_path / "a.png", ink="black", ground="white")
    image, _ = pictures.prepare(path, manner, "auto")
    forced, _ = pictures.prepare(path, manner, "yes")
    left, _ = pictures.prepare(path, manner, "no")
    assert torch.equal(image, forced)
    assert not torch.equal(image, left)
    rows = image[0].float().sum(1).nonzero().flatten()
    assert 18 <= int(rows[-1] - rows[0]) + 1 <= 21  # 0.7 of 28
    Image.new("L", (30, 30), 255).save(tmp_path / "blank.png")
    image, said = pictures.prepare(tmp_path / "blank.png", manner)
    assert image.sum() == 0
    assert said[-1] == "nothing is drawn on it"


@pytest.mark.usefixtures("signals")
def test_warp_is_drawn(tmp_path: Path, dltk: Command) -> None:
    arguments = [
        "train.epochs=6",
        "train.validate_every=63",
        "log.wandb=disabled",
        "launch.threads=1",
        "run=a",
        f"runs_dir={tmp_path}",
    ]
    said = dltk("train", "warp", *arguments)
    assert said.code == 0, said.err
    path = tmp_path / "warp.png"
    assert dltk("draw", tmp_path / "warp" / "a", "warp", "-o", path).code == 0
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    left, right = np.array_split(pixels, 2, axis=1)
    for half in (left, right):
        red, green, blue = half[..., 0], half[..., 1], half[..., 2]
        assert ((red - blue > 80) & (green < 100)).sum() > 300  # points of the upper curve
        assert ((blue - red > 80) & (green < 140)).sum() > 300  # of the lower
        assert ((red > 200) & (green < 225) & (blue < 225) & (green > 200)).sum() > 2000  # the red side's ground
    said = dltk("draw", tmp_path / "warp" / "a", "warp", "-o", tmp_path / "warp.xyz")
    assert said.code == 2


def test_only_two_unit_nets_are_drawn(dltk: Command, trained: Trained) -> None:
    said = dltk("draw", trained.path, "warp")
    assert said.code == 2
    assert "two hidden units" in said.err
