"""Where to look: the penalty of unseen places, and that drawn locations give the right gradient in the mean."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dltk.tasks.looking import drawn, entropy, reinforced, unseen

L, T, V = 3, 2, 4  # locations, words, vocabulary


class Toy(nn.Module):
    """Weights of three locations for two words, of which the second depends on what was seen before the first."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.energies = nn.Parameter(torch.randn(L, generator=generator).double())
        self.after = nn.Parameter(torch.randn(L, L, generator=generator).double())
        self.scores = nn.Parameter(torch.randn(T, L, V, generator=generator).double())

    def forward(self, places, targets):
        """Locations (T) and words (T) to weights (1, T, L), what is seen (1, T, L) and log p(y | s) (1,)."""
        seen = F.one_hot(torch.tensor(places), L).double()  # (T, L)
        weights = torch.stack([self.energies.softmax(0), (seen[0] @ self.after).softmax(0)])
        logs = torch.stack([(seen[t] @ self.scores[t]).log_softmax(0)[targets[t]] for t in range(T)])
        return weights[None], seen[None], logs.sum()[None]


def gradients(model, value):
    found = torch.autograd.grad(
        value, list(model.parameters()), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return torch.cat([one.flatten() for one in found])


def test_the_gradient_of_drawn_locations_is_that_of_the_expectation_over_all():
    model, targets, real = Toy(), (1, 3), torch.ones(1, T, dtype=torch.bool)
    exact, estimated, of_the_words = 0.0, 0.0, 0.0
    for places in itertools.product(range(L), repeat=T):
        weights, seen, logs = model(places, targets)
        probability = (weights * seen).sum(2).prod()
        exact = exact - probability * logs.sum()
        for baseline, share in ((0.0, 0.25), (-2.5, 0.75)):  # whatever it is, it changes nothing in the mean
            loss = -logs + reinforced(weights, seen, real, logs - baseline)
            estimated = estimated + share * probability.detach() * gradients(model, loss.sum())
        of_the_words = of_the_words + probability.detach() * gradients(model, -logs.sum())
    wanted = gradients(model, exact)
    torch.testing.assert_close(estimated, wanted, rtol=0, atol=1e-12)
    assert not torch.allclose(of_the_words, wanted, atol=1e-3)  # without the reward nothing learns where to look


def test_a_location_is_drawn_as_often_as_its_weight_says():
    weights = torch.tensor([[0.2, 0.5, 0.3]]).expand(20_000, -1)
    levels = torch.rand(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = drawn(weights, levels)
    assert torch.equal(found.sum(1), torch.ones(20_000))
    torch.testing.assert_close(found.mean(0), weights[0], rtol=0, atol=0.012)  # 3.5 deviations
    assert torch.equal(drawn(weights[:4], torch.tensor([0.0, 0.1999, 0.2001, 1 - 2**-53]).double()).argmax(1),
                       torch.tensor([0, 0, 1, 2]))  # fmt: skip
    assert drawn(torch.tensor([[0.0, 1.0, 0.0]]), torch.zeros(1).double()).argmax() == 1  # what weighs nothing is never


def test_the_penalty_is_zero_for_even_weights_and_as_many_words_as_locations():
    even = torch.full((2, 5, 5), 0.2)
    real = torch.ones(2, 5, dtype=torch.bool)
    torch.testing.assert_close(unseen(even, real), torch.zeros(2))
    # Padding sees nothing: with four words each place is looked at 0.8 times.
    real[1, 4] = False
    torch.testing.assert_close(unseen(even, real), torch.tensor([0.0, 5 * 0.2**2]))
    one = F.one_hot(torch.zeros(1, 5, dtype=torch.int64), 5).float()  # one place five times, four never
    torch.testing.assert_close(unseen(one, torch.ones(1, 5, dtype=torch.bool)), torch.tensor([16.0 + 4.0]))


def test_entropy_is_that_of_the_words_and_borne_where_a_weight_is_zero():
    weights = torch.tensor([[[0.5, 0.5, 0.0], [1 / 3] * 3, [1 / 3] * 3]])
    real = torch.tensor([[True, True, False]])
    assert float(entropy(weights, real)) == pytest.approx(float(torch.tensor([2.0, 3.0]).log().sum()), rel=1e-6)
