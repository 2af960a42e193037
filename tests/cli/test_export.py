"""A run's weights as files for other programs: what is written answers as the network does, or is not written."""

import hashlib
import json
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dltk import assemble, recipe
from dltk.launch.exporting import safetensors_file
from dltk.run.folder import RunFolder
from tests.cli.conftest import Command, Trained


def made(path: Path, *sources: Any, **state: Any) -> RunFolder:
    """A run folder with a checkpoint of step 5 of a recipe's first weights."""
    wanted = recipe.load(*sources)
    folder = RunFolder.create(path, "made", wanted.settings, run="run", text=recipe.freeze(wanted))
    task = assemble.build_task(folder.recipe, restored=True)
    folder.checkpoints.write(5, {"state_dict": task.state_dict(), **state}, {"metric": {"val/top1_error": 12.0}})
    return folder


def leavings(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_safetensors_and_what_they_are(dltk: Command, trained: Trained, tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    said = dltk("checkpoint", "export", f"{trained.path}@newest", file)
    assert said.code == 0, said.err
    assert "greatest difference to the network's own answers: 0 (allowed 0)" in said.out
    about = json.loads((tmp_path / "net.safetensors.json").read_text())
    data = file.read_bytes()
    assert (about["format"], about["sha256"], about["bytes"]) == (1, hashlib.sha256(data).hexdigest(), len(data))
    run = RunFolder.open(trained.path)
    assert (about["network"], about["model"]) == ("mlp", run.recipe["model"])
    assert about["classes"] == [str(digit) for digit in range(10)]
    newest = run.checkpoints.newest()
    assert newest is not None
    manifest = run.checkpoints.manifest(newest)
    assert about["source"] == {"run": run.name, "step": 400, "sha256": manifest["files"]["state.pt"]["sha256"]}
    assert about["metrics"]["val/top1_error"] == manifest["metric"]["val/top1_error"]
    weights = assemble.load(run, "newest").model.state_dict()
    found = load_file(file)
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in found)
    assert leavings(tmp_path) == ["net.safetensors", "net.safetensors.json"]


def test_a_recipe_begins_with_an_exported_file(dltk: Command, trained: Trained, tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    assert dltk("checkpoint", "export", trained.path, file).code == 0
    frozen = trained.path / "recipe.yaml"
    notes: list[str] = []
    settings = {**recipe.thaw(frozen).settings, "init": [{"from": str(file), "map": None, "freeze": None}]}
    task = assemble.build_task(settings, note=notes.append)
    wanted = assemble.load(trained.path).model.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in task.model.state_dict().items())
    (line,) = notes
    assert line == f"init: {len(wanted)} tensors from {file} (sha256 {_sha256(file)[:12]})"


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_average_is_exported_where_evaluations_use_it(dltk: Command, tmp_path: Path) -> None:
    sources = ("mlp_digits", "train.ema=0.9", "model.hidden_sizes=[4]")
    task = assemble.build_task(recipe.load(*sources).settings)
    average = {name: torch.full_like(value, 0.25) for name, value in task.model.named_parameters()}
    folder = made(tmp_path / "runs", *sources, callbacks={"Average": {"average": average}})
    said = dltk("checkpoint", "export", f"{folder.path}@5", tmp_path / "a.safetensors", "--json")
    assert said.code == 0, said.err
    assert said.json["weights"] == "their running average (train.ema=0.9), as in every evaluation"
    assert all((value == 0.25).all() for value in load_file(tmp_path / "a.safetensors").values())


def test_translators_go_into_safetensors_and_not_into_onnx(dltk: Command, tmp_path: Path) -> None:
    folder = made(tmp_path / "runs", "rnnsearch_number_names", "model.hidden_size=12", "model.embedding_size=8")
    said = dltk("checkpoint", "export", folder.path, tmp_path / "t.safetensors", "--json")
    assert said.code == 0, said.err
    assert said.json["difference"] == 0
    pytest.importorskip("onnxscript", reason="ONNX needs the extra onnx")
    said = dltk("checkpoint", "export", folder.path, tmp_path / "t.onnx")
    assert said.code == 2
    assert said.err == (
        "onnx: Translation writes its answer word by word, which is no single network. Export it as NAME.safetensors.\n"
    )
    assert leavings(tmp_path) == ["runs", "t.safetensors", "t.safetensors.json"]


SMALL = {
    "lenet5_digits": [],
    "lenet1_mnist5000": [],
    "mlp_digits": [],
    "alexnet_icons": ["model.hidden_sizes=[24, 16]"],
    "googlenet_icons": [],
    "vgg16_icons": ["init=[]"],
    "overfeat_fast_icons": [],
}


@pytest.mark.parametrize("name", SMALL)
def test_onnx_answers_as_the_network_for_any_batch(dltk: Command, tmp_path: Path, name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX needs the extra onnx")
    folder = made(tmp_path / "runs", name, *SMALL[name])
    file = tmp_path / "net.onnx"
    said = dltk("checkpoint", "export", folder.path, file, "--json")
    assert said.code == 0, said.err
    assert 0 <= said.json["difference"] <= said.json["allowed"]
    print(f"{name}: greatest difference {said.json['difference']:.2g}, allowed {said.json['allowed']:.2g}")
    shape = said.json["inputs"]["images"]["shape"][1:]
    task = assemble.load(folder)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for count in (1, 5):
        images = torch.randint(0, 256, (count, *shape), dtype=torch.uint8)
        (scores,) = session.run(None, {"images": images.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(scores, task(images).numpy(), atol=said.json["allowed"])
    assert leavings(tmp_path) == ["net.onnx", "net.onnx.json", "runs"]


def test_missing_packages_are_one_line(
    dltk: Command, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dltk.launch.exporting.onnx_file.find_spec", lambda name: None)
    said = dltk("checkpoint", "export", trained.path, tmp_path / "net.onnx")
    assert said.code == 2
    assert said.err == "onnx, onnxscript, onnxruntime: are not installed. Install the extra: dltk[onnx].\n"
    assert leavings(tmp_path) == []


def test_a_file_that_answers_otherwise_is_not_kept(
    dltk: Command, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(tensors: dict[str, torch.Tensor]) -> bytes:
        name = next(iter(tensors))
        save_file({**tensors, name: tensors[name] + 0.5}, tmp_path / "spoilt")
        data = (tmp_path / "spoilt").read_bytes()
        (tmp_path / "spoilt").unlink()
        return data

    monkeypatch.setattr(safetensors_file.safetensors.torch, "save", spoilt)
    said = dltk("checkpoint", "export", trained.path, tmp_path / "net.safetensors")
    assert said.code == 1
    assert "not written: greatest difference to the network's own answers: " in said.out
    assert leavings(tmp_path) == []


def test_nothing_is_replaced_unless_asked(dltk: Command, trained: Trained, tmp_path: Path) -> None:
    file, text = tmp_path / "net.safetensors", tmp_path / "net.safetensors.json"
    for there in (file, text):
        there.write_text("mine")
        said = dltk("checkpoint", "export", trained.path, file)
        assert said.code == 2
        assert said.err == f"{there}: is there already. Choose another name, or replace it with --force.\n"
        assert there.read_text() == "mine"
        there.unlink()
    file.write_text("mine")
    assert dltk("checkpoint", "export", trained.path, file, "--force").code == 0
    assert json.loads(text.read_text())["sha256"] == _sha256(file)


@pytest.fixture
def bounded() -> Iterator[None]:
    """No file may become larger than ten thousand bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing(dltk: Command, trained: Trained, tmp_path: Path, bounded: None) -> None:
    file = tmp_path / "net.safetensors"
    said = dltk("checkpoint", "export", trained.path, file)
    assert said.code == 2
    assert said.err == (
        f"{file}: cannot write: file too large. Make room or mend its permissions, or choose another place.\n"
    )
    assert leavings(tmp_path) == []


@pytest.mark.parametrize(("which", "file", "told"), [
    ("{run}@7", "n.safetensors", "step 7: no such checkpoint. There are: "),
    ("{run}@worst", "n.safetensors", "'worst' is none of best, last or a step"),
    ("{run}", "n.pt", "its ending is '.pt'. Name it NAME.safetensors or NAME.onnx."),
    ("{run}", "none/n.onnx", "there is no folder "),
    ("{run}x", "n.onnx", "no such folder"),
])  # fmt: skip
def test_mistakes(dltk: Command, trained: Trained, tmp_path: Path, which: str, file: str, told: str) -> None:
    said = dltk("checkpoint", "export", which.format(run=trained.path), tmp_path / file)
    assert said.code == 2
    assert told in said.err
    assert len(said.err.splitlines()) == 1
    assert leavings(tmp_path) == []


def test_a_damaged_checkpoint_is_not_exported(dltk: Command, trained: Trained, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(trained.path, tmp_path / "copy"))
    newest = list(RunFolder.open(copy).checkpoints.steps().values())[-1]
    state = newest / "state.pt"
    state.write_bytes(state.read_bytes()[:-1] + b"x")
    step = int(newest.name.removeprefix("step-"))
    said = dltk("checkpoint", "export", f"{copy}@{step}", tmp_path / "n.safetensors")
    assert said.code == 2
    assert "is damaged: state.pt is not what was written" in said.err
    assert leavings(tmp_path) == ["copy"]
