"""What a recipe's ways of computing do to a training: arithmetic, layout, passes, clipping, the average of weights."""

from pathlib import Path
from typing import Any

import pytest
import torch

import dltk
from dltk.run.folder import RunFolder

RECIPE: dict[str, Any] = {
    "name": "procedure",
    "model": {"architecture": "lenet5", "num_classes": 10},
    "data": {"name": "digits", "image_size": 32},
    "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
    "batch": {"global": 32},
    "train": {"steps": 12},
    "log": {"every_steps": 1, "wandb": "disabled"},
    "launch": {"accelerator": "cpu", "devices": 1},
}


def curves(folder: Path, *settings: str) -> dict[str, list[float]]:
    """Every metric by step."""
    run = dltk.train(RECIPE, f"runs_dir={folder}", *settings)
    found: dict[str, list[float]] = {}
    for line in run.metrics.read():
        for name, value in line.items():
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    return curves(tmp_path_factory.mktemp("usual"))


@pytest.mark.parametrize(
    "settings",
    [
        ["train.channels_last=true"],
        ["batch.accumulate=5"],  # passes of uneven sizes
        ["batch.micro=8"],
        ["train.clip_norm=1e6"],
        ["train.ema=0.9"],  # evaluation alone looks at it
    ],
    ids=lambda settings: settings[0],
)
def test_the_curve_stays(usual: dict[str, list[float]], tmp_path: Path, settings: list[str]) -> None:
    found = curves(tmp_path, *settings)
    assert found["step"] == usual["step"] == list(range(1, 13))
    assert found["train/loss"] == pytest.approx(usual["train/loss"], abs=1e-5)
    assert found["train/top1_error"] == usual["train/top1_error"]


def test_the_average_is_what_is_evaluated(usual: dict[str, list[float]], tmp_path: Path) -> None:
    found = curves(tmp_path, "train.ema=0.9")
    assert found["val/loss"] != usual["val/loss"]
    (run,) = (tmp_path / "procedure").iterdir()
    state = RunFolder.open(run).checkpoints.load(run / "checkpoints" / "step-00000012")
    averages = state["callbacks"]["Average"]["average"]
    assert all(not torch.equal(value, state["state_dict"][f"model.{name}"]) for name, value in averages.items())
    task = dltk.load(run)
    assert all(torch.equal(value, averages[name]) for name, value in task.model.named_parameters())


def test_clipping_bounds_the_gradient_of_the_whole_batch(usual: dict[str, list[float]], tmp_path: Path) -> None:
    found = curves(tmp_path, "train.clip_norm=0.01", "batch.accumulate=2", "optimizer.momentum=0.0")
    free = curves(tmp_path, "train.clip_norm=1e6", "optimizer.momentum=0.0")
    assert found["train/gradient_norm"][0] == pytest.approx(free["train/gradient_norm"][0], rel=1e-5)
    assert found["train/gradient_norm"][0] > 0.01, "told before it is clipped"
    runs = [RunFolder.open(path) for path in sorted((tmp_path / "procedure").iterdir())]
    start = dltk.build(RECIPE)[0].state_dict()
    moved = []
    for run in runs:
        state = run.checkpoints.load(run.checkpoints.at(12))["state_dict"]
        moved.append(torch.cat([(state[name] - start[name]).flatten() for name in start]).norm())
    assert min(moved) <= 12 * 0.05 * 0.01 * 1.001, "at most lr * clip_norm a step"


def test_bf16_learns_as_well_and_is_not_the_same(usual: dict[str, list[float]], tmp_path: Path) -> None:
    found = curves(tmp_path, "train.precision=bf16-mixed")
    assert found["train/loss"] != usual["train/loss"]
    assert found["train/loss"] == pytest.approx(usual["train/loss"], abs=0.1)
    (run,) = (tmp_path / "procedure").iterdir()
    state = RunFolder.open(run).checkpoints.load(run / "checkpoints" / "step-00000012")
    assert {value.dtype for value in state["state_dict"].values()} == {torch.float32}
