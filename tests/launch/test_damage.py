"""Damaged samples: each counts once in a run, whichever process and attempt meets it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dltk.data.images import Images
from tests.launch.conftest import Workshop, curve

RECIPE = """
model: {architecture: mlp, num_classes: 2, image: [1, 8, 8], hidden_sizes: [8]}
data: {name: images, folder: scans, image_size: 8, channels: 1, workers: 0, max_bad: 5}
optimizer: {name: sgd, lr: 0.01}
batch: {global: 8}
train: {steps: 16, validate_every: 1000}
log: {every_steps: 1, wandb: disabled}
"""
TWO = ("launch.devices=2", "launch.strategy=ddp")


@pytest.fixture(scope="module")
def scans(workshop: Workshop) -> list[str]:
    """Pictures of two classes; the keys of six of the training part that are no pictures."""
    noise = np.random.default_rng(0)
    for name in ("a", "b"):
        (workshop.folder / "scans" / name).mkdir(parents=True)
        for number in range(40):
            pixels = noise.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(workshop.folder / "scans" / name / f"{number:02d}.png")
    damaged = list(Images("train", str(workshop.folder), folder="scans", image_size=8).keys[3::9])[:6]
    for key in damaged:
        (workshop.folder / "scans" / key).write_bytes(b"no picture")
    (workshop.folder / "scans.yaml").write_text(RECIPE)
    return damaged


def train(workshop: Workshop, *arguments: str, expect: int = 0) -> str:
    command = workshop.dltk("train", *arguments, f"data_dir={workshop.folder}", expect=expect)
    return command.out + command.err


def test_the_bound_is_of_all_processes_together(workshop: Workshop, scans: list[str]) -> None:
    said = train(workshop, "scans.yaml", "run=two", "train.steps=7", *TWO, expect=2)  # each sees half of an epoch
    assert "data.max_bad: 6 damaged sample(s), 5 allowed" in said
    assert all(f"'{key}' (train)" in said for key in scans), "each by a line, or by the error"


def test_a_higher_bound_goes_on_and_nothing_is_forgotten_or_counted_twice(workshop: Workshop, scans: list[str]) -> None:
    run = workshop.folder / "runs" / "scans" / "later"
    train(workshop, "scans.yaml", "run=later", "train.steps=8", "data.max_bad=6")
    first = curve(run, "data/damaged")
    assert max(first.values()) == 6
    said = train(workshop, "--extend", str(run), "train.steps=14", *TWO)
    assert "Damaged" not in said, "all are known from the attempt before"
    assert set(curve(run, "data/damaged").items()) - set(first.items()) == {(step, 6) for step in range(9, 15)}
    said = train(workshop, "--fork", str(run), "optimizer.lr=0.02", "data.max_bad=5", "train.steps=16", expect=2)
    assert "data.max_bad: 6 damaged sample(s), 5 allowed" in said


def test_a_resumed_run_counts_as_an_uninterrupted_one(workshop: Workshop, scans: list[str]) -> None:
    run = workshop.folder / "runs" / "scans" / "stopped"
    train(workshop, "scans.yaml", "run=whole", "data.max_bad=6")
    train(workshop, "scans.yaml", "run=stopped", "train.steps=3", "data.max_bad=6")
    train(workshop, "--extend", str(run), "train.steps=12", "data.max_bad=7")
    whole = curve(Path(run).with_name("whole"), "data/damaged")
    assert 0 < min(whole.values()) < 6
    assert curve(run, "data/damaged") == {step: count for step, count in whole.items() if step <= 12}


def test_an_evaluation_says_what_it_left_out(workshop: Workshop, scans: list[str]) -> None:
    run = workshop.folder / "runs" / "scans" / "evaluated"
    train(workshop, "scans.yaml", "run=evaluated", "train.steps=1", "data.max_bad=6")
    arguments = ("evaluate", str(run), "--split", "train", f"data_dir={workshop.folder}")
    said = workshop.dltk(*arguments).out
    assert "train, single_crop, 50 samples" in said
    assert "without 6 damaged sample(s) of train, which could not be read:" in said
    answer = json.loads(workshop.dltk(*arguments, "launch.devices=2", "--json").out)
    assert (answer["samples"], sorted(answer["damaged"])) == (50, sorted(scans))
    refused = workshop.dltk(*arguments, "launch.devices=2", "data.max_bad=5", expect=2)
    assert "6 damaged sample(s), 5 allowed" in refused.err


def test_a_run_does_not_go_on_over_other_data(workshop: Workshop, scans: list[str]) -> None:
    run = workshop.folder / "runs" / "scans" / "other"
    train(workshop, "scans.yaml", "run=other", "train.steps=2", "data.max_bad=6")
    (run / "summary.json").unlink()  # as if it had never been done
    elsewhere = workshop.folder / "elsewhere"
    shutil.copytree(workshop.folder / "scans", elsewhere / "scans")
    (elsewhere / "scans" / "a" / "00.png").rename(elsewhere / "scans" / "a" / "renamed.png")
    command = workshop.dltk("train", "--extend", str(run), "train.steps=4", f"data_dir={elsewhere}", expect=2)
    assert f"the data are not those of the run {run}" in command.err
    workshop.dltk("train", "--fork", str(run), "train.steps=4", f"data_dir={elsewhere}")
    train(workshop, "--extend", str(run), "train.steps=4")
