"""Finding the tensors of a state, and what they weigh."""

import torch

from dltk.run.tensors import named_tensors, tensor_bytes


def test_tensors_have_the_names_of_their_places() -> None:
    state = {"a": torch.zeros(2), "list": [1, {"b": torch.zeros(3)}], "tuple": (torch.zeros(1),), "text": "x"}
    assert [name for name, _ in named_tensors(state)] == ["a", "list.1.b", "tuple.0"]


def test_shared_storages_weigh_once_also_over_several_states() -> None:
    weights, counted = torch.zeros(10), set()
    assert tensor_bytes({"a": weights, "b": weights[2:]}, counted) == 40
    assert tensor_bytes([weights.view(2, 5), torch.zeros(1)], counted) == 4
