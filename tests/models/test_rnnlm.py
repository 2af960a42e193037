"""The recurrent network language model against its equations."""

import pytest
import torch
from torch import nn

from dltk.models.rnnlm import RNNLM


class _Reading(nn.Module):
    """A network whose call is its reading of words from the first state."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, words):
        return self.model.read(words, self.model.start(len(words)).double())[0]


@pytest.fixture(name="model", scope="module")
def made_model() -> RNNLM:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return RNNLM(vocab_size=12, hidden_size=5, classes=3).double()


def test_units_follow_the_paper_s_equations(model):
    words = torch.tensor([[4, 7, 5], [11, 0, 4]])
    known, last = model.read(words, model.start(2).double())
    for row, sentence in enumerate(words.tolist()):
        state = torch.full((5,), 0.1, dtype=torch.float64)
        for step, word in enumerate(sentence):
            state = torch.sigmoid(model.embedding.weight[word] + model.recurrent.weight @ state)
            assert torch.allclose(known[row, step], state)
        assert torch.allclose(last[row], state)


def test_gradients_through_time_are_those_of_differences(model):
    words, right = torch.tensor([[4, 7, 5, 9]]), torch.tensor([7, 5, 9, 4])

    def loss(weight):
        reading = torch.func.functional_call(_Reading(model), {"model.recurrent.weight": weight}, (words,))
        return model.losses(reading[0], right).sum()

    weight = model.recurrent.weight.detach().clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(weight), weight)
    with torch.no_grad():
        for place in ((0, 0), (2, 3), (4, 1)):
            changed = weight.detach().clone()
            changed[place] += 1e-5
            above = loss(changed)
            changed[place] -= 2e-5
            assert float(found[place]) == pytest.approx(float(above - loss(changed)) / 2e-5, rel=1e-6)


def test_sizes_are_the_paper_s():
    with torch.device("meta"):
        large = RNNLM(vocab_size=82_000, hidden_size=640, classes=286)
    count = sum(parameter.numel() for parameter in large.parameters())
    assert count == 2 * 640 * 82_000 + 640**2 + 286 * 640 == 105_552_640


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"vocab_size": 4}, "vocab_size is 4"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"classes": 0}, "classes is 0"),
        ({"vocab_size": 50, "classes": 51}, "classes is 51, and there are 50 words"),
    ],
)
def test_settings_that_make_no_network(settings, says):
    with pytest.raises(ValueError, match=says):
        RNNLM(**settings)
