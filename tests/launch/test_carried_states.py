"""Networks that read text, counts and sequences on two processes: one process's metrics, and nothing lost at a kill."""

import json
from pathlib import Path
from typing import Any

import pytest

from dltk.run.folder import RunFolder
from tests.launch.conftest import Workshop, assert_equal_to_the_bit, curve

TEXT = {"name": "text", "folder": "counted", "vocab_size": 40, "lanes": 4, "unroll": 8, "context": 4}
LETTERS = {**TEXT, "tokens": "characters", "unroll": 12, "burn_in": 6}
KINDS = {"low": ["w1", "w2", "w3"], "high": ["w21", "w22", "w23"]}
CASES: dict[str, dict[str, Any]] = {
    "rnnlm": {"model": {"vocab_size": 40, "hidden_size": 8, "classes": 5}, "data": TEXT},
    "mrnn": {"model": {"vocab_size": 40, "hidden_size": 8, "factors": 6}, "data": LETTERS},
    "mrnn, carried": {
        "model": {"vocab_size": 40, "hidden_size": 8, "factors": 6},
        "data": {**LETTERS, "burn_in": None},
    },
    "nplm": {
        "model": {"vocab_size": 40, "order": 3, "embedding_size": 4, "hidden_size": 6, "direct": True},
        "data": {**TEXT, "lanes": 5},  # a lane more for one process than for the other
        "batch": {"global": 5},
    },
    "cslm": {
        "model": {"vocab_size": 40, "order": 3, "embedding_size": 4, "hidden_size": 6, "shortlist": 20},
        "data": TEXT,
    },
    "skipgram": {
        "model": {"vocab_size": 40, "size": 6},
        "task": {"name": "word_vectors", "window": 3, "subsample": 0.1, "shared": 8, "kinds": KINDS},
        "data": {"name": "lines", "folder": "counted", "vocab_size": 40, "min_count": 2},
        "batch": {"global": 1000, "tokens": 60},
    },
    "skipgram, hierarchical": {
        "model": {"vocab_size": 40, "size": 6, "output": "hierarchical"},
        "task": {"name": "word_vectors", "window": 3, "subsample": 0.0},
        "data": {"name": "lines", "folder": "counted", "vocab_size": 40, "min_count": 2},
        "batch": {"global": 1000, "tokens": 60},
    },
    "hrnn": {
        "model": {"input_size": 1, "output_size": 1, "hidden_size": 6, "periods": [1, 2, 4]},
        "task": {"tolerance": 1.0},
        "data": {"name": "two_sequence", "steps": 12, "sequences": 60, "held_out": 41},
        "batch": {"global": 5},
        "checkpoint": {"monitor": "val/loss"},
    },
    "rnn": {
        "model": {"input_size": 8, "output_size": 4, "hidden_size": 6},
        "task": {"loss": "cross_entropy", "vanishing": 1.0},
        "data": {"name": "temporal_order", "steps": 20, "held_out": 41},
        "batch": {"global": 5},
        "checkpoint": {"monitor": "val/loss"},
    },
}
STEPS, KILLED = 12, 8


@pytest.fixture(scope="module")
def texts(workshop: Workshop) -> Path:
    """A text of few words whose lines are of several lengths."""
    (workshop.folder / "counted").mkdir()
    for part, count in (("train", 120), ("val", 15), ("test", 17)):
        lines = [" ".join(f"w{(7 * line + word) % 25}" for word in range(2 + line % 4)) for line in range(count)]
        (workshop.folder / "counted" / f"{part}.txt").write_text("\n".join(lines) + "\n")
    return workshop.folder


@pytest.mark.cluster
@pytest.mark.parametrize("case", CASES)
def test_two_processes_measure_what_one_does_and_a_kill_loses_nothing(
    workshop: Workshop, texts: Path, case: str
) -> None:
    name = case.replace(", ", "-")
    recipe = {
        "optimizer": {"name": "adam", "lr": 0.01},
        "batch": {"global": 4},
        "train": {"steps": STEPS, "validate_every": 6},
        "checkpoint": {"monitor": "val/loss", "every_steps": 5},
        "log": {"every_steps": 1, "wandb": "disabled"},
        **CASES[case],
    }
    recipe["model"] = {"architecture": case.partition(",")[0], **recipe["model"]}
    (texts / f"{name}.yaml").write_text(json.dumps(recipe))
    train = ("train", f"{name}.yaml", f"data_dir={texts}", "launch.accelerator=cpu")
    two = "launch.devices=2"
    fault = f"train.callbacks=[{{name: 'faults:KillAt', steps: [{KILLED}], marks: '{workshop.marks(name)}', rank: 1}}]"
    workshop.dltk(*train, "run=one")
    workshop.dltk(*train, "run=two", two)
    workshop.dltk(*train, "run=killed", two, fault, expect=1)
    workshop.dltk(*train, "run=killed", two, fault)
    one, whole, killed = (RunFolder(texts / "runs" / name / run) for run in ("one", "two", "killed"))

    alone, together, resumed = (run.summary()["metrics"] for run in (one, whole, killed))
    measured = {key for key in alone if key.startswith(("val/", "test/"))}
    assert {"val/loss", "test/loss"} < measured
    assert {key: together[key] for key in measured} == pytest.approx({key: alone[key] for key in measured}, rel=1e-4)
    assert {key: resumed[key] for key in measured} == {key: together[key] for key in measured}
    for metric, near in (("train/loss", 1e-4), ("data/digest", 0)):
        curves = [curve(run.path, metric) for run in (one, whole, killed)]
        assert len(curves[0]) == STEPS
        assert curves[1] == (pytest.approx(curves[0], rel=near) if near else curves[0])
        assert curves[2] == curves[1]

    states = [run.checkpoints.load(run.checkpoints.newest()) for run in (killed, whole)]
    for part in ("state_dict", "optimizer_states", "lanes"):
        assert_equal_to_the_bit(*(state.get(part) for state in states), part)
    assert ("lanes" in states[0]) == (recipe["data"]["name"] == "text")
