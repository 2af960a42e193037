"""What the command line makes of runs that transcribe: training, evaluation by beams, alignments."""

import json
from pathlib import Path

import pytest
import torch

from dltk.assemble import build_data, load
from dltk.run.folder import RunFolder
from tests.cli.conftest import Command

SHORT = [
    "train.epochs=2",
    "train.validate_every=null",
    "data.utterances=60",
    "model.hidden_size=16",
    "log.wandb=disabled",
]


@pytest.fixture
def runs(dltk: Command, signals: None, tmp_path: Path) -> dict[str, Path]:
    """A network that learns by CTC, and a transducer, each trained for some steps."""
    for recipe in ("blstm_tones", "transducer_tones"):
        said = dltk("train", recipe, *SHORT, f"runs_dir={tmp_path / 'runs'}", "run=short")
        assert said.code == 0, said.err
    return {name: tmp_path / "runs" / f"{name}_tones" / "short" for name in ("blstm", "transducer")}


def test_they_are_evaluated_by_beams_and_their_transcripts_kept(dltk: Command, runs: dict[str, Path]) -> None:
    for run in runs.values():
        for protocol in ("greedy", "beam=3"):
            said = dltk("evaluate", run, "--protocol", protocol, "--json")
            assert said.code == 0, said.err
            assert said.json["protocol"] == protocol
            assert said.json["samples"] == 12
            kept = [json.loads(line) for line in Path(said.json["predictions"]).read_text().splitlines()]
            assert [row["key"] for row in kept] == sorted(f"test/{number}" for number in range(12))
            assert set("".join(row["reference"] for row in kept)) <= set("ABCDEFGH ")
            right = sum(row["hypothesis"] == row["reference"] for row in kept)
            assert said.json["metrics"]["test/exact_match"] == pytest.approx(100 * right / 12)
    said = dltk("evaluate", runs["blstm"], "--protocol", "beam")
    assert said.code == 2
    assert "--protocol: beam names no way to transcribe. Write greedy, or beam with a width" in said.err
    said = dltk("predict", runs["blstm"], "some.wav")
    assert said.code == 2
    assert "predict: transcribes the utterances of its data" in said.err


def test_when_labels_are_heard_is_drawn(dltk: Command, runs: dict[str, Path], tmp_path: Path) -> None:
    to = tmp_path / "heard.svg"
    said = dltk("draw", runs["blstm"], "alignment", "test/3", "--to", to, "--json")
    assert said.code == 0, said.err
    assert to.read_text().startswith("<?xml")
    folder = RunFolder.open(runs["blstm"])
    sample = build_data(folder.recipe).part("test")[3]
    weights = torch.tensor(said.json["weights"])
    assert weights.shape == (len(sample["target"]), sample["length"])
    assert said.json["labels"] == ["ABCDEFGH"[label - 1] for label in sample["target"]]
    assert float(weights.sum(0).max()) <= 1 + 1e-4
    # Each label is heard for one frame at least, and in the order of the transcript.
    assert (weights.sum(1) > 1 - 1e-4).all()
    middles = (weights * torch.arange(sample["length"])).sum(1) / weights.sum(1)
    assert (middles.diff() > 0).all()
    with torch.no_grad():
        frames = torch.from_numpy(sample["frames"])[None]
        (labels,) = load(folder).transcribe(frames, torch.tensor([sample["length"]]))  # type: ignore[operator]
    assert said.json["transcript"] == " ".join("ABCDEFGH"[label - 1] for label in labels)
    for run, key, says in (
        (runs["blstm"], "test/99", "there is no utterance 'test/99'"),
        (runs["transducer"], "test/3", "BLSTMTransducer writes no labels by CTC"),
    ):
        said = dltk("draw", run, "alignment", key)
        assert said.code == 2
        assert says in said.err
