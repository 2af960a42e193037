"""The library without the command line: a bare Lightning Trainer, networks and data of other packages."""

import importlib
import textwrap
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import nn

import dltk
from dltk.errors import LaunchError, RecipeError

QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}
DIGITS = {
    "model": {"architecture": "linear", "num_classes": 10, "image": [1, 8, 8]},
    "data": {"name": "digits", "image_size": 8},
    "optimizer": {"name": "sgd", "lr": 0.1},
    "batch": {"global": 64},
    "train": {"epochs": 1},
    "log": {"wandb": "disabled"},
}


def vector(module: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(module.parameters()).detach()


def test_a_bare_trainer_takes_the_same_steps(tmp_path: Path) -> None:
    """dltk's own Trainer and Lightning's give the same weights."""
    run = dltk.train(DIGITS, {"train": {"epochs": None, "steps": 7}}, f"runs_dir={tmp_path}")
    task, data = dltk.build(DIGITS)
    lightning.Trainer(max_steps=7, **QUIET).fit(task, data)
    torch.testing.assert_close(vector(task.model), vector(dltk.load(run, "last").model), rtol=0, atol=0)


def test_settings_of_a_place_are_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLTK_TEST_DATA", "/data")
    (tmp_path / "place.yaml").write_text("place: true\ndata_dir: ${oc.env:DLTK_TEST_DATA}/sets\n")
    assert dltk.build(DIGITS, tmp_path / "place.yaml")[1].data_dir == "/data/sets"


def test_training_loading_and_finding_runs(tmp_path: Path) -> None:
    run = dltk.train(DIGITS, f"runs_dir={tmp_path}", "run=one")
    assert run.status == "done"
    assert [found.path for found in dltk.runs(tmp_path)] == [run.path]
    task = dltk.load(run.path)
    assert task(torch.zeros(3, 1, 8, 8, dtype=torch.uint8)).shape == (3, 10)
    with pytest.raises(LaunchError, match="'first' is none of best, last or a step"):
        dltk.load(run.path, "first")
    with pytest.raises(LaunchError, match="no such checkpoint"):
        dltk.load(run.path, "7777")


def test_same_seed_same_weights_whatever_else_is_in_the_network() -> None:
    """Each parameter is drawn from (seed, its name)."""
    mlp = {"model": {"architecture": "mlp", "num_classes": 10, "image": [1, 8, 8], "hidden_sizes": [16]}}
    torch.manual_seed(1)
    one, _ = dltk.build(DIGITS, {"model": None}, mlp)
    torch.manual_seed(2)
    two, _ = dltk.build(DIGITS, {"model": None}, mlp, "model.hidden_sizes=[16, 8]")
    other, _ = dltk.build(DIGITS, {"model": None}, mlp, "train.seed=1")
    assert torch.equal(one.state_dict()["model.hidden.0.weight"], two.state_dict()["model.hidden.0.weight"])
    assert not torch.equal(one.state_dict()["model.hidden.0.weight"], other.state_dict()["model.hidden.0.weight"])


PACKAGE = {
    "__init__.py": "",
    "net.py": """
        from torch import Tensor, nn

        class Net(nn.Module):
            def __init__(self, *, num_classes: int, width: int = 8) -> None:
                super().__init__()
                self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, width), nn.ReLU())
                self.output = nn.Linear(width, num_classes)

            def forward(self, images: Tensor) -> Tensor:
                return self.output(self.layers(images))
        """,
    "colours.py": """
        import torch

        class Colours:
            '''Noise with more red, green or blue.'''

            def __init__(self, *, split: str, data_dir: str | None = None, samples: int = 96) -> None:
                generator = torch.Generator().manual_seed(len(split))
                self.images = torch.randint(0, 128, (samples, 3, 16, 16), dtype=torch.uint8, generator=generator)
                for i in range(samples):
                    self.images[i, i % 3] += 100

            def __len__(self) -> int:
                return len(self.images)

            def __getitem__(self, number: int) -> dict:
                return {"image": self.images[number], "target": number % 3}
        """,
    "watch.py": """
        from lightning import Callback

        SEEN = []

        class Watch(Callback):
            def __init__(self, word: str) -> None:
                self.word = word

            def on_train_batch_end(self, *arguments) -> None:
                SEEN.append(self.word)

        class Dim:
            def __init__(self, *, most: float = 0.5) -> None:
                self.most = most

            def __call__(self, image, rng):
                SEEN_BY_TRANSFORM.append(image.shape)
                return (image * (1 - self.most * rng.random())).to(image.dtype)

        SEEN_BY_TRANSFORM = []
        """,
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of somebody else, in the current folder."""
    name = f"elsewhere_{tmp_path.name.replace('-', '_')}"
    (tmp_path / name).mkdir()
    for file, text in PACKAGE.items():
        (tmp_path / name / file).write_text(textwrap.dedent(text))
    monkeypatch.chdir(tmp_path)
    return name


def foreign(package: str) -> dict[str, Any]:
    return {
        "model": {"architecture": f"{package}.net:Net", "num_classes": 3},
        "task": {"name": "classification"},
        "data": {"name": f"{package}.colours:Colours"},
        "optimizer": {"name": "torch.optim:SGD", "lr": 0.1},
        "batch": {"global": 16},
        "train": {"epochs": 5},
        "log": {"wandb": "disabled", "every_steps": 5},
    }


def test_network_data_optimiser_callback_metric_and_transform_of_others(package: str) -> None:
    run = dltk.train(
        foreign(package),
        {
            "data": {"workers": 0, "augment": {"name": f"{package}.watch:Dim", "most": 0.2}},
            "train": {
                "callbacks": [{"name": f"{package}.watch:Watch", "word": "seen"}],
                "metrics": [
                    {"name": "torchmetrics.classification:MulticlassAccuracy", "label": "accuracy", "num_classes": 3}
                ],
            },
        },
    )
    summary = run.summary()
    assert summary is not None
    assert summary["metrics"]["test/top1_error"] < 10.0, "three colours are easy"
    assert summary["metrics"]["test/accuracy"] == pytest.approx(
        1 - summary["metrics"]["test/top1_error"] / 100, abs=1e-6
    )
    watch = importlib.import_module(f"{package}.watch")
    assert watch.SEEN == ["seen"] * 30
    assert watch.SEEN_BY_TRANSFORM == [(3, 16, 16)] * 480


def test_a_typo_in_a_network_of_others_is_caught(package: str) -> None:
    with pytest.raises(RecipeError, match=r"no setting 'widht' in Net\. Did you mean 'width'\?"):
        dltk.build(foreign(package), "model.widht=9")


def test_resnet18_of_torchvision(package: str) -> None:
    settings = foreign(package)
    settings["model"] = {"architecture": "torchvision.models:resnet18", "num_classes": 3}
    run = dltk.train(settings, "train.epochs=null", "train.steps=3", "batch.global=8")
    summary = run.summary()
    assert summary is not None
    assert summary["parameters"] == 11_178_051, "11,689,512 less 1000 × 513, and 3 × 513 more"
