"""How well an order mixes classes: shards packed class by class, and shuffled ones."""

import numpy as np
import pytest

from dltk.data.mixing import ENOUGH, better_window, mixing
from dltk.data.plan import Plan

CLASSES, EACH = 20, 2000
SORTED = np.repeat(np.arange(CLASSES), EACH)  # packed class by class
MIXED = np.random.default_rng(0).permutation(SORTED)


def plan(window: int, lanes: int = 2) -> Plan:
    return Plan([500] * (CLASSES * EACH // 500), seed=0, batch=100, lanes=lanes, window=window)


def test_mixed_shards_are_as_good_as_a_full_shuffle():
    assert mixing(plan(16), 0, MIXED).ratio == pytest.approx(1, abs=0.02)


def test_shards_packed_by_class_are_found_out_and_a_window_helps():
    poor = mixing(plan(64), 0, SORTED)
    assert poor.ratio < 0.6
    window = better_window(plan(64), 0, SORTED)
    assert window is not None
    assert mixing(plan(window), 0, SORTED).ratio >= ENOUGH


def test_the_entropy_is_that_of_the_definition():
    two = Plan([4], seed=0, batch=4)
    assert mixing(two, 0, np.array([0, 1, 0, 1])).entropy == pytest.approx(np.log(2))
    assert mixing(two, 0, np.array([7, 7, 7, 7])).ratio == 1
    assert mixing(two, 0, None).entropy == 0


def test_displacement_of_a_full_shuffle_is_a_third_and_of_no_shuffle_nothing():
    total = CLASSES * EACH
    whole = mixing(Plan([total], seed=0, batch=100), 0, None)
    assert whole.displacement == pytest.approx(total / 3, rel=0.05)
    assert whole.shuffled_displacement == pytest.approx(total / 3, rel=0.05)
    assert mixing(Plan([total], seed=0, batch=100, shuffle=False), 0, None).displacement == 0
