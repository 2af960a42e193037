"""`train --profile` leaves a trace that a viewer opens, and says what took the time."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

import dltk
from dltk.trainer import shares

RECIPE = ["linear_digits", "train.epochs=null", "log.wandb=disabled", "log.profile=true"]


def shown(run: Any) -> dict[str, list[float]]:
    """The shares printed, by part and layer."""
    text = (run.path / "profile" / "shares-0.txt").read_text()
    rows = (re.split(r"\s{2,}", line) for line in text.splitlines())
    return {
        name: [float(cell.removesuffix(" %")) for cell in cells] for name, *cells in rows if cells and "%" in cells[-1]
    }


def test_a_few_steps_are_traced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = dltk.train(*RECIPE, "train.steps=30", f"runs_dir={tmp_path}")
    trace = json.loads((run.path / "profile" / "trace-0.json").read_text())
    names = {event.get("name") for event in trace["traceEvents"]}
    assert {"aten::addmm", "part: forward", "layer: Linear"} <= names
    assert "ProfilerStep#7" in names, "the first steps are not like the others"
    assert "ProfilerStep#15" not in names
    operations = (run.path / "profile" / "operations-0.txt").read_text()
    assert "aten::" in operations
    assert "Self CPU" in operations
    said = capsys.readouterr().err
    assert "8 batches traced" in said
    assert (run.path / "profile" / "shares-0.txt").read_text().splitlines()[0] in said


def test_a_run_that_ends_before(tmp_path: Path) -> None:
    run = dltk.train(*RECIPE, "train.steps=3", f"runs_dir={tmp_path}")
    assert run.status == "done"


PARTS = ("data wait", "forward", "backward", "optimizer", "logging")


def test_parts_cover_the_step_and_layers_the_network(tmp_path: Path) -> None:
    long = ["train.steps=20", "batch.global=128", "train.validate_every=20"]
    run = dltk.train("lenet5_digits", *RECIPE[1:], *long, f"runs_dir={tmp_path}")
    found = shown(run)
    parts = sum(found[part][0] for part in PARTS)
    assert 80 < parts <= 100.5
    assert found["the rest"][0] == pytest.approx(100 - parts, abs=0.3)
    layers = {name: cells for name, cells in found.items() if len(cells) == 3}
    assert sum(cells[0] for cells in layers.values()) == pytest.approx(100, abs=2)
    assert all(cells[0] == pytest.approx(cells[1] + cells[2], abs=0.2) for cells in layers.values())
    assert layers["c3"][1] > 0
    assert layers["c3"][2] > 0


class Uneven(nn.Module):
    """One layer that takes nearly all of the time, and a few that take hardly any."""

    def __init__(self) -> None:
        super().__init__()
        self.small, self.large, self.last = nn.Linear(8, 800), nn.Linear(800, 800), nn.Linear(800, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.large(torch.relu(self.small(x)))))


def test_the_layer_that_takes_the_time_is_named_in_both_passes() -> None:
    net, x = Uneven(), torch.randn(512, 8)
    net(x).sum().backward()
    ranges = shares.LayerRanges(net)
    with profile(activities=[ProfilerActivity.CPU]) as traced:
        net(x).sum().backward()
    ranges.remove()
    found = shares.by_layer(list(traced.events()), on_device=False)
    first, spent = next(iter(found.items()))
    whole = sum(each.both for each in found.values())
    assert first == "large"
    assert spent.both > 0.6 * whole
    assert spent.backward > spent.forward > 0, "its backward pass is two products"
    assert set(found) == {"Uneven", "small", "large", "last"}
    with profile(activities=[ProfilerActivity.CPU]) as traced:
        net(x)
    assert shares.by_layer(list(traced.events()), on_device=False) == {}, "the hooks are gone"


def multiply() -> None:
    torch.mm(torch.ones(300, 300), torch.ones(300, 300))


def test_a_part_within_another_counts_once() -> None:
    step, outer, inner = (record_function(name) for name in (shares.STEP + "0", shares.PART + "a", shares.PART + "b"))
    with profile(activities=[ProfilerActivity.CPU]) as traced, step, outer:
        multiply()
        with inner:
            multiply()
    events = list(traced.events())
    found = shares.by_part(events)
    assert set(found) == {"a", "b"}
    assert min(found.values()) > 0
    assert sum(found.values()) <= shares.in_steps(events)


def test_two_processes_talk_beside_the_computation(tmp_path: Path) -> None:
    run = dltk.train(*RECIPE, "train.steps=20", "launch.devices=2", f"runs_dir={tmp_path}")
    assert 0 < shown(run)["beside: communication"][0] <= 100
