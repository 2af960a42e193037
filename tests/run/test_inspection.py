"""What is in a checkpoint, and what is damaged, without loading what is."""

import os
from pathlib import Path

import pytest
import torch

from dltk.run.checkpoint import Checkpoints
from dltk.run.inspection import inspect


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    made, weights = Checkpoints(tmp_path), torch.zeros(1000)
    state = {
        "state_dict": {"model.w": weights, "model.tied": weights},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(1000), "exp_avg_sq": torch.zeros(1000)}}}],
        "callbacks": {"Average": {"average": {"w": torch.zeros(1000, dtype=torch.float64)}}},
        "elsewhere": torch.zeros(10),
    }
    made.write(7, state, {"epoch": 1, "samples": 56, "world_size": 2, "strategy": "ddp", "metric": {"val/loss": 0.5}})
    return made


def test_parts_are_weighed_and_shared_memory_once(checkpoints: Checkpoints) -> None:
    path = checkpoints.at(7)
    found = inspect(checkpoints, path, tensors=True)
    size = (path / "state.pt").stat().st_size
    parts = {"weights": 4000, "optimizer": 8000, "average": 8000}
    assert found["parts"] == {**parts, "other": size - sum(parts.values())}
    assert {key: found[key] for key in ("step", "epoch", "samples", "world_size", "strategy")} == {
        "step": 7, "epoch": 1, "samples": 56, "world_size": 2, "strategy": "ddp",
    }  # fmt: skip
    assert found["metrics"] == {"val/loss": 0.5}
    assert found["damage"] is None
    assert {"name": "callbacks.Average.average.w", "shape": [1000], "dtype": "float64", "bytes": 8000} in found[
        "tensors"
    ]
    assert len(found["tensors"]) == 6


def test_a_damaged_one_tells_what_its_manifest_says_and_is_not_loaded(checkpoints: Checkpoints) -> None:
    path = checkpoints.at(7)
    os.truncate(path / "state.pt", 5000)
    found = inspect(checkpoints, path, tensors=True)
    assert "state.pt has 5000 bytes, manifest says" in found["damage"]
    assert (found["parts"], found["tensors"], found["samples"]) == (None, None, 56)


def test_a_manifest_of_another_step_is_damage(checkpoints: Checkpoints) -> None:
    moved = checkpoints.at(7).rename(checkpoints.path / "step-00000009")
    assert inspect(checkpoints, moved)["damage"] == "its manifest is of step 7"
    assert Checkpoints(checkpoints.path).newest() is None
