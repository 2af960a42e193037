"""The exact t-SNE: its probabilities, its gradient, and what it makes of groups."""

import numpy as np
import pytest
import torch
from sklearn.manifold import TSNE

from dltk.cli.tsne import affinities, conditional, divergence, gradient, tsne

CHANCE = np.random.default_rng(0)
VECTORS = np.concatenate([CHANCE.normal(size=(25, 8)) + 6 * centre for centre in np.eye(8)[:3]])
POINTS = CHANCE.normal(size=(75, 2))


@pytest.mark.parametrize("perplexity", [5.0, 20.0])
def test_each_row_has_the_entropy_that_the_perplexity_asks_for(perplexity: float) -> None:
    rows = conditional(VECTORS, perplexity)
    bits = -(rows * np.log2(np.maximum(rows, 1e-300))).sum(1)
    assert bits == pytest.approx(np.full(75, np.log2(perplexity)), abs=1e-5)
    near = affinities(VECTORS, perplexity)
    assert near.sum() == pytest.approx(1.0, abs=1e-12)
    assert (near == near.T).all()
    assert not near.diagonal().any()


def test_the_gradient_is_autograd_s_and_turning_the_plane_changes_nothing() -> None:
    near = affinities(VECTORS, 10.0)
    points = torch.tensor(POINTS, requires_grad=True)
    others = ~torch.eye(75, dtype=torch.bool)
    kernel = 1 / (1 + (points[:, None] - points[None]).square().sum(2))[others]
    p = torch.tensor(near)[others]
    loss = (p * (p / (kernel / kernel.sum())).log()).sum()
    (expected,) = torch.autograd.grad(loss, points)
    assert divergence(near, POINTS) == pytest.approx(float(loss), rel=1e-9)
    assert divergence(near, POINTS) > 0
    np.testing.assert_allclose(gradient(near, POINTS), expected.numpy(), atol=1e-12)
    turn = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    assert divergence(near, POINTS @ turn) == pytest.approx(divergence(near, POINTS), rel=1e-12)


def test_it_ends_about_as_low_as_scikit_learn_s_and_keeps_groups_apart() -> None:
    first = 1e-2 * POINTS
    points = tsne(VECTORS, 10.0, first, iterations=400)
    theirs = TSNE(2, perplexity=10.0, init=first.astype(np.float32), method="exact", max_iter=400)
    theirs.fit(VECTORS)
    assert divergence(affinities(VECTORS, 10.0), points) <= 1.05 * theirs.kl_divergence_
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(75)
    assert (distances.argmin(1) // 25 == np.arange(75) // 25).all()
