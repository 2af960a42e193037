"""Whether a difference between runs is larger than chance: intervals and tests, by seed and by sample.

Sources: Welch, "The generalization of 'Student's' problem", Biometrika 34 (1947); McNemar, Psychometrika 12 (1947),
exact; Clopper and Pearson, Biometrika 26 (1934); Holm, Scandinavian Journal of Statistics 6 (1979); Efron and
Tibshirani, An Introduction to the Bootstrap (1993), section 16.4.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# scipy is imported where it is used: `dltk.run` is loaded by commands that need none of it.
# Shapes: n samples, r resamplings.

LEVEL = 0.95  # of every interval
POWER = 0.8  # of the smallest difference that is said to be detectable
_AT_ONCE = 1 << 22  # numbers that a bootstrap draws at once, 32 MB


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The mean of b less that of a, in the metric's unit; what cannot be said of so few values is None."""

    mean: float
    low: float | None  # 95 % interval
    high: float | None
    p: float | None  # two-sided, of no difference
    detectable: float | None  # the smallest difference that is found with a power of 80 % at 5 %
    test: str  # how it was tested
    error: float | None = None  # standard error of the mean; None where the test has none
    freedom: float | None = (
        None  # its degrees of freedom; None: so many samples that a normal distribution stands for t
    )

    def detectable_among(self, count: int) -> float | None:
        """The smallest difference that is found with a power of 80 % beside so many tests, adjusted after Holm.

        It is what the first of them, the one with the least p, must reach: 5 % divided by their number. So it is never
        too small; where others differ too, a somewhat smaller one is found.
        """
        return None if self.error is None else smallest(self.error, self.freedom, count)


def mean_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean over seeds and its 95 % t-interval, which a single value does not give (None)."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None, None
    half = _t(len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def welch(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Seeds of two settings that are not paired, by Welch's t-test."""
    test, mean = "Welch's t", math.fsum(b) / len(b) - math.fsum(a) / len(a)
    if len(a) < 2 or len(b) < 2:
        return Difference(mean=mean, low=None, high=None, p=None, detectable=None, test=test)
    parts = [float(np.var(values, ddof=1)) / len(values) for values in (a, b)]  # squared errors of the means
    total = sum(parts)
    if total == 0.0:
        return _without_spread(mean, test)
    freedom = total**2 / sum(part**2 / (len(v) - 1) for part, v in zip(parts, (a, b), strict=True))
    return _by_t(mean, math.sqrt(total), freedom, test)


def paired_t(a: Sequence[float], b: Sequence[float]) -> Difference:
    """The same seeds of two settings, by the t-test of their differences; a[i] and b[i] are of one seed."""
    test = "paired t"
    differences = [y - x for x, y in zip(a, b, strict=True)]
    mean = math.fsum(differences) / len(differences)
    if len(differences) < 2:
        return Difference(mean=mean, low=None, high=None, p=None, detectable=None, test=test)
    error = float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    # Equal differences differ by rounding alone.
    if error <= 1e-12 * max(map(abs, [*a, *b])):
        return _without_spread(mean, test)
    return _by_t(mean, error, len(differences) - 1, test)


def mcnemar(only_a: int, only_b: int) -> float:
    """The two-sided p of two classifiers on the same samples, exact.

    Args:
        only_a: samples that a alone has right.
        only_b: samples that b alone has right.
    """
    from scipy.special import bdtr

    n = only_a + only_b
    return 1.0 if n == 0 else min(1.0, 2 * float(bdtr(min(only_a, only_b), n, 0.5)))


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, resamplings: int = 2000, seed: int = 0
) -> tuple[float, float, float, float]:
    """The mean over samples of b less a, its 95 % percentile interval, and the two-sided p of no difference.

    Args:
        a: a value of each sample (n,), such as its error.
        b: of the same samples in the same order (n,).
        resamplings: how often n samples are drawn with replacement.
        seed: of the drawing; equal seeds give equal answers.
    """
    differences = np.asarray(b, np.float64) - np.asarray(a, np.float64)  # (n,)
    assert differences.ndim == 1, f"values of samples, not an array {differences.shape}"
    generator, n, mean = np.random.default_rng(seed), len(differences), float(differences.mean())
    means: NDArray[np.float64] = np.empty(resamplings)  # (r,)
    chunk = max(1, _AT_ONCE // n)
    for begin in range(0, resamplings, chunk):
        end = min(begin + chunk, resamplings)
        means[begin:end] = differences[generator.integers(0, n, (end - begin, n))].mean(1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    # Under no difference the means lie about 0 as they now lie about their mean. Ties of rounding count as reached.
    reached = int((np.abs(means - mean) >= abs(mean) * (1 - 1e-9)).sum())
    return mean, float(low), float(high), (reached + 1) / (resamplings + 1)


def holm(ps: Sequence[float]) -> list[float]:
    """The p of several tests, adjusted so that any false alarm among them is as rare as one of a single test."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, at in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[at]))
        adjusted[at] = largest
    return adjusted


def binomial_interval(successes: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share that was counted on n samples: what a test set of that size can tell, exact."""
    from scipy.special import betaincinv

    assert 0 <= successes <= n, f"{successes} of {n}"
    tail = (1 - LEVEL) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return low, high


def smallest(error: float, freedom: float | None, count: int = 1) -> float:
    """The smallest difference that a two-sided test at 5 % divided by `count` finds with a power of 80 %.

    Args:
        error: standard error of the difference.
        freedom: degrees of freedom of it; None: a normal distribution.
        count: of tests, of which this is one.
    """
    from scipy.special import ndtri, stdtrit

    at = 1 - (1 - LEVEL) / (2 * count)
    # The sum of two quantiles stands for the non-central t; it is within a few per cent of it.
    quantiles = [float(ndtri(q) if freedom is None else stdtrit(freedom, q)) for q in (at, POWER)]
    return sum(quantiles) * error


def _by_t(mean: float, error: float, freedom: float, test: str) -> Difference:
    from scipy.special import stdtr

    half = _t(freedom) * error
    p = 2 * float(stdtr(freedom, -abs(mean) / error))
    found = smallest(error, freedom)
    low, high = mean - half, mean + half
    return Difference(mean=mean, low=low, high=high, p=p, detectable=found, test=test, error=error, freedom=freedom)


def _without_spread(mean: float, test: str) -> Difference:
    """Seeds that all gave the same: equal settings do not differ, of others no test can tell."""
    equal = mean == 0.0
    return Difference(mean=mean, low=None, high=None, p=1.0 if equal else None, detectable=None, test=test)


def _t(freedom: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + LEVEL) / 2))
