"""The order of samples: against a brute-force reference, over random shards, and as numbers that must never change."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dltk.data.plan import Plan, permutation, share
from dltk.errors import DataError

shards = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(sum)


def reference(sizes: list[int], seed: int, epoch: int, lanes: int, window: int) -> list[int]:
    """The order written out sample by sample."""
    total, first, line = sum(sizes), np.cumsum([0, *sizes]), []
    for shard in permutation(len(sizes), seed, epoch, "shards"):
        line += range(first[shard], first[shard] + sizes[shard])
    queues, begin = [], 0
    for lane in range(lanes):
        length = total // lanes + (lane < total % lanes)
        mine, queue = line[begin : begin + length], []
        begin += length
        for block, at in enumerate(range(0, length, window)):
            part = mine[at : at + window]
            queue += [part[i] for i in permutation(len(part), seed, epoch, "window", lane, block)]
        queues.append(queue)
    return [queues[k % lanes][k // lanes] for k in range(total)]


@settings(max_examples=80, deadline=None)
@given(shards, st.integers(0, 2**40), st.integers(0, 5), st.integers(1, 9), st.integers(1, 50))
def test_the_order_is_the_reference_and_holds_each_sample_once(sizes, seed, epoch, lanes, window):
    plan = Plan(sizes, seed=seed, batch=1, lanes=lanes, window=window)
    order = plan.samples(epoch, np.arange(plan.total))
    assert order.tolist() == reference(sizes, seed, epoch, lanes, window)
    assert sorted(order.tolist()) == list(range(plan.total))


@settings(max_examples=100, deadline=None)
@given(shards, st.integers(1, 7), st.integers(1, 20), st.lists(st.integers(0, 10**6), max_size=20))
def test_any_place_can_be_computed_alone(sizes, lanes, window, wanted):
    make = {"seed": 1, "batch": 1, "lanes": lanes, "window": window}
    whole = Plan(sizes, **make).samples(2, np.arange(sum(sizes)))
    places = np.array([place % sum(sizes) for place in wanted], dtype=np.int64)
    assert Plan(sizes, **make).samples(2, places).tolist() == whole[places].tolist()


@settings(max_examples=150, deadline=None)
@given(shards, st.integers(1, 40), st.integers(1, 5), st.integers(1, 4), st.sampled_from(["drop", "wrap", "keep"]))
def test_ranks_and_passes_share_each_global_batch_without_overlap(sizes, batch, world, accumulate, last):
    if last == "drop" and batch > sum(sizes):
        return
    plan = Plan(sizes, seed=0, batch=batch, last=last)
    seen = []
    for number in range(plan.steps(0)):
        start, stop = plan.bounds(0, number)
        parts = [
            share(start, stop, rank=r, world=world, micro=a, accumulate=accumulate)
            for r in range(world)
            for a in range(accumulate)
        ]
        assert sorted(np.concatenate(parts).tolist()) == list(range(start, stop))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        for rank in range(world):  # the rule, place by place
            for micro in range(accumulate):
                mine = [i for i in range(stop - start) if i % world == rank and (i // world) % accumulate == micro]
                assert parts[rank * accumulate + micro].tolist() == [start + i for i in mine]
        seen += plan.samples(0, np.arange(start, stop)).tolist()
    assert len(seen) == plan.total - plan.dropped + plan.wrapped
    counts = np.bincount(seen, minlength=plan.total)
    if last == "wrap":
        assert counts.min() >= 1
        assert counts.max() <= 1 + -(-plan.wrapped // plan.total)
    else:
        assert counts.max() <= 1
        assert (counts == 0).sum() == plan.dropped == (plan.total % batch if last == "drop" else 0)


def test_the_order_never_changes():
    plan = Plan([7, 3, 11, 5], seed=42, batch=4, lanes=3, window=4)
    assert plan.samples(0, np.arange(26)).tolist() == GOLDEN_0
    assert plan.samples(1, np.arange(26)).tolist() == GOLDEN_1
    assert Plan([12], seed=0, batch=4).samples(3, np.arange(12)).tolist() == GOLDEN_MEMORY


GOLDEN_0 = [11, 0, 21, 12, 20, 24, 10, 19, 23, 13, 1, 22, 14, 3, 7, 17, 2, 8, 15, 5, 25, 16, 4, 9, 18, 6]
GOLDEN_1 = [21, 4, 13, 22, 2, 16, 24, 3, 14, 23, 1, 15, 9, 10, 20, 7, 5, 17, 25, 6, 19, 8, 11, 18, 0, 12]
GOLDEN_MEMORY = [0, 5, 8, 1, 6, 11, 2, 3, 9, 7, 10, 4]


def test_epochs_and_seeds_differ():
    orders = [
        tuple(Plan([50], seed=seed, batch=5).samples(epoch, np.arange(50))) for seed in range(3) for epoch in range(3)
    ]
    assert len(set(orders)) == 9


def test_every_order_is_about_as_likely():
    counts = np.zeros((4, 4))
    for epoch in range(2000):
        counts[np.arange(4), Plan([4], seed=9, batch=1).samples(epoch, np.arange(4))] += 1
    # Binomial(2000, 1/4) has a standard deviation of 19.
    assert abs(counts - 500).max() < 5 * 19


def test_without_shuffling_the_order_is_natural():
    plan = Plan([4, 3], seed=0, batch=2, shuffle=False)
    assert plan.samples(5, np.arange(7)).tolist() == list(range(7))


def test_steps_are_numbered_through_the_epochs():
    plan = Plan([10], seed=0, batch=4, last="keep")
    assert [plan.locate(step) for step in range(4)] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert [plan.bounds(0, number) for number in range(3)] == [(0, 4), (4, 8), (8, 10)]
    assert (plan.first_step(3), plan.steps(2), plan.smallest) == (9, 3, 2)


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(DataError, match=r"batch.global: 8 samples make a batch, but the training part has 5\. Lower"):
        Plan([5], seed=0, batch=8)
    assert Plan([5], seed=0, batch=8, last="wrap").bounds(0, 0) == (0, 8)


def test_a_plan_over_many_shards_is_quick_and_small():
    plan = Plan(np.full(100_000, 10_000), seed=0, batch=1024, lanes=64)
    assert plan.total == 10**9
    start, stop = plan.bounds(7, 900_000)
    numbers = plan.samples(7, np.arange(start, stop))
    assert len(set(numbers.tolist())) == 1024
    assert len(plan._windows._values) <= 2 * 64 + 2
