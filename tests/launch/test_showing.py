"""What a finished run shows in W&B, read back from the files that W&B wrote."""

import base64
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import dltk
from dltk import recipe
from dltk.assemble import build_data, build_task
from dltk.data.datamodule import DataModule
from dltk.launch import showing
from dltk.launch.evaluation import Evaluated, Question, evaluate
from dltk.launch.glimpses import MOST, Glimpses
from dltk.run.folder import RunFolder
from dltk.run.protocol import GREEDY
from dltk.run.wandb_files import records, segments
from dltk.tasks.shards import Shards
from dltk.trainer.make import Place, bare_trainer


def merged(items: Any) -> dict[str, Any]:
    return {(".".join(item.nested_key) or item.key): json.loads(item.value_json) for item in items}


@pytest.mark.cluster
def test_a_classifier_shows_its_predictions_in_wandbs_own_types(tmp_path: Path) -> None:
    settings = ("train.epochs=null", "train.steps=10", "train.validate_every=5", "launch.threads=1", "run=first")
    run = dltk.train("lenet5_digits", *settings, "log.wandb=offline", "log.checkpoint=true", f"runs_dir={tmp_path}")
    (segment,) = segments(run.path / "wandb")
    told = list(records(segment.file))
    config = merged(next(record.run for record in told if record.WhichOneof("record_type") == "run").config.update)
    assert config["run_on"]["topology"] == {"world_size": 1, "nodes": None, "accelerator": "cpu", "devices": []}
    assert config["claim"]["metric"] == "test/top1_error"
    history = [merged(record.history.item) for record in told if record.WhichOneof("record_type") == "history"]
    last = history[-1]
    assert last["step"] == 10
    files = segment.file.parent / "files"
    table = json.loads((files / last["predictions.path"]).read_text())
    assert table["columns"][:3] == ["key", "picture", "said"]
    assert len(table["data"]) == showing.WRONG + showing.RIGHT
    confusion = json.loads((files / last["confusion_table.path"]).read_text())
    summary: dict[str, Any] = {}
    for record in told:
        summary |= merged(record.summary.update)
    evaluation = (run.summary() or {})["evaluation"]
    wrong = sum(count for right, chosen, count in confusion["data"] if right != chosen)
    assert sum(row[2] for row in confusion["data"]) == evaluation["samples"]
    assert 100 * wrong / evaluation["samples"] == pytest.approx(evaluation["metrics"]["test/top1_error"])
    assert summary["test/top1_error"] == pytest.approx(evaluation["metrics"]["test/top1_error"])
    assert summary["claim"].startswith("UNTESTED: test/top1_error ")
    (name,) = last["filters.filenames"]
    assert Image.open(files / name).size == (last["filters.width"], last["filters.height"])
    (model,) = (record.artifact for record in told if record.artifact.type == "model")
    assert {entry.path for entry in model.manifest.contents} == {"manifest.json", "state.pt"}
    # After each validation: the same samples, what was taken for what in all of the part, and the filters.
    glimpses = [line for line in history if "val/predictions.path" in line]
    assert [line["step"] for line in glimpses] == [5, 10]
    seen = [json.loads((files / line["val/predictions.path"]).read_text())["data"] for line in glimpses]
    assert [len(rows) for rows in seen] == [8, 8]
    assert [row[0] for row in seen[0]] == [row[0] for row in seen[1]]
    assert [row[3] for row in seen[0]] != [row[3] for row in seen[1]], "the network has learnt between them"
    errors = {line["step"]: line["val/top1_error"] for line in history if "val/top1_error" in line}
    for line in glimpses:
        counts = json.loads((files / line["val/confusion_table.path"]).read_text())["data"]
        wrong = sum(count for right, chosen, count in counts if right != chosen)
        assert 100 * wrong / sum(row[2] for row in counts) == pytest.approx(errors[line["step"]])
        (name,) = line["val/filters.filenames"]
        assert (files / name).is_file()


class Told:
    """A tracker that keeps what it is shown."""

    mode = "offline"

    def __init__(self) -> None:
        self.shown: list[tuple[int, list[str]]] = []

    def show(self, step: int, things: list[Any]) -> None:
        self.shown.append((step, [thing["name"] for thing in things]))


def test_a_long_run_shows_few_of_its_validations() -> None:
    data, told = SimpleNamespace(total_steps=400, part=lambda split: ()), Told()
    glimpses = Glimpses(data, told, 8, print)  # type: ignore[arg-type]
    trainer = SimpleNamespace(state=SimpleNamespace(fn="fit"), world_size=1)
    for step in range(2, 401, 2):
        task = SimpleNamespace(step=step, shards=Shards(), model=nn.Conv2d(1, 6, 5))
        glimpses.on_validation_start(trainer, task)  # type: ignore[arg-type]
        glimpses.on_validation_end(trainer, task)  # type: ignore[arg-type]
    assert [step for step, _ in told.shown] == list(range(2, 401, 10))
    assert all(names == ["val/filters"] for _, names in told.shown)
    trainer.state.fn = "test"
    glimpses.on_validation_end(trainer, SimpleNamespace(step=900))  # type: ignore[arg-type]
    assert len(told.shown) == MOST


def untrained(folder: Path, name: str, *settings: str) -> tuple[RunFolder, DataModule, Evaluated]:
    """A run of a recipe that has just begun, and its evaluation."""
    wanted = recipe.load(name, *settings)
    run = RunFolder.create(folder, "small", wanted.settings, run="a", text=recipe.freeze(wanted))
    task, data = build_task(wanted.settings), build_data(wanted.settings)
    task.require(data.part("train"))
    state: dict[str, Any] = {"state_dict": task.state_dict()}
    task.trainer = bare_trainer(Place(0, 1, "cpu"))
    task.on_save_checkpoint(state)
    run.checkpoints.write(0, state)
    question = Question("test", "last", GREEDY)
    return run, data, evaluate(run, Place(0, 1, "cpu"), wanted.settings, question, data=data)


def test_a_translator_shows_sentences_and_where_it_looked(tmp_path: Path) -> None:
    sizes = ("model.hidden_size=12", "model.embedding_size=8", "data.pairs=300")
    run, data, found = untrained(tmp_path, "rnnsearch_number_names", *sizes)
    table, alignments = showing.things(run, data, found)
    assert table["columns"] == ["key", "source", "reference", "translation", "exact"]
    assert 0 < len(table["rows"]) <= showing.SENTENCES
    kept = dict(zip(found.samples["keys"], found.samples["references"], strict=True))
    for key, source, reference, *_ in table["rows"]:
        assert reference == kept[key]
        assert source
        assert source != reference
    assert len(alignments["images"]) == showing.ALIGNMENTS
    (first, *_) = alignments["images"]
    width, height = opened(first["png"]).size
    across, _, down = first["caption"].partition(" | down: ")
    assert width == showing.SQUARE * len(across.removeprefix("across: ").split())
    assert height == showing.SQUARE * len(down.split())


def test_a_captioner_shows_pictures_and_where_it_looked(tmp_path: Path) -> None:
    sizes = ("model.narrow=16", "model.hidden_size=12", "model.embedding_size=8", "data.held_out=12", "task.longest=4")
    run, data, found = untrained(tmp_path, "show_attend_tell_shapes", *sizes)
    table, attention, _ = showing.things(run, data, found)
    assert table["columns"] == ["key", "picture", "caption", "references", "exact", "true"]
    assert len(table["rows"]) == 12
    kept = {one.key: one for one in found.task.written}
    for key, picture, caption, references, exact, true in table["rows"]:
        assert (caption, references.split("\n"), exact) == (kept[key].hypothesis, list(kept[key].references), False)
        assert true == kept[key].verdict.true
        assert opened(picture["png"]).size == (64, 64)
    assert len(attention["images"]) == showing.ALIGNMENTS
    for image, row in zip(attention["images"], table["rows"], strict=False):
        words = image["caption"].split()
        assert " ".join(word for word in words if word != "<end>") == row[2]
        assert opened(image["png"]).size == ((1 + len(words)) * 64, 64)
    assert showing.written(found.task, data.part("test"), "test", 3)[0]["rows"] == table["rows"][:3]


def test_a_transcriber_shows_transcripts(tmp_path: Path) -> None:
    run, data, found = untrained(tmp_path, "blstm_tones", "model.hidden_size=4", "data.utterances=20")
    (table,) = showing.things(run, data, found)
    assert table["columns"] == ["key", "reference", "transcript", "exact"]
    assert [row[0] for row in table["rows"]] == [one.key for one in found.task.transcribed]
    assert all(set(row[1].split()) <= set(data.part("test").classes) for row in table["rows"])
    found.task.transcribed[1:] = [one._replace(exact=True) for one in found.task.transcribed[1:]][::-1]
    shown = showing.written(found.task, data.part("test"), "test", 9, worst=True)[0]["rows"]
    assert [row[3] for row in shown] == [False, True, True, True]
    found.task.transcribed.clear()
    assert showing.written(found.task, data.part("test"), "test", 9) == []


def opened(png: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(png)))


def test_filters_are_those_of_a_layer_that_looks_at_pixels() -> None:
    grey, features = nn.Conv2d(1, 6, 5), nn.Conv2d(8, 6, 5)
    found = showing.first_filters(nn.Sequential(grey, features))
    assert found is not None
    assert torch.equal(found, grey.weight)
    assert showing.first_filters(nn.Sequential(features)) is None
    assert showing.first_filters(nn.Sequential(nn.Linear(4, 4))) is None
    many = showing.first_filters(nn.Conv2d(3, 500, 3))
    assert many is not None
    assert len(many) == showing.FILTERS


@pytest.mark.parametrize(
    ("shape", "size"),
    [((1, 8, 8), (64, 64)), ((3, 28, 28), (56, 56)), ((3, 300, 200), (85, 128)), ((5, 70, 70), (70, 70))],
)
def test_pictures_are_small_and_sharp(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    picture = opened(showing._png(image))
    assert picture.size == size
    if size[0] > shape[2]:
        factor = size[0] // shape[2]
        assert np.asarray(picture)[::factor, ::factor].reshape(-1).tolist() == (
            np.moveaxis(image, 0, 2).reshape(-1).tolist()
        )
