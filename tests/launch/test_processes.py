"""Waiting for the processes of one machine."""

import os
import threading
import time
from pathlib import Path

import pytest

from dltk.launch import processes
from dltk.run.folder import RunFolder
from dltk.trainer.signals import Signals


def test_who_still_writes_a_checkpoint_is_given_time_when_another_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "GRACE", 0.1)
    folder = RunFolder.create(tmp_path, "recipe", {}, run="run")
    saving = processes._start(["sleep", "60"], dict(os.environ), None)
    failed = processes._start(["false"], dict(os.environ), None)
    hidden = folder.checkpoints.path / f".writing-step-00000007-{saving.pid}"
    hidden.mkdir(parents=True)
    threading.Timer(0.8, hidden.rmdir).start()
    began = time.monotonic()
    died = processes._wait(folder, {0: saving, 1: failed}, Signals(), None)
    assert 0.8 <= time.monotonic() - began < 5
    assert died.keys() == {1}
    assert (saving.returncode, failed.returncode) == (-9, 1)
