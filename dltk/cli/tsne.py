"""t-SNE as published: every pair of points, no approximation.

van der Maaten, Hinton, "Visualizing data using t-SNE", JMLR 9 (2008), sections 2 and 3, algorithm 1. Vectors are near
each other by a Gaussian around each, as wide as makes its entropy the logarithm of the perplexity; points on the plane
by Student's t with one degree of freedom; and the points move so that the Kullback-Leibler divergence falls.

It takes time and memory in proportion to the square of the number of points: some seconds for a thousand.
"""

# Shapes: n points, m numbers of a vector.

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

RATE, EARLY_MOMENTUM, MOMENTUM, SWITCH = 100.0, 0.5, 0.8, 250  # section 3.4: the momentum rises after 250 iterations
EXAGGERATION, EXAGGERATED = 4.0, 50  # of the probabilities in the first 50 iterations
LEAST_GAIN = 0.01  # of a coordinate's learning rate (Jacobs, 1988)
HALVINGS = 60  # of the interval in which a width is looked for
TINY = 1e-300


def affinities(vectors: Matrix, perplexity: float) -> Matrix:
    """How near vectors (n, m) are, p_ij of equation 3 in all pairs (n, n): symmetric, and 1 in sum."""
    near = conditional(vectors, perplexity)
    return (near + near.T) / (2 * len(near))


def conditional(vectors: Matrix, perplexity: float) -> Matrix:
    """p_j|i of equation 1 (n, n), each row's Gaussian as wide as its entropy wants; the precision by bisection."""
    distances = _squared_distances(np.asarray(vectors, np.float64))
    np.fill_diagonal(distances, np.inf)
    distances -= distances.min(1, keepdims=True)  # changes no probability, and keeps the exponentials from vanishing
    low, high = np.full((len(distances), 1), -60.0), np.full((len(distances), 1), 60.0)  # logarithms of the precision
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        wide = _entropy(_rows(distances, middle)) > np.log(perplexity)
        low, high = np.where(wide, middle, low), np.where(wide, high, middle)
    return _rows(distances, (low + high) / 2)


def _rows(distances: Matrix, log_precision: Matrix) -> Matrix:
    weights = np.exp(-np.exp(log_precision) * distances)
    return weights / weights.sum(1, keepdims=True)


def _entropy(rows: Matrix) -> Matrix:
    """In nats, of each row (n, 1)."""
    return -(rows * np.log(np.maximum(rows, TINY))).sum(1, keepdims=True)


def divergence(near: Matrix, points: Matrix) -> float:
    """KL(P || Q) of points (n, 2), equation 2."""
    kernel = _kernel(points)
    q = kernel / kernel.sum()
    return float((near * np.log(np.maximum(near, TINY) / np.maximum(q, TINY))).sum())


def gradient(near: Matrix, points: Matrix) -> Matrix:
    """Its gradient by the points (n, 2), equation 5: 4 sum_j (p_ij - q_ij) (y_i - y_j) / (1 + |y_i - y_j|^2)."""
    kernel = _kernel(points)
    pull = (near - kernel / kernel.sum()) * kernel
    return 4 * (pull.sum(1, keepdims=True) * points - pull @ points)


def tsne(vectors: Matrix, perplexity: float, first: Matrix, iterations: int = 1000) -> Matrix:
    """Points (n, 2) for vectors (n, m), from first ones, which should be small: the paper's are N(0, 1e-4)."""
    near, points = affinities(vectors, perplexity), np.array(first, np.float64)
    moved, gains = np.zeros_like(points), np.ones_like(points)
    for iteration in range(iterations):
        slope = gradient(near * EXAGGERATION if iteration < EXAGGERATED else near, points)
        gains = np.where(np.sign(slope) != np.sign(moved), gains + 0.2, gains * 0.8).clip(min=LEAST_GAIN)
        moved = (EARLY_MOMENTUM if iteration < SWITCH else MOMENTUM) * moved - RATE * gains * slope
        points += moved
        points -= points.mean(0)
    return points


def _kernel(points: Matrix) -> Matrix:
    """1 / (1 + |y_i - y_j|^2) of all pairs (n, n), 0 on the diagonal."""
    kernel = 1 / (1 + _squared_distances(points))
    np.fill_diagonal(kernel, 0)
    return kernel


def _squared_distances(points: Matrix) -> Matrix:
    squares = (points**2).sum(1)
    found: Matrix = np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0)
    return found
