from pathlib import Path

import pytest
import torch
from torch import nn

from dltk import catalogue
from dltk.cli import layers, plot
from tests.cli.conftest import Command, Trained


def test_show_model_json_has_the_stable_form(dltk: Command) -> None:
    shown = dltk("show", "lenet5", "--json").json
    assert {"name", "paper", "parameters", "layers"} <= set(shown)
    named = {layer["name"]: layer for layer in shown["layers"]}
    assert named["c3"]["output"] == [16, 10, 10]
    assert named["c3"]["parameters"] == 1516  # LeCun et al. 1998, section II.B
    assert named["c3"]["paper"] == "C3"


@pytest.mark.parametrize("name", catalogue.MODELS)
def test_layers_sum_to_the_network(name: str, dltk: Command) -> None:
    shown = dltk("show", name, "--json").json
    if catalogue.MODELS[name].task not in ("fit", "counting"):
        assert all(layer["output"] for layer in shown["layers"])
    assert sum(layer["parameters"] for layer in shown["layers"]) == shown["parameters"]
    assert shown["parameters"] == catalogue.MODELS[name].parameters


def test_shared_layers_and_layers_not_reached() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.unused = nn.Linear(4, 2)
            self.tied = nn.Linear(4, 4)
            self.tied.weight = self.first.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.tied(self.first(self.first(x.flatten(1))))

    found = {layer.name: layer for layer in layers.trace(Odd(), (1, 2, 2))}
    assert (found["first"].calls, found["first"].parameters) == (2, 20)
    assert found["tied"].parameters == 4  # its bias; the weight is counted where it stands first
    assert (found["unused"].output, found["unused"].parameters) == (None, 10)
    assert list(found) == ["first", "tied", "unused"]


def test_lengths_of_sequences_are_letters() -> None:
    sizes = {"hidden_size": 7, "embedding_size": 5, "source_vocab_size": 9, "target_vocab_size": 11}  # as lengths tried
    words = layers.make_model("rnnsearch", {**sizes, "maxout_size": 6, "alignment_size": 7})
    found = {layer.name: (layer.output, layer.calls) for layer in layers.trace(words, None)}
    assert found["source_embedding"] == (["s", 5], 1)
    assert found["keys"] == (["s", 7], 1)
    assert found["output"] == (["t", 11], 1)
    assert found["decoder.gates"] == ([14], 0), "read without being called: the width of a step"
    packed = layers.make_model("seq2seq", {**sizes, "num_layers": 2})
    assert [layer.output for layer in layers.trace(packed, None)] == [["s", 5], ["s", 7], ["t", 5], ["t", 7], ["t", 11]]
    stepped = layers.trace(layers.make_model("lstm1997", {}), None)
    assert [(layer.name, layer.output, layer.calls) for layer in stepped] == [
        ("inputs", ["t", 8], 1), ("recurrent", [8], "t"), ("output", ["t", 1], 1),
    ]  # fmt: skip
    assert {layer.paper for layer in layers.trace(packed, None)} == {""}


def test_a_large_network_takes_no_memory() -> None:
    made = layers.make_model("torchvision.models:vgg16", {})
    assert next(made.parameters()).is_meta
    assert layers.count(made) == 138_357_544  # Simonyan and Zisserman, table 2: 138 million
    assert layers.trace(made, (3, 224, 224))[-1].output == [1000]


def test_show_recipe_names_the_origin_of_each_value(dltk: Command, tmp_path: Path) -> None:
    overlay = tmp_path / "over.yaml"
    overlay.write_text("train:\n  epochs: 7\n")
    said = dltk("show", "linear_digits", overlay, "batch.global=64")
    lines = {line.split()[0]: line for line in said.out.splitlines() if line.split()}
    assert "over.yaml:2" in lines["train.epochs"]
    assert "override" in lines["batch.global"]
    assert lines["train.precision"].rstrip().endswith("default")
    shown = dltk("show", "linear_digits", "batch.global=64", "--json").json
    assert shown["batch"]["global"] == 64


def test_show_run_is_its_frozen_recipe(dltk: Command, trained: Trained) -> None:
    assert dltk("show", trained.path, "--json").json["train"]["steps"] == 400
    assert dltk("show", trained.path, "--layers", "--json").json["parameters"] == 6570
    said = dltk("show", trained.path)
    assert "recipe.yaml" not in said.out  # every row would say the same
    assert [line.split() for line in said.out.splitlines() if "setting" in line] == [["setting", "value"]]


def test_settings_of_a_section(dltk: Command) -> None:
    found = {s["name"]: s for s in dltk("show", "lenet5_digits", "--settings", "optimizer", "--json").json}
    assert found["lr"]["default"] == "required"
    assert found["momentum"] == {
        "name": "momentum", "type": "a number", "default": "0.0", "help": found["momentum"]["help"],
    }  # fmt: skip
    assert "previous step" in found["momentum"]["help"]
    assert "micro" in dltk("show", "lenet5_digits", "--settings", "batch").out


def test_the_learning_rate_is_drawn(dltk: Command, tmp_path: Path) -> None:
    arguments = ["optimizer.lr=0.5", "schedule={name: step, every: 0.5, factor: 0.1}", "train.epochs=4"]
    shown = dltk("show", "linear_digits", *arguments, "--lr", "--json").json
    assert shown["lr"][0] == 0.5
    assert shown["lr"][-1] == pytest.approx(0.05)
    said = dltk("show", "linear_digits", *arguments, "--lr", "--png", tmp_path / "lr.png")
    assert said.code == 0
    assert "0.5 ┤" in said.out
    assert (tmp_path / "lr.png").stat().st_size > 5000


def test_a_drawn_curve_has_its_height_and_its_jump() -> None:
    lines = plot.curve([0, 50, 100], [1.0, 0.0, 0.0], width=20, height=5)
    assert [len(line) for line in lines[:5]] == [31] * 5
    blank = chr(0x2800)
    assert lines[0][11:21].count(blank) == 0
    assert lines[0][22:].strip(blank) == ""
    assert lines[4][11:20].strip(blank) == ""
    assert lines[4][22:31].count(blank) == 0


FOREIGN = """
from functools import partial
from pathlib import Path
from torch import nn

Path("executed").touch()
print("hello")


class Net(nn.Module):
    def __init__(self, *, num_classes: int = 10, **more) -> None:
        super().__init__()
        self.full = nn.Linear(64, num_classes)


Small = partial(Net, num_classes=10)
"""


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module whose import leaves a file; its name is another one for each test."""
    name = f"foreign_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(FOREIGN)
    monkeypatch.chdir(tmp_path)
    return name


@pytest.mark.parametrize("thing", ["Net", "Small"])
@pytest.mark.parametrize("options", [[], ["--json"], ["--settings", "model"]])
def test_showing_a_recipe_executes_nothing_that_it_names(
    foreign: str, thing: str, options: list[str], dltk: Command
) -> None:
    network = f"model={{architecture: '{foreign}:{thing}', num_clases: 3}}"
    metrics = f"train.metrics=[{{name: '{foreign}:{thing}'}}]"
    said = dltk("show", "linear_digits", network, "task.name=classification", metrics, *options)
    assert said.code == 0
    assert not Path("executed").exists()
    question = " Did you mean 'num_classes'?" if thing == "Net" else ""
    note = f"override '{network}': model.num_clases: passed on unchecked, for {thing} takes any setting.{question}"
    assert note in said.err.splitlines()
    if "--json" in options:
        assert isinstance(said.json, dict | list)


def test_layers_execute_it_and_print_json_alone(foreign: str, dltk: Command) -> None:
    file = Path("r.yaml")
    file.write_text(
        f"model: {{architecture: '{foreign}:Net'}}\ntask: {{name: classification}}\n"
        "data: {name: digits, image_size: 8}\noptimizer: {name: sgd, lr: 0.1}\nbatch: {global: 8}\ntrain: {epochs: 1}\n"
    )
    assert dltk("show", file, "--layers", "--json").json["parameters"] == 650
    assert Path("executed").exists()


def test_validate_prints_the_notes(foreign: str, dltk: Command) -> None:
    network = f"model={{architecture: '{foreign}:Net', image: null, depth: 3}}"
    said = dltk("validate", "linear_digits", network, "task.name=classification", "--json")
    answer = said.json[0]
    line = f"override '{network}': model.depth: passed on unchecked, for Net takes any setting."
    assert answer["ok"] is True
    assert line in answer["notes"]
    said = dltk("validate", "linear_digits", network, "task.name=classification")
    assert line in said.err.splitlines()
    assert said.out.startswith("ok: linear_digits: ")


def test_settings_of_an_augmentation(dltk: Command) -> None:
    found = {s["name"] for s in dltk("show", "lenet5_digits", "--settings", "data.augment", "--json").json}
    assert {"degrees", "translate", "scale", "shear"} <= found
    assert "data.augment: affine" in dltk("show", "mlp_digits", "data.augment=affine", "--settings", "data.augment").out


def test_a_schedule_that_cannot_be(dltk: Command) -> None:
    said = dltk("show", "mlp_digits", "schedule={name: plateau, patience: -1}", "--lr")
    assert said.err == "schedule.patience: patience is -1, a number of validations. Set 0 or more.\n"


def test_the_docstring_of_lenet5_counts_right() -> None:
    rows = {n: layers.count(layers.make_model("lenet5", {"num_classes": n})) for n in (10, 11)}
    fixed = layers.count(layers.make_model("lenet5", {"num_classes": 10, "output": "rbf"}))
    assert (rows[10] - fixed, rows[11] - rows[10]) == (850, 85)
