"""A copy of the state: the same to the bit, in memory of its own, which is used again."""

import collections
import io
from typing import Any

import pytest
import torch

from dltk.trainer.snapshot import HostBuffers


def _state(value: float = 0.0) -> dict[str, Any]:
    weights = torch.arange(12.0).reshape(3, 4) + value
    ordered = collections.OrderedDict(w=weights, tied=weights, row=weights[1], turned=weights.T)
    ordered._metadata = {"": {"version": 2}}  # type: ignore[attr-defined]
    return {
        "state_dict": ordered,
        "optimizer_states": [{"state": {0: {"step": torch.tensor(3.0), "exp_avg": weights * 2}}, "groups": [(0, 1)]}],
        "half": torch.full((5,), value, dtype=torch.bfloat16),
        "counts": collections.Counter([1, 1]),
        "nothing": torch.empty(0),
        "plain": {"list": [1, None, "x"], "flag": True},
    }


def _saved(state: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def test_a_copy_is_saved_as_the_same_bytes() -> None:
    assert _saved(HostBuffers().copy(_state(1.5))) == _saved(_state(1.5))


def test_nothing_done_to_the_state_afterwards_is_seen() -> None:
    state = _state()
    copy = HostBuffers().copy(state)
    state["state_dict"]["w"].fill_(7)
    state["optimizer_states"][0]["state"][0]["step"].add_(1)
    state["half"].zero_()
    state["plain"]["list"].append(2)
    state["counts"][1] = 9
    assert _saved(copy) == _saved(_state())


def test_shared_memory_stays_shared_and_views_stay_views() -> None:
    found = HostBuffers().copy(_state())["state_dict"]
    address = found["w"].untyped_storage().data_ptr()
    assert {tensor.untyped_storage().data_ptr() for tensor in found.values()} == {address}
    assert found["turned"].stride() == (1, 4)
    assert found["row"].storage_offset() == 4


def test_buffers_are_used_again_whatever_their_order() -> None:
    buffers = HostBuffers()
    first = buffers.copy({"a": torch.zeros(100), "b": torch.zeros(200)})
    size, places = buffers.bytes, {first[name].data_ptr() for name in "ab"}
    assert size == 1200
    second = buffers.copy({"b": torch.ones(200), "a": torch.full((100,), 2.0)})
    assert {second[name].data_ptr() for name in "ab"} == places
    assert (second["a"] == 2).all()
    assert (second["b"] == 1).all()
    assert buffers.bytes == size
    buffers.copy({"a": torch.zeros(100)})
    assert buffers.bytes == 400, "what is not needed any more is given back"
    buffers.release()
    assert buffers.bytes == 0


def test_tensors_that_are_no_plain_views_are_copied_too() -> None:
    complicated = torch.tensor([1 + 2j]).conj()
    parameter = torch.nn.Parameter(torch.ones(2))
    copy = HostBuffers().copy({"conj": complicated, "parameter": parameter})
    assert copy["conj"].tolist() == [1 - 2j]
    assert isinstance(copy["parameter"], torch.nn.Parameter)
    with torch.no_grad():
        parameter.zero_()
    assert copy["parameter"].tolist() == [1, 1]


@pytest.mark.gpu
def test_tensors_of_a_device_come_to_the_host() -> None:
    value = torch.arange(1 << 20, device="cuda")
    buffers = HostBuffers()
    for factor in (1, 2):
        copy = buffers.copy({"x": value * factor, "y": value[5:]})
        assert copy["x"].device.type == "cpu"
        assert copy["x"].is_pinned()
        assert torch.equal(copy["x"], torch.arange(1 << 20) * factor)
        assert copy["y"].untyped_storage().nbytes() == value.untyped_storage().nbytes()
