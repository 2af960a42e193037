"""A Python without torch, as a cluster's login node may have it: what hands runs over and follows them works there."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from dltk.run.folder import RunFolder
from dltk.run.tracking import Tracker
from tests.cli.conftest import ROOT, Trained
from tests.cli.wandb_stand_in import serving

HEAVY = ("torch", "functorch", "lightning", "pytorch_lightning", "deepspeed", "triton", "nvidia", "sklearn", "scikit")
SEVERAL = """
import contextlib, io, json, sys
from dltk.cli import run
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(words)
    print(json.dumps([code, out.getvalue(), err.getvalue()]), file=sys.stderr)
"""
CPU = ("launch.accelerator=cpu", "launch.devices=1")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This Python's packages without torch and what needs it."""
    folder = tmp_path_factory.mktemp("packages")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith((*HEAVY, "__")) and path.suffix != ".pth":
            (folder / path.name).symlink_to(path)
    return folder


def said(packages: Path, cwd: Path, *commands: tuple[object, ...]) -> list[tuple[int, str, str]]:
    """What commands say there: exit code, output, errors."""
    environment = {**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{ROOT}", "PATH": "/usr/bin:/bin"}
    words = json.dumps([[str(word) for word in command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-S", "-c", SEVERAL, words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stderr.splitlines()]
    return [(code, out, err) for code, out, err in found]


def test_a_login_node_without_torch(packages: Path, trained: Trained, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained.path, tmp_path / "runs" / "mlp_digits" / "first"))
    (run / "logs").mkdir(exist_ok=True)
    (run / "logs" / "slurm-7.out").write_text("what the job printed\n")
    submit = ("submit", "lenet5_digits", "--nodes", "2", "--dry-run", *CPU)
    answers = said(
        packages, tmp_path, submit, ("status", run), ("logs", run), ("runs", "runs"), ("compare", run),
        ("stop", run), ("cancel", run), ("submit", run, *CPU),
    )  # fmt: skip
    assert [code for code, _, _ in answers] == [0, 0, 0, 0, 0, 2, 2, 2]
    script, status, logs, runs, compared, *refused = ((out or err) for _, out, err in answers)
    assert "#SBATCH --nodes=2\n" in script
    assert "done, step 400" in status
    assert logs == "what the job printed\n"
    assert "first" in runs
    assert "test/top1_error" in compared
    assert all(line.count("\n") == 1 for line in refused), refused


def test_what_needs_torch_says_so(packages: Path, tmp_path: Path) -> None:
    commands = ("train", "linear_digits"), ("submit", "linear_digits", "--on", "here"), ("show", "lenet5")
    for code, _, err in said(packages, tmp_path, *commands):
        assert (code, err) == (2, "this Python: has no torch, which this command needs. Install it, or take another.\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.cluster
def test_a_login_node_sends_what_wandb_kept_to_a_stand_in_for_the_server(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder.create(tmp_path / "runs", "small", {"a": 1}, run="first")
    tracker = Tracker(run, "offline", "project", config={})
    tracker.log(0, {"train/loss": 1.0})
    assert tracker.finish(0, 60)
    with serving() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        ((code, out, err),) = said(packages, tmp_path, ("sync",))
        assert (code, err) == (0, "")
        assert out.startswith("small/first: 1 segment sent: ")
        assert [line["step"] for lines in server.runs.values() for line in lines] == [0]
