"""The start of an attempt: what an earlier one left, and whether this one may begin."""

import json
import os
import time
from pathlib import Path

import pytest

from dltk.errors import ExitCode, LaunchError
from dltk.launch import here
from dltk.launch.nodes import Node
from dltk.run.folder import RunFolder
from dltk.run.lease import HEARTBEAT
from dltk.trainer.signals import Signals

NODE = Node(0, 2, "slurm 7.0", "n1")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "recipe", {}, run="run")


def attempts(folder: RunFolder, *ends: tuple[int, int | None]) -> None:
    """Attempts that began at a step, and their exit codes; None for one that died."""
    for step, code in ends:
        number = folder.ledger.begin({"step": step})
        if code is not None:
            folder.ledger.end(number, "…", code, step)


def test_attempts_that_come_no_further_end(folder: RunFolder) -> None:
    attempts(folder, (0, 85), (7, 85), (7, None), (7, 85))
    here.require_progress(folder, 7, 4)
    here.require_progress(folder, 14, 1)
    with pytest.raises(LaunchError) as caught:
        here.require_progress(folder, 7, 3)
    assert str(caught.value) == (
        f"{folder.path}: launch.max_attempts: 3 allowed, and the last 3 were preempted or died at step 7 without a "
        f"step gained. See `dltk runs {folder.path}`; go on with launch.max_attempts=6."
    )


def test_a_person_who_starts_again_begins_a_new_row(folder: RunFolder) -> None:
    attempts(folder, (7, 85), (7, ExitCode.CRASHED), (7, None), (7, ExitCode.INTERRUPTED), (7, 85))
    here.require_progress(folder, 7, 2)
    with pytest.raises(LaunchError, match="the last 1 were"):
        here.require_progress(folder, 7, 1)


@pytest.mark.parametrize("node", [None, NODE])
def test_a_stop_of_the_attempt_before_is_over_and_one_that_comes_now_is_not(
    folder: RunFolder, node: Node | None
) -> None:
    folder.request_stop("somebody", "answered already", requeue=True)
    old = folder.stop_request()
    here._prepare(folder, node, old)
    assert folder.stop_request() is None
    folder.request_stop("somebody", "while the attempt began", requeue=False)
    here._prepare(folder, node, None)
    here._prepare(folder, node, old)
    said = folder.stop_request()
    assert said is not None
    assert said["why"] == "while the attempt began"


def test_the_stop_of_this_job_came_before_python(folder: RunFolder) -> None:
    (folder.path / "STOP").write_text(json.dumps({"who": "slurm", "requeue": True, "job": NODE.job}))
    here._prepare(folder, NODE, folder.stop_request())
    assert folder.stop_request() is not None
    here._prepare(folder, Node(0, 2, "slurm 7.1", "n1"), folder.stop_request())
    assert folder.stop_request() is None


def test_a_job_waits_for_the_lease_of_one_that_died_elsewhere(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dltk.run.lease.STALE", 2.0)
    record = {"host": "elsewhere", "pid": 7, "token": "another", "heartbeat": time.time(), "started": "then"}
    (folder.path / "LEASE").write_text(json.dumps(record))
    with pytest.raises(LaunchError, match="is being trained by process 7 on elsewhere"):
        here.lease_of(folder, None, Signals())
    began = time.monotonic()
    with here.lease_of(folder, NODE, Signals()):
        assert 1 < time.monotonic() - began < HEARTBEAT
    told = Signals()
    told.received = 15
    (folder.path / "LEASE").write_text(json.dumps({**record, "heartbeat": time.time()}))
    os.utime(folder.path / "LEASE")
    with pytest.raises(LaunchError, match="elsewhere"):
        here.lease_of(folder, NODE, told)
