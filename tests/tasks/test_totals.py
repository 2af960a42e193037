"""Sums that wait: whenever they are made, they are the same."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dltk.tasks import totals as module
from dltk.tasks.totals import Later, Totals

CPU = torch.device("cpu")


def largest(scores: Tensor, weight: Tensor) -> dict[str, Any]:
    return {"largest": ((scores.amax(1) * weight).sum(), weight.sum())}


def measures(number: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(number)
    size = 1 + number % 4
    scores, weight = torch.randint(9, (size, 3), generator=generator).float(), torch.ones(size)
    loss = torch.rand((), generator=generator) * 10 ** (number % 9 - 4)
    loss.requires_grad_()
    return {
        "loss": loss * 3,
        "weight": weight.sum(),
        "words": (torch.tensor(number), 2),
        "scores": scores,
        "others": Later(largest, scores, weight),
    }


def read(count: int, look: tuple[int, ...] = ()) -> dict[str, float]:
    """The means of some batches; at `look` the sums are saved and restored."""
    totals = Totals()
    for number in range(count):
        if number in look:
            again = Totals()
            again.load_state_dict(totals.state_dict(), CPU)
            totals = again
        totals.add(measures(number))
    return totals.read()


def test_the_means_are_those_of_the_plain_sums() -> None:
    each = [measures(number) for number in range(200)]
    weight = sum(float(one["weight"]) for one in each)
    found = read(200)
    assert found["loss"] == sum(one["loss"].item() for one in each) / weight
    assert found["words"] == sum(range(200)) / 400
    assert found["largest"] == sum(one["scores"].amax(1).sum().item() for one in each) / weight
    assert list(found) == ["loss", "words", "largest"]


@pytest.mark.parametrize("look", [(1,), (7, 8, 150), tuple(range(200))])
def test_it_does_not_matter_when_they_are_summed(look: tuple[int, ...]) -> None:
    assert read(200, look) == read(200), "to the bit: a run that was stopped and saved shows the same metrics"


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(100)
    monkeypatch.setattr(module, "NUMBERS", 30)
    totals = Totals()
    for number in range(100):
        totals.add(measures(number))
        assert sum(tensor.numel() for one in totals._later for later in one.values() for tensor in later.tensors) < 30
    assert totals.read() == whole


def test_nothing_of_the_graph_is_kept() -> None:
    totals = Totals()
    totals.add(measures(0))
    assert not any(value.requires_grad for pairs in totals._pairs for value in pairs["loss"])


def test_nothing_was_added() -> None:
    assert Totals().read() == {}
    assert Totals().state_dict() == {"names": [], "sums": []}


def test_other_measures_than_before_are_an_error_of_ours() -> None:
    totals = Totals()
    totals.add(measures(0))
    totals.state_dict()
    totals.add({"loss": torch.ones(()), "weight": torch.ones(())})
    with pytest.raises(AssertionError, match="largest"):
        totals.read()
