"""Trainings as a user starts them, in processes of their own, in a folder of their own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

RECIPE = """
model: {architecture: mlp, num_classes: 10, image: [1, 8, 8], hidden_sizes: [16], dropout: 0.2}
data: {name: digits, image_size: 8, augment: {name: affine, degrees: 5.0, translate: 0.05}}
optimizer: {name: sgd, lr: 0.05, momentum: 0.9}
schedule: {name: cosine, warmup: 5}
batch: {global: 32}
train: {epochs: 3, ema: 0.9}
checkpoint: {every_steps: 7}
log: {every_steps: 5, wandb: disabled}
"""


class Workshop:
    """A folder with a small recipe and the faults of the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "small.yaml").write_text(RECIPE)
        shutil.copy(Path(__file__).with_name("faults.py"), folder)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start `dltk …` in the folder."""
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "dltk", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=self.folder, env=environment, text=True, start_new_session=True, **pipes)

    def dltk(self, *arguments: str, expect: int | None = 0, timeout: float = 100) -> "subprocess.CompletedProcess[str]":
        """Run `dltk …` in the folder to its end, with the exit code expected."""
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"dltk {arguments}: it, or a process it left behind, took over {timeout} s") from None
        assert expect is None or process.returncode == expect, f"exit {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def train(self, name: str, *settings: str, expect: int | None = 0) -> Path:
        """Train the small recipe as run `name`; its folder."""
        self.dltk("train", "small.yaml", f"run={name}", *settings, expect=expect)
        return self.folder / "runs" / "small" / name

    def marks(self, name: str) -> Path:
        """A folder where a fault notes that it has struck."""
        marks = self.folder / f"marks-{name}"
        marks.mkdir(exist_ok=True)
        return marks


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture(scope="session")
def reference(workshop: Workshop) -> Path:
    """The uninterrupted run that every interrupted one must equal."""
    return workshop.train("reference")


def final_state(run: Path) -> dict[str, Any]:
    """The newest checkpoint's weights, average and optimiser state."""
    from dltk.run.folder import RunFolder

    checkpoints = RunFolder.open(run).checkpoints
    newest = checkpoints.newest()
    assert newest is not None
    state = checkpoints.load(newest)
    return {
        "weights": state["state_dict"],
        "average": state["callbacks"]["Average"]["average"],
        "optimizer": state["optimizer_states"],
        "step": state["task"]["step"],
    }


def assert_equal_to_the_bit(one: Any, other: Any, where: str = "") -> None:
    """Compare nested states exactly."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal_to_the_bit(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_equal_to_the_bit(a, b, f"{where}/{i}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), f"{where}: differs by {(one.double() - other.double()).abs().max():.3g}"
    else:
        assert one == other, where


def lines(run: Path) -> list[dict[str, Any]]:
    """The run's metrics, one object a line."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def curve(run: Path, metric: str) -> dict[int, float]:
    """One metric by step."""
    return {line["step"]: line[metric] for line in lines(run) if metric in line}
