"""Batches by tokens: against the rule written out sample by sample, and over random lengths."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dltk.data.plan import Order, permutation
from dltk.data.token_plan import TokenPlan, cut
from dltk.errors import DataError

shards = st.lists(st.integers(0, 60), min_size=1, max_size=8).filter(sum)


def lengths_of(total: int, seed: int, longest: int = 30) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, longest + 1, (total, 2)).astype(np.int32)


def reference(plan: TokenPlan, epoch: int) -> list[list[int]]:
    """The epoch's batches, sample by sample."""
    order = Order(plan.sizes, seed=plan.seed, lanes=plan.lanes, window=plan.window)
    line, result = order.samples(epoch, np.arange(plan.total)).tolist(), []
    for number, begin in enumerate(range(0, plan.total, plan.pool)):
        places = range(begin, min(begin + plan.pool, plan.total))
        ranked = sorted(places, key=lambda k: (plan.lengths[line[k]][1], plan.lengths[line[k]][0], k))
        batches: list[list[int]] = [[]]
        for place in ranked:
            tried = [*batches[-1], line[place]]
            if len(tried) * max(plan.lengths[n].max() for n in tried) <= plan.tokens:
                batches[-1] = tried
            else:
                batches.append([line[place]])
        result += [batches[i] for i in permutation(len(batches), plan.seed, epoch, "batches", number)]
    return result


@settings(max_examples=60, deadline=None)
@given(shards, st.integers(0, 99), st.integers(0, 3), st.integers(1, 5), st.integers(30, 200), st.integers(1, 90))
def test_the_batches_are_the_reference_and_hold_each_sample_once(sizes, seed, epoch, lanes, tokens, pool):
    lengths = lengths_of(sum(sizes), seed)
    plan = TokenPlan(sizes, seed=seed, tokens=tokens, lengths=lengths, lanes=lanes, window=16, pool=pool)
    batches = [
        plan.samples(epoch, np.arange(*plan.bounds(epoch, number))).tolist() for number in range(plan.steps(epoch))
    ]
    assert batches == reference(plan, epoch)
    assert sorted(number for batch in batches for number in batch) == list(range(plan.total))
    for number, batch in enumerate(batches):
        assert len(batch) * lengths[batch].max() <= tokens
        assert plan.planned(epoch, number) == lengths[batch, 1].sum()


def test_steps_are_located_across_epochs_of_different_length():
    plan = TokenPlan([300], seed=3, tokens=64, lengths=lengths_of(300, 5), window=32, pool=50)
    lengths = [plan.steps(epoch) for epoch in range(4)]
    assert len(set(lengths)) > 1  # else this test says little
    places = [(epoch, number) for epoch in range(4) for number in range(lengths[epoch])]
    fresh = TokenPlan([300], seed=3, tokens=64, lengths=lengths_of(300, 5), window=32, pool=50)
    assert [fresh.locate(step) for step in range(len(places))] == places
    assert [fresh.first_step(epoch) for epoch in range(5)] == [0, *np.cumsum(lengths)]


def test_any_batch_can_be_computed_alone():
    make = {"seed": 3, "tokens": 64, "lengths": lengths_of(300, 5), "window": 32, "pool": 50}
    plan = TokenPlan([300], **make)
    number = plan.steps(2) - 3
    alone = TokenPlan([300], **make)
    bounds = alone.bounds(2, number)
    assert bounds == plan.bounds(2, number)
    assert (alone.samples(2, np.arange(*bounds)) == plan.samples(2, np.arange(*bounds))).all()


def test_little_is_padding():
    lengths = np.random.default_rng(0).geometric(0.05, (20_000, 1)).clip(1, 100).repeat(2, axis=1)
    plan = TokenPlan([20_000], seed=0, tokens=4096, lengths=lengths)
    real = padded = 0
    for number in range(plan.steps(0)):
        batch = lengths[plan.samples(0, np.arange(*plan.bounds(0, number)))]
        real, padded = real + batch[:, 0].sum(), padded + len(batch) * batch[:, 0].max()
    assert real / padded > 0.95


def test_a_sample_longer_than_the_budget_is_refused():
    lengths = lengths_of(100, 0)
    lengths[42, 0] = 77
    with pytest.raises(DataError, match=r"batch\.tokens: 64 are fewer than the 77 of sample 42\. Set at least 77"):
        TokenPlan([100], seed=0, tokens=64, lengths=lengths)


@given(st.integers(1, 80), st.integers(0, 99), st.integers(5, 90), st.integers(1, 20))
def test_batches_for_evaluation_hold_each_text_once_and_few_tokens(total, seed, tokens, samples):
    lengths = lengths_of(total, seed)
    order, ends = cut(lengths, tokens=tokens, samples=samples)
    assert sorted(order.tolist()) == list(range(total))
    batches = np.split(order, ends[:-1])
    assert ends[-1] == total
    for batch in batches:
        assert 1 <= len(batch) <= samples
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= tokens
