"""The report of an evaluation: tables against sums by hand, pictures that hold what they should."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dltk.cli.mistakes import CELL, _square
from dltk.cli.report import Confusion, Report
from tests.cli.conftest import Command, Trained


class Noise:
    """As many samples as targets are given, each a noisy picture."""

    def __init__(self, targets: np.ndarray, classes: list[str], channels: int = 3) -> None:
        self.classes, self.keys = classes, [f"some/where/{number:05d}" for number in range(len(targets))]
        shape = (len(targets), channels, 9, 12)
        self.images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"image": torch.from_numpy(self.images[number]), "target": 0}


def report_of(scores: np.ndarray, targets: np.ndarray, classes: list[str], **more: Any) -> Report:
    part = Noise(targets, classes, **more)
    samples = {"keys": np.array(part.keys), "targets": targets, "scores": scores.astype(np.float32)}
    return Report(samples, torch.from_numpy(samples["scores"]).softmax(1).numpy(), part, "test", "a/run $1_x$, <b>")


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_the_tables_are_sums_by_hand(tmp_path: Path) -> None:
    targets = np.array([0, 0, 0, 0, 1, 1, 2])
    said = np.array([0, 1, 1, 2, 1, 1, 0])
    report = report_of(np.eye(3)[said], targets, ["zero", 'a "b", c', "two"])
    assert report.confusions() == [Confusion(0, 1, 2, 4), Confusion(2, 0, 1, 1), Confusion(0, 2, 1, 4)]
    paths = report.write(tmp_path / "deep" / "test-single_crop")
    assert [path.name.removeprefix("test-single_crop") for path in paths] == [
        ".classes.csv", ".confusions.csv", ".confusions.png", ".mistakes.png",
    ]  # fmt: skip
    assert table(paths[0]) == [
        {"class": "0", "name": "zero", "samples": "4", "top1_error": "75.00", "mostly_taken_for": 'a "b", c',
         "times": "2"},
        {"class": "1", "name": 'a "b", c', "samples": "2", "top1_error": "0.00", "mostly_taken_for": "", "times": "0"},
        {"class": "2", "name": "two", "samples": "1", "top1_error": "100.00", "mostly_taken_for": "zero", "times": "1"},
    ]  # fmt: skip
    assert table(paths[1])[0] == {
        "right": "zero", "chosen": 'a "b", c', "samples": "2", "of": "4", "per_cent": "50.00",
    }  # fmt: skip


def test_top5_and_ties_are_the_metrics_own() -> None:
    scores = np.array([[9, 8, 7, 6, 5, 4, 3.0], [1, 1, 1, 1, 1, 1, 1.0]])
    rows = report_of(scores, np.array([5, 4]), list("abcdefg")).classes()
    assert rows[0][3:5] == ["top1_error", "top5_error"]
    assert rows[6][3:5] == ["100.00", "100.00"]  # five classes stand before
    assert rows[5][3:5] == ["100.00", "0.00"]  # equal scores: the lower classes come first
    assert rows[1][2:5] == [0, "", ""]  # no sample of this class


def test_the_worst_mistakes_come_first() -> None:
    scores = np.array([[2.0, 0.0], [0.5, 0.0], [5.0, 0.0], [0.0, 3.0], [1.0, 0.0]])
    report = report_of(scores, np.array([1, 1, 1, 1, 0]), ["no", "yes"])
    assert report.worst().tolist() == [2, 0, 1]
    assert report.worst(2).tolist() == [2, 0]
    assert report.captions(report.worst(1)) == [("no (99 %)", "yes (1 %)", "some/where/00002")]
    images = report.images(report.worst())
    assert images is not None
    assert [np.array_equal(image, report.part.images[n]) for n, image in zip((2, 0, 1), images, strict=True)] == [
        True
    ] * 3


@pytest.mark.parametrize("channels", [1, 3])
def test_the_sheet_shows_the_pictures(tmp_path: Path, channels: int) -> None:
    report = report_of(np.eye(2)[[1] * 11], np.zeros(11, np.int64), ["no", "yes"], channels=channels)
    report.part.images[:] = 0
    report.part.images[:, 0] = 200
    sheet = pixels(report.write(tmp_path / "x")[-1])
    wanted = (200, 200, 200) if channels == 1 else (200, 0, 0)
    shown = (np.abs(sheet - wanted).max(2) < 8).sum()
    # Eleven pictures of 9 × 12 in squares of CELL, at 1.5 pixels each or so.
    assert shown > 11 * CELL * CELL * 0.75
    square = _square(report.part.images[0])
    assert square.shape == (CELL, CELL, 3)
    assert (square[0, 0] == 255).all()
    assert (square[CELL // 2, CELL // 2] == wanted).all()


def test_nothing_wrong_is_said_too(tmp_path: Path) -> None:
    paths = report_of(np.eye(3), np.arange(3), ["a", "b", "c"]).write(tmp_path / "x")
    assert table(paths[1]) == []
    assert all(pixels(path).std() > 1 for path in paths[2:])


@pytest.mark.filterwarnings("error")
def test_a_thousand_classes_stay_readable(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    targets = random.integers(0, 1000, 3000)
    said = np.where(random.random(3000) < 0.3, random.integers(0, 1000, 3000), targets)
    names = [f"n{k:08d} a rather long name of a class, {k}" for k in range(1000)]
    paths = report_of(np.eye(1000)[said], targets, names).write(tmp_path / "x")
    assert len(table(paths[0])) == 1000
    picture = pixels(paths[2])
    reddish = picture[..., 0] - picture[..., 1] > 60
    left = reddish[:, : picture.shape[1] // 2]
    assert left.sum() > 900  # each confusion has more than one pixel


def test_data_without_pictures_have_no_sheet(tmp_path: Path) -> None:
    report = report_of(np.eye(2)[[1, 0]], np.array([0, 0]), ["a", "b"])
    report.part.images = report.part.images[:, :, 0, 0]
    assert [path.suffix for path in report.write(tmp_path / "x")] == [".csv", ".csv", ".png"]


def test_a_run_is_reported_where_its_predictions_lie(dltk: Command, trained: Trained, tmp_path: Path) -> None:
    said = dltk("evaluate", trained.path, "--report", "--json")
    assert said.code == 0, said.err
    paths = [Path(path) for path in said.json["report"]]
    assert {path.parent for path in paths} == {trained.path / "predictions"}
    rows = table(paths[0])
    errors = [float(row["top1_error"]) * int(row["samples"]) for row in rows]
    assert sum(errors) / 359 == pytest.approx(said.json["metrics"]["test/top1_error"], abs=0.01)
    assert sum(int(row["samples"]) for row in table(paths[1])) == round(sum(errors) / 100)
    said = dltk("evaluate", trained.path, "--report", "--to", tmp_path / "there")
    assert said.code == 0, said.err
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == sorted(path.name for path in paths)
    assert str(tmp_path / "there" / "test-single_crop.mistakes.png") in said.out


def test_an_ensembles_report_needs_a_folder(dltk: Command, trained: Trained) -> None:
    said = dltk("evaluate", trained.path, trained.path, "--report")
    assert (said.code, said.err) == (
        2, "--to: is missing: an ensemble belongs to none of its runs. Name a folder: --to DIR.\n",
    )  # fmt: skip
    said = dltk("evaluate", trained.path, trained.path)
    assert (said.code, said.err) == (2, "RUN: the same run is named twice. Name each once.\n")
