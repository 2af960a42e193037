"""Starting a network from weights of elsewhere, and reading them without running anything."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dltk import assemble, recipe
from dltk.errors import LaunchError, RecipeError
from dltk.run.folder import RunFolder
from dltk.weights import freeze, load_weights, start_from


@pytest.fixture
def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def test_names_are_matched_missing_and_unexpected(net: nn.Module, tmp_path: Path) -> None:
    weights = {"old.weight": torch.ones(4, 3), "old.bias": torch.zeros(4), "2.weight": torch.ones(9, 9)}
    save_file(weights, tmp_path / "some.safetensors")
    started = start_from(net, str(tmp_path / "some.safetensors"), {"old": "0"})
    assert set(started.matched) == {"0.weight", "0.bias"}
    assert set(started.missing) == {"1.weight", "1.bias"}
    assert started.unexpected == ("2.weight",)
    assert len(started.sha256) == 64
    assert torch.equal(net.state_dict()["0.weight"], torch.ones(4, 3))


def test_weights_of_another_shape_are_refused_unless_they_are_left_there(net: nn.Module, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in net.state_dict().items()}
    file = str(tmp_path / "wide.pt")
    torch.save(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 7)).state_dict(), file)
    with pytest.raises(RecipeError) as raised:
        start_from(net, file, {})
    assert str(raised.value) == (
        f"init: of {file}, 1.weight is 7 × 4, not 2 × 4, 1.bias is 7, not 2. Set the sizes of `model` to those there, "
        "or leave such weights there: `map: {NAME: null}`."
    )
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert set(start_from(net, file, {"1": None}).matched) == {"0.weight", "0.bias"}


def test_a_file_saved_by_torch(net: nn.Module, tmp_path: Path) -> None:
    other = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    torch.save(other.state_dict(), tmp_path / "net.pt")
    start_from(net, str(tmp_path / "net.pt"), {})
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), other.parameters(), strict=True))


def test_nothing_that_fits_is_a_mistake(net: nn.Module, tmp_path: Path) -> None:
    save_file({"x": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(RecipeError, match=r"none of the weights of .* fits the network\. Say with `map`"):
        start_from(net, str(tmp_path / "x.safetensors"), {})


def test_a_file_that_is_none(net: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"nothing")
    with pytest.raises(LaunchError, match="cannot be loaded as plain data"):
        start_from(net, str(tmp_path / "bad.pt"), {})


def test_frozen_parameters_stay(net: nn.Module) -> None:
    freeze(net, ["^0"])
    assert [p.requires_grad for p in net.parameters()] == [False, False, True, True]
    with pytest.raises(RecipeError, match="no parameter's name matches 'nope'"):
        freeze(net, ["nope"])


def test_weights_of_another_network_are_told_by_name(net: nn.Module) -> None:
    task = assemble.Task(net)
    state: dict[str, Any] = {f"model.{name}": value for name, value in net.state_dict().items()}
    load_weights(task, {"state_dict": state})
    state["model.2.weight"] = state.pop("model.1.bias")
    state["model.0.weight"] = torch.zeros(5, 3)
    with pytest.raises(LaunchError) as raised:
        load_weights(task, {"state_dict": state})
    assert "belongs to another network: missing: model.1.bias; unknown: model.2.weight; of another shape: " in str(
        raised.value
    )
    assert "model.0.weight is 5 × 3, not 4 × 3" in str(raised.value)


def test_what_is_not_there_is_named(net: nn.Module) -> None:
    for source in ("runs/a/first", "none.pt", "none.safetensors"):
        with pytest.raises(
            RecipeError, match=rf"init: there is no {source}\. Train that run first, name another run or"
        ):
            start_from(net, source, {})


TAKEN = ("block1.0", "block2.0", "block3.0", "block3.1", "fc6", "fc7", "fc8")  # of A, by the deeper ones


@pytest.mark.parametrize("name", ["vgg13_imagenet2012", "vgg16_imagenet2012", "vgg19_imagenet2012"])
def test_deeper_vggs_begin_with_the_first_four_convolutions_and_the_full_layers_of_a(name: str, tmp_path: Path) -> None:
    small = {"model": {"narrow": 64, "num_classes": 10}}
    shallow = recipe.load("vgg11_imagenet2012", small)
    run = RunFolder.create(tmp_path, "vgg11", shallow.settings, run="a", text=recipe.freeze(shallow))
    source = assemble.build_task({**shallow.settings, "train": {**shallow.settings["train"], "seed": 9}})
    path = run.checkpoints.write(7, {"state_dict": source.state_dict()})
    settings = recipe.load(name, small).settings
    (entry,) = settings["init"]
    lines: list[str] = []
    task = assemble.build_task({**settings, "init": [{**entry, "from": str(run.path)}]}, note=lines.append)
    plain = assemble.build_task({**settings, "init": []})
    taken = {f"{layer}.{kind}" for layer in TAKEN for kind in ("weight", "bias")}
    for parameter, value in task.model.named_parameters():
        wanted = source.model.state_dict() if parameter in taken else plain.model.state_dict()
        assert torch.equal(value, wanted[parameter]), parameter
    assert not torch.equal(source.model.fc6.weight, plain.model.fc6.weight)
    digest = run.checkpoints.manifest(path)["files"]["state.pt"]["sha256"]
    (line,) = lines
    assert line.startswith(
        f"init: {len(taken)} tensors from {run.path} (sha256 {digest[:12]}); missing there: block1.1"
    )
    assert "not used" not in line
