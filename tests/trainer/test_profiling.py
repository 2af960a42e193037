"""`train --profile` leaves a trace that a viewer opens, and a table."""

import json
from pathlib import Path

import pytest

import dltk

RECIPE = ["linear_digits", "train.epochs=null", "log.wandb=disabled", "log.profile=true"]


def test_a_few_steps_are_traced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = dltk.train(*RECIPE, "train.steps=30", f"runs_dir={tmp_path}")
    trace = json.loads((run.path / "profile" / "trace-0.json").read_text())
    names = {event.get("name") for event in trace["traceEvents"]}
    assert "aten::addmm" in names
    assert "ProfilerStep#7" in names, "the first steps are not like the others"
    table = (run.path / "profile" / "table-0.txt").read_text()
    assert "aten::" in table
    assert "Self CPU" in table
    assert "8 batches traced" in capsys.readouterr().err


def test_a_run_that_ends_before(tmp_path: Path) -> None:
    run = dltk.train(*RECIPE, "train.steps=3", f"runs_dir={tmp_path}")
    assert run.status == "done"
