"""Commands run in this process where they are quick, and one trained run that all tests share."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dltk.cli import run
from tests.commands import Server

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Said]


@pytest.fixture
def dltk(capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command line in this process."""

    def call(*arguments: object) -> Said:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return Said(code, *capsys.readouterr())

    return call


@pytest.fixture
def signals() -> Iterator[None]:
    """For trainings in this process, which take the signals over."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def start_cold(*arguments: object, cwd: Path, python: tuple[str, ...] = ("-m", "dltk")) -> Said:
    """Run a command line in a process of its own, all of whose imports are its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *python, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100, check=False)
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def start(server: Server) -> Command:
    """Run a command line in a process of its own, in a folder (`cwd`)."""

    def call(*arguments: object, cwd: Path) -> Said:
        ended = server.start(*map(str, arguments), folder=cwd).end(expect=None)
        assert ended.code is not None
        return Said(ended.code, ended.out, ended.err)

    return call


@dataclass
class Trained:
    runs: Path
    path: Path
    said: Said


@pytest.fixture(scope="session")
def trained(start: Command, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A small network for 8 × 8 digits, trained for some hundred steps."""
    runs = tmp_path_factory.mktemp("work") / "runs"
    said = start(
        "train", "mlp_digits", "train.epochs=null", "train.steps=400", "train.validate_every=200",
        "optimizer.lr=0.05", "launch.threads=1", "task.loss=cross_entropy", "log.wandb=disabled",
        f"runs_dir={runs}", "run=first",
        "claim={metric: test/top1_error, value: 8.0, tolerance: 8.0, seeds: 2}", cwd=runs.parent,
    )  # fmt: skip
    assert said.code == 0, said.err
    return Trained(runs, runs / "mlp_digits" / "first", said)
