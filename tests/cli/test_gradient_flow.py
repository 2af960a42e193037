"""`dltk draw RUN gradient_flow`, on runs of networks that read sequences, and what such runs are not for."""

from pathlib import Path

import numpy as np
import pytest

from dltk.assemble import build_data, build_task
from dltk.run.folder import RunFolder
from tests.cli.conftest import Command, Trained

SHORT = ["train.steps=3", "train.validate_every=3", "data.held_out=20", "data.steps=30", "log.wandb=disabled"]


@pytest.fixture
def runs(dltk: Command, signals: None, tmp_path: Path) -> dict[str, Path]:
    """An RNN and an LSTM, each trained for three steps."""
    for recipe in ("rnn_adding", "lstm_adding"):
        said = dltk("train", recipe, *SHORT, "model.hidden_size=8", f"runs_dir={tmp_path / 'runs'}", "run=short")
        assert said.code == 0, said.err
    return {name: tmp_path / "runs" / f"{name}_adding" / "short" for name in ("rnn", "lstm")}


def test_both_are_drawn_with_their_first_weights_and_trained(
    dltk: Command, runs: dict[str, Path], trained: Trained, tmp_path: Path
) -> None:
    to = tmp_path / "flow.svg"
    said = dltk("draw", runs["lstm"], "gradient_flow", runs["rnn"], "--to", to, "--checkpoint", "last", "--json")
    assert said.code == 0, said.err
    assert to.read_text().startswith("<?xml")
    lstm, rnn = said.json["flows"]
    assert [flow["run"] for flow in (lstm, rnn)] == ["lstm_adding/short", "rnn_adding/short"]
    folder = RunFolder.open(runs["lstm"])
    part = build_data(folder.recipe).part("val")
    first = build_task(folder.recipe).eval().gradient_flow(part.batch(np.arange(20)))  # type: ignore[operator]
    assert lstm["first"] == pytest.approx(first.tolist())
    assert lstm["first"] != lstm["trained"]
    shares = {flow["run"]: flow["first"][0] / flow["first"][-1] for flow in (lstm, rnn)}
    assert shares["rnn_adding/short"] < 1e-4 < 1e-2 < shares["lstm_adding/short"]

    said = dltk("draw", runs["lstm"], "gradient_flow", trained.path)
    assert said.code == 2
    assert "mlp: reads no sequences step by step. Draw a run of a recurrent network" in said.err


def test_they_are_evaluated_but_give_no_classes(dltk: Command, runs: dict[str, Path]) -> None:
    said = dltk("evaluate", runs["rnn"], "--json")
    assert said.code == 0, said.err
    assert said.json["samples"] == 20
    assert 0.01 < said.json["metrics"]["test/loss"] < 1
    with np.load(said.json["predictions"]) as kept:
        off = np.abs(kept["scores"] - kept["targets"])[:, 0, 0]
    assert said.json["metrics"]["test/loss"] == pytest.approx(float((off**2).mean()), rel=1e-5)
    assert said.json["metrics"]["test/sequence_error"] == pytest.approx(100 * float((off >= 0.04).mean()))
    said = dltk("evaluate", runs["rnn"], "--report")
    assert said.code == 2
    assert "--report: is of classes, and 'sequences' gives none. Leave it out" in said.err
    said = dltk("predict", runs["rnn"], "some.png")
    assert said.code == 2
    assert "predict: reads sequences of numbers, and FILES are pictures, text or recordings" in said.err
