"""The statistics against scipy's own, and their rates of error by simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from dltk.run import statistics
from dltk.run.statistics import binomial_interval, holm, mcnemar, mean_interval, paired_bootstrap, paired_t, welch

A, B = [3.1, 2.9, 3.4, 3.0], [2.5, 2.8, 2.6, 2.2]


def test_interval_of_seeds_is_students() -> None:
    lengths = [[2.0 + number % 2 for number in range(freedom + 1)] for freedom in [*range(1, 40), 100, 1000, 10**6]]
    for values in (A, [2.9, 3.1, 3.4, 2.8, 3.0], *lengths):
        mean, low, high = mean_interval(values)
        expected = stats.t.interval(0.95, len(values) - 1, loc=sum(values) / len(values), scale=stats.sem(values))
        assert mean == pytest.approx(sum(values) / len(values))
        assert (low, high) == pytest.approx(expected)
    assert mean_interval([2.0]) == (2.0, None, None)


def test_t_tests_equal_scipys() -> None:
    for ours, theirs in (
        (welch(A, B), stats.ttest_ind(B, A, equal_var=False)),
        (paired_t(A, B), stats.ttest_rel(B, A)),
    ):
        interval = theirs.confidence_interval(0.95)
        assert (ours.p, ours.low, ours.high) == pytest.approx((theirs.pvalue, interval.low, interval.high))


def test_too_few_seeds_or_none_of_spread_give_no_p() -> None:
    assert welch([1.0], [2.0, 3.0]).p is None
    assert paired_t([1.0], [2.0]).p is None
    assert paired_t([1.1, 2.1, 3.1], [1.4, 2.4, 3.4]).p is None  # equal but for rounding
    assert welch([1.0, 1.0], [2.0, 2.0]).p is None
    assert welch([1.0, 1.0], [1.0, 1.0]).p == 1.0


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (5, 5), (1, 9), (30, 12), (400, 380)])
def test_mcnemar_is_the_binomial_test(only_a: int, only_b: int) -> None:
    n = only_a + only_b
    assert mcnemar(only_a, only_b) == pytest.approx(stats.binomtest(only_a, n).pvalue if n else 1.0)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 10), (120, 1000)])
def test_binomial_interval_is_clopper_and_pearsons(k: int, n: int) -> None:
    expected = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
    assert binomial_interval(k, n) == pytest.approx((expected.low, expected.high))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_bootstrap_repeats_and_is_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    a, b = generator.random(300), generator.random(300) + 0.05
    whole = paired_bootstrap(a, b)
    monkeypatch.setattr(statistics, "_AT_ONCE", 7 * 300)
    assert paired_bootstrap(a, b) == whole
    low, high = (stats.norm.ppf([0.025, 0.975], *(lambda d: (d.mean(), d.std() / math.sqrt(300)))(b - a))).tolist()
    assert whole[1:3] == pytest.approx((low, high), abs=0.006)
    assert paired_bootstrap(a, a)[3] == 1.0


# Rates of error. Bounds are of the binomial distribution, a million to one; the seeds are fixed.


def bounds(rate: float, times: int) -> tuple[float, float]:
    return tuple(stats.binom.ppf([1e-6, 1 - 1e-6], times, rate) / times)


def test_no_difference_is_found_once_in_twenty() -> None:
    generator, times = np.random.default_rng(2), 3000
    draws = generator.normal(3.0, 0.2, (times, 2, 5))
    shared = generator.normal(0.0, 1.0, (times, 1, 5))  # what a seed does to both
    low, high = bounds(0.05, times)
    paired = np.mean([paired_t(a, b).p < 0.05 for a, b in draws + shared])
    assert low <= paired <= high
    unpaired = np.mean([welch(a, b).p < 0.05 for a, b in draws])
    assert bounds(0.03, times)[0] <= unpaired <= high  # Welch's is a little careful with five seeds
    assert np.mean([mean_interval(a)[1] <= 3.0 <= mean_interval(a)[2] for a, _ in draws]) == pytest.approx(
        0.95, abs=0.95 - bounds(0.95, times)[0]
    )


def test_no_difference_by_sample_is_found_at_most_once_in_twenty() -> None:
    generator, times = np.random.default_rng(3), 1000
    right = generator.random((times, 2, 200)) < 0.8
    exact = np.mean([mcnemar(int((a & ~b).sum()), int((b & ~a).sum())) < 0.05 for a, b in right])
    assert 0.01 <= exact <= bounds(0.05, times)[1]
    drawn = np.mean([paired_bootstrap(a, b, 400)[3] < 0.05 for a, b in right[:500]])
    assert bounds(0.05, 500)[0] <= drawn <= bounds(0.06, 500)[1]


def test_one_false_alarm_among_several_is_as_rare() -> None:
    ps = np.random.default_rng(4).random((3000, 4))
    assert bounds(0.045, 3000)[0] <= np.mean([min(holm(p)) < 0.05 for p in ps]) <= bounds(0.05, 3000)[1]
    assert np.mean(ps.min(1) < 0.05) > 0.15  # without Holm


def test_detectable_difference_is_found_four_times_in_five() -> None:
    generator, times, n = np.random.default_rng(5), 3000, 6
    # As runs with exactly this spread would say it.
    spread = np.array([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0]) * math.sqrt((n - 1) / n)
    size = paired_t([0.0] * n, spread.tolist()).detectable
    assert size is not None
    found = np.mean([paired_t([0.0] * n, d).p < 0.05 for d in generator.normal(size, 1.0, (times, n))])
    assert found == pytest.approx(0.8, abs=0.04)


def test_detectable_beside_others_is_found_four_times_in_five_after_holm() -> None:
    generator, times, n, others = np.random.default_rng(6), 2000, 6, 3
    spread = np.array([-1.0, -1.0, -1.0, 1.0, 1.0, 1.0]) * math.sqrt((n - 1) / n)
    difference = paired_t([0.0] * n, spread.tolist())
    size = difference.detectable_among(1 + others)
    assert difference.detectable_among(1) == difference.detectable
    assert size is not None
    assert difference.detectable is not None
    assert size > 1.3 * difference.detectable

    def p(values: np.ndarray) -> float:
        found = paired_t([0.0] * n, values.tolist()).p
        assert found is not None
        return found

    found = [
        holm([p(generator.normal(size, 1.0, n)), *(p(generator.normal(0.0, 1.0, n)) for _ in range(others))])[0] < 0.05
        for _ in range(times)
    ]
    # Holm gives the others a little more than 5 % divided by their number; with few seeds the estimate is rough.
    assert 0.74 < np.mean(found) < 0.87
