"""A captioner from the command line: trained, evaluated, asked about pictures, and where it looks is drawn."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dltk.cli.attention import draw_attention
from dltk.data.shape_scenes import ShapeScenes
from dltk.launch.described import Described
from tests.cli.conftest import Command

QUICK = ["train.steps=2", "train.validate_every=2", "batch.global=8", "data.held_out=12", "launch.accelerator=cpu"]
SMALL = ["model.narrow=16", "model.hidden_size=12", "model.embedding_size=8", "launch.threads=1", "log.wandb=disabled"]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "scene.png"
    Image.fromarray(ShapeScenes("test")[0]["image"].permute(1, 2, 0).numpy()).resize((64, 48)).save(path)
    return path


@pytest.mark.usefixtures("signals")
def test_from_training_to_a_picture_of_where_it_looks(dltk: Command, tmp_path: Path, scene: Path) -> None:
    run = tmp_path / "runs" / "show_attend_tell_shapes" / "first"
    place = [f"runs_dir={tmp_path / 'runs'}", "run=first"]
    assert dltk("train", "show_attend_tell_shapes", *QUICK, *SMALL, *place).code == 0
    found = dltk("evaluate", run, "--protocol", "beam=3", "--split", "val", "--json").json
    assert (found["samples"], found["protocol"]) == (12, "beam=3")
    assert {"val/truth", "val/bleu4", "val/attention_by_chance"} - set(found["metrics"]) <= {"val/attention_by_chance"}
    assert set(found["signatures"]) == {"bleu1", "bleu2", "bleu3", "bleu4", "cider"}
    rows = (run / "predictions" / "val-beam=3.jsonl").read_text().splitlines()
    assert len(rows) == 12
    refused = dltk("evaluate", run, "--protocol", "multibleu_tok")
    assert refused.code == 2
    assert "multibleu_tok is of translations, and this is a caption" in refused.err
    refused = dltk("evaluate", run, "--protocol", "ten_crop")
    assert refused.code == 2
    assert "ten_crop is of classes of pictures, and this is a caption" in refused.err
    (answer,) = dltk("predict", run, scene, "--beam", "3", "--n-best", "2", "--json").json
    assert len(answer["captions"]) == 2
    assert answer["captions"][0]["score"] >= answer["captions"][1]["score"]
    assert answer["prepared"] == ["64 × 48 pixels", "middle resized to 32 × 32"]
    drawn = dltk("draw", run, "attention", scene, "--json").json
    assert Path(drawn["file"]) == run / "attention-scene.png"
    assert Image.open(drawn["file"]).size[0] > 300
    assert np.shape(drawn["weights"]) == (len(drawn["words"]), 8, 8)
    assert np.allclose(np.sum(drawn["weights"], (1, 2)), 1, atol=1e-4)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    for arguments, told in (
        (["predict", run, text], "text.png"),
        (["predict", run], "FILES: are missing. Give pictures."),
        (["predict", run, scene, "--n-best", "2"], "--n-best: 2 of a beam of 1. Set --beam to at least 2."),
        (["draw", run, "attention"], "draw … attention: needs the IMAGE to describe."),
        (["draw", run, "attention", tmp_path / "nowhere.png"], "nowhere.png"),
        (["draw", run, "alignment", "a b"], "Captioning does not translate"),
    ):
        said = dltk(*arguments)
        assert said.code == 2, said
        assert told in said.err
        assert len(said.err.strip().splitlines()) == 1


@pytest.mark.usefixtures("signals")
def test_a_network_without_attention_has_none_to_draw(dltk: Command, tmp_path: Path, scene: Path) -> None:
    run = tmp_path / "runs" / "show_and_tell_shapes" / "first"
    place = [f"runs_dir={tmp_path / 'runs'}", "run=first"]
    assert dltk("train", "show_and_tell_shapes", *QUICK, *SMALL, *place).code == 0
    said = dltk("draw", run, "attention", scene)
    assert said.code == 2
    assert "'show_and_tell' has no attention, it reads a picture into one vector" in said.err
    assert dltk("predict", run, scene).code == 0


def test_a_panel_is_whitest_where_most_was_looked_at() -> None:
    weights = np.zeros((2, 4, 4), np.float32)
    weights[0, 1, 2] = weights[1, 3, 0] = 1
    image = ShapeScenes("test")[0]["image"] * 0
    sheet = draw_attention(Described(["one", "two"], weights, "one two", 0.0), image, "title")
    titles = [axes.get_title() for axes in sheet.axes]
    assert titles == ["", "one", "two"]
    panels = [axes.get_images()[0].get_array() for axes in sheet.axes]
    assert float(panels[0].max()) == 0
    for panel, (row, column) in zip(panels[1:], ((1, 2), (3, 0)), strict=True):
        light = np.asarray(panel)[..., 0]
        assert light.max() == pytest.approx(0.5)
        brightest = light.reshape(4, 8, 4, 8).mean((1, 3))
        assert np.unravel_index(brightest.argmax(), (4, 4)) == (row, column)
