"""Seconds by phase, imports left out."""

import builtins
import sys
import time
from pathlib import Path

import pytest

from dltk.run import phases


def test_imports_are_no_phase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slow_import_of_a_test.py").write_text("import time\ntime.sleep(0.5)\n")
    phases.taken()
    plain = builtins.__import__
    phases.begin("one")
    time.sleep(0.2)
    import slow_import_of_a_test  # noqa: F401

    phases.begin("two")
    with phases.phase("one"):
        time.sleep(0.1)
    assert builtins.__import__ is plain
    seconds = phases.taken()
    assert 0.3 <= seconds["one"] < 0.5 + 0.3
    assert seconds["two"] < 0.2
    assert phases.taken() == {}
    del sys.modules["slow_import_of_a_test"]
