"""Whether two images show the same person, told by a network that learnt to tell other people apart.

Taigman, Yang, Ranzato, Wolf, "DeepFace: closing the gap to human-level performance in face verification", CVPR (2014),
sections 3.3 and 4. Pairs are judged by the inner product of their vectors, or by a weighted chi-squared similarity
whose weights a linear support vector machine finds on pairs of people who are known.
"""

import torch
from torch import Tensor

# Shapes: n images, m units, p pairs.

LEAST = 0.05  # what a unit is divided by at least: some hardly ever answer


def face_vectors(features: Tensor, largest: Tensor) -> Tensor:
    """Features (n, m), none below zero, to vectors of length 1 (n, m).

    Args:
        features: of the images.
        largest: of each unit over the training images (m,).
    """
    return torch.nn.functional.normalize(features / largest.clamp_min(LEAST), dim=1)


def pairs_of(count: int) -> tuple[Tensor, Tensor]:
    """All pairs of so many images, as the numbers of one and of the other (p,)."""
    one, other = torch.triu_indices(count, count, 1)
    return one, other


def inner_products(vectors: Tensor) -> Tensor:
    """Vectors (n, m) to the similarity of all their pairs (p,), in the order of `pairs_of`."""
    one, other = pairs_of(len(vectors))
    return (vectors @ vectors.T)[one, other]


def chi_squared(vectors: Tensor, weights: Tensor) -> Tensor:
    """Vectors (n, m) to the sums over units of w (f - g)^2 / (f + g) for all their pairs (p,).

    Args:
        vectors: none below zero.
        weights: of the units (m,).
    """
    one, other = pairs_of(len(vectors))
    return torch.cat(
        [_terms(vectors[i], vectors[j]) @ weights for i, j in zip(one.split(4096), other.split(4096), strict=True)]
    )


def chi_weights(vectors: Tensor, targets: Tensor) -> Tensor:
    """The weights (m,) by which `chi_squared` is high for the same person, found on all pairs of known people.

    Args:
        vectors: (n, m).
        targets: who they are (n,).
    """
    from sklearn.svm import LinearSVC

    one, other = pairs_of(len(vectors))
    same = targets[one] == targets[other]
    machine = LinearSVC(class_weight="balanced", random_state=0)
    machine.fit(_terms(vectors[one], vectors[other]).numpy(), same.numpy())
    return torch.from_numpy(machine.coef_[0]).to(vectors.dtype)


def _terms(one: Tensor, other: Tensor) -> Tensor:
    """(p, m) and (p, m) to (f - g)^2 / (f + g), 0 where both are 0."""
    return (one - other).square() / (one + other).clamp_min(1e-12)


def roc(similarity: Tensor, same: Tensor) -> tuple[Tensor, Tensor]:
    """The shares of other and of same pairs that are at least so similar, at every similarity that occurs, from 0 to 1.

    Args:
        similarity: of pairs (p,).
        same: whether they show the same person (p,).
    """
    order = similarity.argsort(descending=True)
    ordered, right = similarity[order], same[order].double()
    last = torch.cat([ordered[1:] != ordered[:-1], torch.ones(1, dtype=torch.bool)])  # of those that are equal
    start = torch.zeros(1, dtype=torch.float64)
    hits, alarms = (one.cumsum(0)[last] / one.sum() for one in (right, 1 - right))
    return torch.cat([start, alarms]), torch.cat([start, hits])


def area(similarity: Tensor, same: Tensor) -> float:
    """The area under the curve of `roc`: how often a same pair is the more similar of two, ties counting half."""
    alarms, hits = roc(similarity, same)
    return float(torch.trapezoid(hits, alarms))
