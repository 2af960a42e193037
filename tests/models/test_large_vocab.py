"""RNNsearch with a large vocabulary: its size, and a loss that does not depend on who computes which part of it."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from dltk.models.large_vocab import LargeVocabulary
from dltk.models.rnnsearch import RNNsearch
from dltk.tasks.translation import Translation

SMALL = {
    **{"source_vocab_size": 11, "target_vocab_size": 60, "embedding_size": 5, "hidden_size": 6},
    **{"alignment_size": 7, "maxout_size": 4, "first_weights": "fan_in"},
}
SOURCE = torch.tensor([[4, 5, 6, 7, 3], [8, 9, 3, 0, 0], [10, 3, 0, 0, 0], [6, 7, 3, 0, 0]])
TARGET = torch.tensor([[5, 46, 3, 0], [4, 57, 8, 3], [26, 3, 0, 0], [11, 12, 13, 3]])


def made(sampled: int = 12) -> Translation:
    torch.manual_seed(0)
    return Translation(LargeVocabulary(**SMALL, sampled=sampled).double(), mean="tokens")


def batch(rows: slice = slice(None), step: int = 0):
    source, target = SOURCE[rows], TARGET[rows]
    return {"source": source, "target": target, "weight": torch.ones(len(source)), "info": SimpleNamespace(step=step)}


def gradient(task: Translation, *batches) -> torch.Tensor:
    task.zero_grad()
    sum(task.measure(one)["loss"] for one in batches).backward()
    return torch.cat([p.grad.flatten() for p in task.model.parameters()])


def test_its_size_is_the_paper_s():
    with torch.device("meta"):
        net, search = LargeVocabulary(), RNNsearch(source_vocab_size=500_000, target_vocab_size=500_000)
    counts = [sum(p.numel() for p in one.parameters()) for one in (net, search)]
    assert counts == [898_712_000] * 2


def test_it_is_rnnsearch_when_it_is_evaluated():
    task = made().eval()
    plain = Translation(RNNsearch(**SMALL).double(), mean="tokens").eval()
    plain.model.load_state_dict(task.model.state_dict())
    found, expected = task.measure(batch()), plain.measure(batch())
    assert float(found["loss"].detach()) == float(expected["loss"].detach())
    assert found["token_error"] == expected["token_error"]
    assert float(found["loss"].detach()) != pytest.approx(float(made().train().measure(batch())["loss"].detach()))


def test_a_sample_of_all_words_trains_as_the_full_softmax():
    task = made(sampled=60).train()
    plain = Translation(RNNsearch(**SMALL).double(), mean="tokens").train()
    plain.model.load_state_dict(task.model.state_dict())
    torch.testing.assert_close(gradient(task, batch()), gradient(plain, batch()), rtol=0, atol=1e-6)


def test_any_division_of_a_step_has_one_loss_and_gradient():
    task = made().train()
    whole = gradient(task, batch(step=3))
    parts = gradient(task, batch(slice(0, 1), 3), batch(slice(1, 3), 3), batch(slice(3, 4), 3))
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)
    assert torch.equal(gradient(task, batch(step=3)), whole)
    assert not torch.allclose(gradient(task, batch(step=4)), whole, atol=1e-3)
    torch.manual_seed(99)  # the global generator has no part in it
    assert torch.equal(gradient(task, batch(step=3)), whole)


def test_only_words_of_the_sample_and_right_ones_are_moved():
    task = made().train()
    gradient(task, batch())
    moved = task.model.output.weight.grad.abs().sum(1) > 0
    assert set(TARGET[TARGET > 0].tolist()) <= set(moved.nonzero().squeeze(1).tolist())
    assert int(moved.sum()) < 40


def test_steps_lower_the_full_loss():
    task = made(sampled=20)
    optimizer = torch.optim.SGD(task.model.parameters(), lr=0.05)
    before = float(task.eval().measure(batch())["loss"].detach())
    start = parameters_to_vector(task.model.parameters()).detach().clone()
    task.train()
    for step in range(30):
        optimizer.zero_grad()
        task.measure(batch(step=step))["loss"].backward()
        optimizer.step()
    assert float(task.eval().measure(batch())["loss"].detach()) < 0.8 * before
    assert not torch.equal(start, parameters_to_vector(task.model.parameters()))


def test_smoothed_targets_are_refused():
    with pytest.raises(ValueError, match=r"label_smoothing is 0\.1, of all words, and the network trains on a sample"):
        Translation(LargeVocabulary(**SMALL), label_smoothing=0.1)
