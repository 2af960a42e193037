"""Trainings as a user starts them, in processes of their own, in a folder of their own."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.commands import Command, Server, wait_until

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
    """A folder with a small recipe and the faults of the tests, in which a server starts commands."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.folder, self._server = folder, server
        (folder / "small.yaml").write_text(RECIPE)
        shutil.copy(Path(__file__).with_name("faults.py"), folder)

    def start(self, *arguments: str, **more: Any) -> Command:
        """Start `dltk …` in the folder, as `Server.start` does."""
        return self._server.start(*arguments, folder=self.folder, **more)

    def dltk(self, *arguments: str, expect: int | None = 0, timeout: float = 100, **more: Any) -> Command:
        """Run `dltk …` in the folder to its end, with the exit code expected."""
        return self.start(*arguments, **more).end(expect, timeout)

    def slow(self, name: str, place: str, *settings: str, ranks: int = 1, seconds: float = 0.3, **more: Any) -> Command:
        """Start or go on with run `name` and return when it is where it takes `seconds` a batch, as `train 20`."""
        marks = self.marks(name)
        (marks / "plan").write_text(place)
        reached = [marks / f"slow-{rank}" for rank in range(ranks)]
        for mark in reached:
            mark.unlink(missing_ok=True)
        fault = f"train.callbacks=[{{name: 'faults:Slow', marks: '{marks}', seconds: {seconds}}}]"
        command = self.start("train", "small.yaml", f"run={name}", fault, *settings, **more)
        there = lambda: all(mark.exists() for mark in reached) or command.code is not None  # noqa: E731
        wait_until(there, f"{name} to come to {place}", 60, command.kill)
        assert command.code is None, f"exit {command.code}\n{command.out}\n{command.err}"
        return command

    def run(self, name: str) -> Path:
        """The folder of a run of the small recipe."""
        return self.folder / "runs" / "small" / name

    def train(self, name: str, *settings: str, expect: int | None = 0) -> Path:
        """Train the small recipe as run `name`; its folder."""
        self.dltk("train", "small.yaml", f"run={name}", *settings, expect=expect)
        return self.run(name)

    def marks(self, name: str) -> Path:
        """A folder where a fault notes that it has struck."""
        marks = self.folder / f"marks-{name}"
        marks.mkdir(exist_ok=True)
        return marks


@pytest.fixture(scope="session")
def workshop(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"), server)


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
