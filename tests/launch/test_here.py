"""Waiting for the processes of one machine."""

import os
import threading
import time
from pathlib import Path

import pytest

from dltk.launch import here
from dltk.run.folder import RunFolder
from dltk.trainer.signals import Signals


def test_who_still_writes_a_checkpoint_is_given_time_when_another_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(here, "GRACE", 0.1)
    folder = RunFolder.create(tmp_path, "recipe", {}, run="run")
    saving = here._start(["sleep", "60"], dict(os.environ), None)
    failed = here._start(["false"], dict(os.environ), None)
    hidden = folder.checkpoints.path / f".writing-step-00000007-{saving.pid}"
    hidden.mkdir(parents=True)
    threading.Timer(0.8, hidden.rmdir).start()
    began = time.monotonic()
    died = here._wait(folder, [saving, failed], Signals())
    assert 0.8 <= time.monotonic() - began < 5
    assert died.keys() == {1}
    assert (saving.returncode, failed.returncode) == (-9, 1)
