"""Published weights become a run, and checkpoints are read again."""

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image

from dltk import assemble
from dltk.run.folder import RunFolder
from tests.cli.conftest import Command, Trained
from tests.test_layouts import original

CLASSES = 20


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file of timm's VGG-11 with random weights."""
    folder = tmp_path_factory.mktemp("published")
    path = folder / "vgg11.safetensors"
    save_file(original("vgg11", "timm", num_classes=CLASSES).state_dict(), path)
    yield path
    path.unlink()  # half a gigabyte


@pytest.fixture(scope="module")
def imported(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFolder]:
    from dltk.launch.importing import import_weights

    folder = import_weights(str(published), "vgg11", "timm", to=tmp_path_factory.mktemp("runs") / "vgg11" / "timm")
    yield folder
    for path in folder.checkpoints.steps().values():
        (path / "state.pt").unlink()


def test_an_imported_run_reads_bytes_as_the_original_reads_pixels(imported: RunFolder) -> None:
    task = assemble.load(imported)
    images = torch.randint(0, 256, (2, 3, 224, 224), generator=torch.Generator().manual_seed(1)).byte()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        wanted = original("vgg11", "timm", num_classes=CLASSES)((images / 255 - mean) / std)
        got = task(images)
    assert (got - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_it_is_a_run_like_others(dltk: Command, imported: RunFolder, published: Path, tmp_path: Path) -> None:
    assert imported.status == "imported"
    digest = hashlib.sha256(published.read_bytes()).hexdigest()
    assert imported.about["imported"] == {"file": "vgg11.safetensors", "sha256": digest, "layout": "timm"}
    assert imported.recipe["model"] | {"num_classes": CLASSES, "architecture": "vgg11"} == imported.recipe["model"]
    assert (imported.recipe["claim"], imported.recipe["init"]) == (None, [])
    assert [run["status"] for run in dltk("runs", imported.path.parent, "--json").json] == ["imported"]
    picture = tmp_path / "flower.jpg"
    Image.fromarray(load_sample_image("flower.jpg")).save(picture)
    told = dltk("predict", imported.path, picture, "--json").json[0]["top"]
    drawn = dltk("draw", imported.path, "features", picture, "--json", "--to", tmp_path / "f.png").json
    assert [one["class"] for one in drawn["top"]] == [one["class"] for one in told]
    assert drawn["layers"][0]["shape"] == [64, 224, 224]
    assert dltk("checkpoint", "verify", imported.path).code == 0


def test_no_training_goes_on_from_it(dltk: Command, imported: RunFolder) -> None:
    for command in (["train", imported.path], ["train", "--fork", imported.path]):
        said = dltk(*command)
        assert said.code == 2
        assert "holds imported weights alone" in said.err
        assert f"init: [{{from: {imported.path}}}]" in said.err
    assert imported.status == "imported"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--as", "vgg16", "--layout", "timm"], "holds vgg11 in the layout of timm"),
        (["--as", "alexnet", "--layout", "timm"], "theirs is the network of 2014"),
        (["--as", "vgg11", "--layout", "keras"], "--layout: there is no 'keras'. Choices: torchvision, timm."),
        (["--as", "vgg11", "--layout", "timm", "--sha256", "00ff"], "not 00ff. Nothing was read."),
        (
            ["--as", "vgg11", "--layout", "timm", "model.narrow=2"],
            "does not fit vgg11: of another shape: block1",
        ),
    ],
)
def test_mistakes(dltk: Command, published: Path, tmp_path: Path, arguments: list[str], told: str) -> None:
    said = dltk("checkpoint", "import", published, *arguments, f"runs_dir={tmp_path}")
    assert said.code == 2
    assert told in said.err
    assert not list(tmp_path.rglob("recipe.yaml"))


def test_files_that_are_none(dltk: Command, tmp_path: Path) -> None:
    more = ("--as", "vgg11", "--layout", "torchvision")
    assert "no such file" in dltk("checkpoint", "import", tmp_path / "none.pth", *more).err
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    assert "is no whole safetensors file" in dltk("checkpoint", "import", tmp_path / "bad.safetensors", *more).err
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    assert "cannot be loaded as plain data" in dltk("checkpoint", "import", tmp_path / "bad.pth", *more).err


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server of the test's folder."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{one.server_port}"
        one.shutdown()


def test_an_address_needs_its_hash(dltk: Command, web: str, tmp_path: Path) -> None:
    save_file({"features.0.weight": torch.zeros(2)}, tmp_path / "some.safetensors")
    digest = hashlib.sha256((tmp_path / "some.safetensors").read_bytes()).hexdigest()
    command = ("checkpoint", "import", f"{web}/some.safetensors", "--as", "vgg11", "--layout", "torchvision")
    assert "--sha256: is missing" in dltk(*command).err
    assert f"is {digest}, not {'0' * 64}" in dltk(*command, "--sha256", "0" * 64).err
    assert "holds no vgg11" in dltk(*command, "--sha256", digest).err  # it was fetched and read
    assert dltk("checkpoint", "import", "pipe:touch x", *command[3:], "--sha256", digest).code == 2


def test_verify_tells_a_damaged_checkpoint(dltk: Command, trained: Trained, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(trained.path, copy)
    said = dltk("checkpoint", "verify", copy, "--json")
    assert said.code == 0
    assert said.json
    assert all(one["ok"] for one in said.json)
    newest = RunFolder.open(copy).checkpoints.steps()[said.json[-1]["step"]]
    state = newest / "state.pt"
    state.write_bytes(state.read_bytes()[:-1] + b"x")
    said = dltk("checkpoint", "verify", copy)
    assert said.code == 1
    assert "is not what was written" in " ".join(said.out.split())


def test_inspect_lists_all_or_looks_into_one(dltk: Command, trained: Trained, tmp_path: Path) -> None:
    listed = dltk("checkpoint", "inspect", trained.path, "--json")
    assert listed.code == 0
    run = RunFolder.open(trained.path)
    assert [one["step"] for one in listed.json] == list(run.checkpoints.steps())
    newest = listed.json[-1]
    assert (newest["world_size"], newest["strategy"], newest["damage"]) == (1, "single", None)
    per_epoch = 1257 // 32  # steps
    assert (newest["epoch"], newest["samples"]) == (400 // per_epoch, 400 % per_epoch * 32)
    said = dltk("checkpoint", "inspect", f"{trained.path}@newest", "--tensors", "--json")
    assert {key: said.json[key] for key in newest} == newest
    parameters = assemble.load(run).model.state_dict()
    named = {row["name"]: row for row in said.json["tensors"]}
    for name, value in parameters.items():
        row = named[f"state_dict.model.{name}"]
        assert (row["shape"], row["bytes"]) == (list(value.shape), 4 * value.numel())
    assert said.json["parts"]["weights"] == 4 * sum(value.numel() for value in parameters.values())
    assert (
        sum(said.json["parts"].values()) == run.checkpoints.manifest(Path(newest["path"]))["files"]["state.pt"]["bytes"]
    )
    by_folder = dltk("checkpoint", "inspect", newest["path"], "--json")
    assert by_folder.json == newest
    shown = " ".join(dltk("checkpoint", "inspect", newest["path"], "--tensors").out.split())
    assert "as written" in shown
    assert "state_dict.model." in shown
    assert "float32" in shown


def test_inspect_tells_how_one_is_damaged(dltk: Command, trained: Trained, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(trained.path, copy)
    steps = RunFolder.open(copy).checkpoints.steps()
    (steps[400] / "manifest.json").unlink()
    said = dltk("checkpoint", "inspect", f"{copy}@400")
    assert said.code == 1
    assert "damaged: it has no manifest.json" in said.out
    said = dltk("checkpoint", "inspect", copy, "--json")
    assert said.code == 1
    assert [one["damage"] for one in said.json][-1] == "it has no manifest.json"
    assert dltk("checkpoint", "inspect", f"{copy}@newest", "--json").json["step"] == min(steps)
    said = dltk("checkpoint", "inspect", f"{copy}@3")
    assert said.code == 2
    assert "step 3: no such checkpoint. There are: " in said.err


def test_help_says_that_nothing_needs_converting(dltk: Command) -> None:
    said = " ".join(dltk("checkpoint", "--help").out.split())
    assert "resumes under any other as it is: there is nothing to convert" in said
