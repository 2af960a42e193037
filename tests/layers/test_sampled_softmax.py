"""The sampled softmax against the full one: equal where all words are drawn, on average where some are."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dltk.layers.sampled_softmax import Sample, draw, losses, probabilities

WORDS = 200


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Linear(6, WORDS).double()


READOUT = torch.randn(5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
RIGHT = torch.tensor([3, 0, 150, 199, 3])


def gradient(layer, value):
    return torch.cat([one.flatten() for one in torch.autograd.grad(value, list(layer.parameters()))]).double()


def full(layer):
    return F.cross_entropy(layer(READOUT), RIGHT, reduction="sum")


def sampled(layer, sample):
    return losses(layer, READOUT, RIGHT, sample)[0].sum()


@pytest.mark.parametrize("size", [1, 10, 100, 199, 500])
def test_probabilities_fall_and_add_up_to_the_sample(size):
    q = probabilities(WORDS, size)
    assert float(q.sum()) == pytest.approx(min(size, WORDS))
    assert ((q > 0) & (q <= 1)).all()
    assert (q.diff() <= 1e-12).all()
    below = q[q < 1]
    shares = torch.log1p(1 / (torch.arange(WORDS)[q < 1] + 1.0)).double()
    torch.testing.assert_close(below / below.sum(), shares / shares.sum(), rtol=1e-6, atol=0)


def test_each_word_is_drawn_as_often_as_its_probability_says():
    q, generator = probabilities(WORDS, 40), torch.Generator().manual_seed(2)
    counts = torch.zeros(WORDS, dtype=torch.float64)
    for _ in range(4000):
        sample = draw(q, generator)
        counts[sample.words] += 1
        assert torch.equal(sample.log_q, q[sample.words].log())
    deviation = (counts / 4000 - q) / (q * (1 - q) / 4000).sqrt().clamp(min=1e-9)
    assert float(deviation.abs().max()) < 4.5
    assert (counts[q == 1] == 4000).all()


def test_with_every_word_it_is_the_full_softmax(layer):
    sample = draw(probabilities(WORDS, WORDS), torch.Generator())
    assert torch.equal(sample.words, torch.arange(WORDS))
    torch.testing.assert_close(sampled(layer, sample), full(layer).float(), rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient(layer, sampled(layer, sample)), gradient(layer, full(layer)), rtol=0, atol=1e-6)
    beaten = losses(layer, READOUT, RIGHT, sample)[1]
    assert torch.equal(beaten, layer(READOUT).argmax(1) != RIGHT)


def errors(layer, size, *, corrected=True, draws=100):
    """Of the gradient: the mean length of a draw's error, and the length of the mean error, over the true one's."""
    q, generator = probabilities(WORDS, size), torch.Generator().manual_seed(3)
    true, found = gradient(layer, full(layer)), []
    for _ in range(draws):
        sample = draw(q, generator)
        if not corrected:
            sample = Sample(sample.words, torch.zeros_like(sample.log_q))
        found.append(gradient(layer, sampled(layer, sample)) - true)
    each = torch.stack(found)
    return float(each.norm(dim=1).mean() / true.norm()), float(each.mean(0).norm() / true.norm())


def test_the_gradient_comes_nearer_to_the_full_one_as_the_sample_grows(layer):
    found = [errors(layer, size)[0] for size in (10, 40, 160)]
    assert found[0] > 1.5 * found[1] > 2.25 * found[2]
    assert errors(layer, WORDS)[0] < 1e-6


def test_on_average_it_is_the_full_one_only_where_rare_words_weigh_more(layer):
    right, wrong = errors(layer, 80, draws=400)[1], errors(layer, 80, corrected=False, draws=400)[1]
    assert right < 0.05
    assert wrong > 2 * right


def test_the_sum_over_all_words_is_met_on_average(layer):
    q, generator = probabilities(WORDS, 30), torch.Generator().manual_seed(4)
    exact = layer(READOUT).exp().sum(1)
    sums = []
    for _ in range(3000):
        words, log_q = draw(q, generator)
        sums.append((layer(READOUT)[:, words] - log_q).exp().sum(1).detach())
    torch.testing.assert_close(torch.stack(sums).mean(0), exact.detach(), rtol=0.03, atol=0)


def test_the_right_word_counts_once_whether_it_is_drawn_or_not(layer):
    words = torch.tensor([3, 7, 9])
    log_q = torch.tensor([-0.5, -1.0, 0.0], dtype=torch.float64)
    found = losses(layer, READOUT, RIGHT, Sample(words, log_q))[0]
    for row, right in enumerate(RIGHT.tolist()):
        s = layer(READOUT[row]).tolist()
        parts = [s[right]] + [s[k] - q for k, q in zip(words.tolist(), log_q.tolist(), strict=True) if k != right]
        expected = torch.logsumexp(torch.tensor(parts), 0) - s[right]
        assert float(found[row].detach()) == pytest.approx(float(expected), rel=1e-5)
