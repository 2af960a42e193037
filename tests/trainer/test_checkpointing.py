"""Checkpoints written beside the training: one at a time, from a copy, published only under the lease."""

import gc
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dltk.errors import LaunchError
from dltk.run import checkpoint as saving
from dltk.run.atomic import replace_file
from dltk.run.folder import RunFolder
from dltk.run.lease import LeaseLost
from dltk.trainer import checkpointing
from dltk.trainer.checkpointing import DirectoryIO
from dltk.trainer.config import CheckpointConfig


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "recipe", {}, run="run")


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Every write waits for it before it publishes."""
    event, real = threading.Event(), saving._refuse_unloadable

    def wait(*arguments: Any) -> None:
        assert event.wait(20)
        real(*arguments)

    monkeypatch.setattr(saving, "_refuse_unloadable", wait)
    return event


def writer(run: RunFolder, said: Callable[[str], Any] = print, **config: Any) -> DirectoryIO:
    return DirectoryIO(run, CheckpointConfig(**config), 1, "single", 1, said)


def save(io: DirectoryIO, step: int, weights: torch.Tensor) -> None:
    io.meta = {"step": step, "epoch": 0, "samples": step, "metric": {"val/top1_error": 50.0 - step}}
    io.save_checkpoint({"step": step, "weights": weights}, "ignored")


def test_training_goes_on_and_the_next_save_waits(run: RunFolder, gate: threading.Event) -> None:
    io, weights = writer(run), torch.ones(1000)
    save(io, 1, weights)
    assert run.checkpoints.steps() == {}
    weights.add_(1)  # the next step
    io.check()
    threading.Timer(0.2, gate.set).start()
    began = time.monotonic()
    save(io, 2, weights)
    assert time.monotonic() - began > 0.15
    io.teardown()
    found = {step: run.checkpoints.load(path)["weights"] for step, path in run.checkpoints.steps().items()}
    assert {step: value.unique().tolist() for step, value in found.items()} == {1: [1.0], 2: [2.0]}
    assert (run.checkpoints.path / "LATEST").read_text() == "step-00000002\n"
    assert io._buffers.bytes == 0


def test_retention_is_that_of_saving_in_the_foreground(tmp_path: Path) -> None:
    kept = []
    for name, asynchronous in (("behind", True), ("before", False)):
        folder = RunFolder.create(tmp_path, "recipe", {}, run=name)
        io = writer(folder, asynchronous=asynchronous, keep_last=2, keep_best=1)
        for step, error in ((1, 3.0), (2, 1.0), (3, 2.0), (4, 5.0), (5, 4.0)):
            io.meta = {"step": step, "metric": {"val/top1_error": error}}
            io.save_checkpoint({"weights": torch.full((9,), step)}, "ignored")
        io.teardown()
        manifests = [folder.checkpoints.manifest(path) for path in folder.checkpoints.steps().values()]
        kept.append(manifests)
        assert [manifest["step"] for manifest in manifests] == [2, 4, 5]
    assert kept[0] == kept[1], "the files' hashes too"


def test_an_error_comes_at_the_next_boundary_and_nothing_half_is_left(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    io = writer(run)
    save(io, 1, torch.ones(10))
    io.finish()
    usage = saving.shutil.disk_usage(run.path)
    monkeypatch.setattr(saving.shutil, "disk_usage", lambda path: usage._replace(free=0))
    save(io, 2, torch.ones(10))
    io._writer._thread.join()
    with pytest.raises(LaunchError, match="no room for a checkpoint: it takes"):
        io.check()
    assert sorted(path.name for path in run.checkpoints.path.iterdir()) == ["LATEST", "step-00000001"]
    io.teardown()


def test_a_run_that_was_taken_over_meanwhile_gets_nothing(run: RunFolder, gate: threading.Event) -> None:
    with run.lease():
        io = writer(run)
        save(io, 1, torch.ones(10))
        record = {"host": "elsewhere", "pid": 7, "token": "another", "heartbeat": time.time(), "started": "then"}
        replace_file(run.path / "LEASE", json.dumps(record))
        gate.set()
        with pytest.raises(LeaseLost, match="process 7 on elsewhere trains this run since then"):
            io.finish()
    assert list(run.checkpoints.path.iterdir()) == []


@pytest.mark.parametrize(("asynchronous", "free", "behind"), [
    ("auto", 8001, True),
    ("auto", 7999, False),
    (True, 0, True),
    (False, 1 << 40, False),
])  # fmt: skip
def test_memory_decides_unless_it_was_said(
    run: RunFolder, gate: threading.Event, monkeypatch: pytest.MonkeyPatch, asynchronous: Any, free: int, behind: bool
) -> None:
    said: list[str] = []
    monkeypatch.setattr(checkpointing, "free_memory", lambda: free)
    io = writer(run, said.append, asynchronous=asynchronous)
    if not behind:
        gate.set()
    for step in (1, 2):
        save(io, step, torch.ones(1000))
        assert (step in run.checkpoints.steps()) is not behind
        gate.set()
        io.finish()
        gate.clear() if behind else None
    assert list(run.checkpoints.steps()) == [1, 2]
    assert len(said) == (asynchronous == "auto" and not behind), "once"
    assert all("checkpoint.asynchronous=true" in line for line in said)


def test_a_process_forked_in_the_middle_harms_nothing(run: RunFolder, gate: threading.Event) -> None:
    io = writer(run)
    save(io, 1, torch.ones(100_000))
    child = os.fork()
    if child == 0:  # as a data worker
        io.finish()
        gc.collect()
        os._exit(len(run.checkpoints.steps()))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    gate.set()
    io.teardown()
    (path,) = run.checkpoints.steps().values()
    assert run.checkpoints.verify(path) is None
    assert run.checkpoints.load(path)["weights"].sum() == 100_000
