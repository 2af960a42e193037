"""Starting a network from weights of elsewhere, and reading them without running anything."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dltk.errors import LaunchError, RecipeError
from dltk.weights import freeze, start_from


@pytest.fixture
def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))


def test_names_are_matched_missing_and_unexpected(net: nn.Module, tmp_path: Path) -> None:
    weights = {"old.weight": torch.ones(4, 3), "old.bias": torch.zeros(4), "1.weight": torch.ones(9, 9)}
    save_file(weights, tmp_path / "some.safetensors")
    started = start_from(net, str(tmp_path / "some.safetensors"), {"old": "0"})
    assert set(started.matched) == {"0.weight", "0.bias"}
    assert set(started.missing) == {"1.weight", "1.bias"}
    assert started.unexpected == ("1.weight",)
    assert len(started.sha256) == 64
    assert torch.equal(net.state_dict()["0.weight"], torch.ones(4, 3))


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
