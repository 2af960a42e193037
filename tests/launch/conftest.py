"""Trainings as a user starts them, in processes of their own, in a folder of their own."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
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


class Command:
    """A `dltk …` under way."""

    def __init__(self, arguments: tuple[str, ...], pid: int, files: Path) -> None:
        self.arguments, self.pid, self._files = arguments, pid, files

    @property
    def out(self) -> str:
        """What it has printed so far."""
        return self._files.with_suffix(".out").read_text()

    @property
    def err(self) -> str:
        """What it has printed to stderr so far."""
        return self._files.with_suffix(".err").read_text()

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        file = self._files.with_suffix(".code")
        return int(file.read_text()) if file.exists() else None

    @property
    def ended(self) -> float:
        """When it had left (seconds since 1970)."""
        return self._files.with_suffix(".code").stat().st_mtime

    def signal(self, number: int) -> None:
        """Send a signal to this process alone."""
        os.kill(self.pid, number)

    def end(self, expect: int | None = 0, timeout: float = 100) -> "Command":
        """Wait until it has left, with the exit code expected, and all processes of its session with it."""
        wait_until(lambda: self.code is not None, f"dltk {self.arguments} to end", timeout, self.kill)
        assert expect is None or self.code == expect, f"exit {self.code}\n{self.out}\n{self.err}"
        wait_until(lambda: not self.processes(), f"the processes that dltk {self.arguments} left", 5, self.kill)
        return self

    def processes(self) -> list[int]:
        """The processes of its session that are still there."""
        return [pid for pid, (_, session) in processes().items() if session == self.pid]

    def kill(self) -> None:
        """End it and its session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def processes() -> dict[int, tuple[int, int]]:
    """Every living process: parent and session."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if fields[0] not in "ZX":
                found[int(path.parent.name)] = (int(fields[1]), int(fields[3]))
    return found


def wait_until(
    true: Callable[[], Any], what: str, timeout: float = 60, before_failing: Callable[[], Any] = bool
) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            before_failing()
            raise AssertionError(f"waited {timeout} s for {what}")
        time.sleep(0.02)


class Workshop:
    """A folder with a small recipe and the faults of the tests, and a server that starts commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "small.yaml").write_text(RECIPE)
        shutil.copy(Path(__file__).with_name("faults.py"), folder)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(Path(__file__).with_name("warm.py"))]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._server = subprocess.Popen(command, text=True, env=environment, start_new_session=True, **pipes)
        self._number = 0

    def close(self) -> None:
        """End the server."""
        self._server.stdin.close()
        self._server.wait(10)

    def start(self, *arguments: str, user: int = 0, cold_ranks: bool = False, **environment: str) -> Command:
        """Start `dltk …` in the folder; as another user, where root does; its ranks as the launcher starts them."""
        self._number += 1
        files = self.folder / f"said-{self._number}"
        for name in (".out", ".err"):
            files.with_suffix(name).touch()
            files.with_suffix(name).chmod(0o666)
        request = {
            "arguments": arguments, "folder": str(self.folder), "environment": environment, "user": user,
            "cold_ranks": cold_ranks,
            "out": f"{files}.out", "err": f"{files}.err", "code": f"{files}.code",
        }  # fmt: skip
        print(json.dumps(request), file=self._server.stdin, flush=True)
        return Command(arguments, int(self._server.stdout.readline()), files)

    def dltk(self, *arguments: str, expect: int | None = 0, timeout: float = 100, **more: Any) -> Command:
        """Run `dltk …` in the folder to its end, with the exit code expected."""
        return self.start(*arguments, **more).end(expect, timeout)

    def slow(self, name: str, place: str, *settings: str, ranks: int = 1, **more: Any) -> Command:
        """Start or go on with run `name` and return when it is where it takes its time, as `train 20`."""
        marks = self.marks(name)
        (marks / "plan").write_text(place)
        reached = [marks / f"slow-{rank}" for rank in range(ranks)]
        for mark in reached:
            mark.unlink(missing_ok=True)
        fault = f"train.callbacks=[{{name: 'faults:Slow', marks: '{marks}'}}]"
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
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path_factory.mktemp("workshop"))
    yield workshop
    workshop.close()


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
