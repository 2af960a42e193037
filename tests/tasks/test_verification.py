"""Pairs of images as DeepFace compares them, against loops over pairs."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from dltk.tasks.verification import (
    LEAST,
    area,
    chi_squared,
    chi_weights,
    face_vectors,
    inner_products,
    pairs_of,
    roc,
)


def some(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(5))


def test_vectors_are_divided_by_the_training_sets_largest_and_have_length_one():
    features = some(4, 3) * torch.tensor([10.0, 1.0, 0.001])
    largest = torch.tensor([10.0, 1.0, 0.001])
    found = face_vectors(features, largest)
    for row, one in zip(found, features, strict=True):
        scaled = torch.stack([one[0] / 10, one[1], one[2] / LEAST])
        torch.testing.assert_close(row, scaled / scaled.norm())


def test_similarities_equal_loops_over_pairs():
    vectors, weights = some(70, 5), some(5) - 0.5
    vectors[3, 1] = vectors[7, 1] = 0.0
    one, other = pairs_of(70)
    assert len(one) == 70 * 69 // 2
    assert (one < other).all()
    assert len(set(zip(one.tolist(), other.tolist(), strict=True))) == len(one)
    inner, chi = inner_products(vectors), chi_squared(vectors, weights)
    for at in (0, 5, 434, len(one) - 1):
        f, g = vectors[one[at]].tolist(), vectors[other[at]].tolist()
        assert inner[at].item() == pytest.approx(sum(a * b for a, b in zip(f, g, strict=True)), rel=1e-5)
        terms = [(a - b) ** 2 / (a + b) if a + b else 0.0 for a, b in zip(f, g, strict=True)]
        assert chi[at].item() == pytest.approx(
            sum(w * term for w, term in zip(weights.tolist(), terms, strict=True)), abs=1e-6
        )


def test_weights_find_the_units_that_tell_people_apart():
    targets = torch.arange(40) % 4
    vectors = torch.cat([torch.eye(4)[targets] + 0.05 * some(40, 4), some(40, 6)], 1)
    weights = chi_weights(vectors, targets)
    assert (weights[:4] < 0).all()
    assert weights[:4].abs().min() > 3 * weights[4:].abs().max()
    one, other = pairs_of(40)
    same = targets[one] == targets[other]
    assert area(chi_squared(vectors, weights), same) > 0.999
    assert area(inner_products(vectors), same) < 0.99


def test_the_area_is_how_often_a_same_pair_is_more_similar():
    similarity = (some(60) * 8).round()  # many are equal
    same = some(2, 60)[1] < 0.4
    wins = [float(a > b) + 0.5 * float(a == b) for a in similarity[same].tolist() for b in similarity[~same].tolist()]
    assert area(similarity, same) == pytest.approx(np.mean(wins))
    assert area(similarity, same) == pytest.approx(roc_auc_score(same.numpy(), similarity.numpy()))
    alarms, hits = roc(similarity, same)
    assert [float(alarms[0]), float(hits[0]), float(alarms[-1]), float(hits[-1])] == [0.0, 0.0, 1.0, 1.0]
    assert len(hits) == len(similarity.unique()) + 1
