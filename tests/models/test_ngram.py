"""Counted n-grams: against a count by hand, sums of one, and what other discounts make of them."""

import itertools
import math
from collections import Counter

import pytest
import torch

from dltk.models.ngram import NGram

WORDS = 9


@pytest.fixture(name="lanes", scope="module")
def made_lanes() -> torch.Tensor:
    drawn = torch.Generator().manual_seed(3)
    shares = 1.0 / torch.arange(1, WORDS)
    return torch.multinomial(shares, 400, replacement=True, generator=drawn).view(2, 200) + 1


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("discount", ["modified", 0.4])
def test_probabilities_of_every_context_sum_to_one(order, discount, lanes):
    model = NGram(vocab_size=WORDS, order=order, discount=discount)
    model.fit(lanes)
    contexts = torch.tensor(list(itertools.product(range(WORDS), repeat=order - 1)), dtype=torch.int64)
    contexts = contexts.view(len(contexts), order - 1)  # seen and unseen ones
    sums = model.log_probabilities(contexts).exp().sum(1)
    assert sums.tolist() == pytest.approx([1.0] * len(contexts), abs=1e-9)


def test_words_alone_without_a_discount_are_relative_frequencies(lanes):
    model = NGram(vocab_size=WORDS, order=1, discount=0)
    model.fit(lanes)
    found = model.log_probabilities(torch.zeros(1, 0, dtype=torch.int64)).exp()[0]
    assert found.tolist() == pytest.approx((torch.bincount(lanes.flatten(), minlength=WORDS) / 400).tolist())


def test_a_discount_above_every_count_leaves_the_lower_order(lanes):
    model = NGram(vocab_size=WORDS, order=2, discount=1e9)
    model.fit(lanes)
    found = model.log_probabilities(torch.arange(WORDS)[:, None]).exp()
    assert torch.allclose(found, torch.full_like(found, 1 / WORDS)), "the words alone are discounted away as well"


def test_bigrams_are_those_counted_by_hand(lanes):
    """Chen and Goodman's equations in plain Python."""
    model = NGram(vocab_size=WORDS, order=2)
    model.fit(lanes)
    pairs = Counter(pair for lane in lanes.tolist() for pair in itertools.pairwise(lane))
    before = Counter(word for _, word in pairs)  # different words seen before each

    def discounts(counts):
        n = [sum(value == times for value in counts.values()) for times in (1, 2, 3, 4)]
        if not all(n):
            return [n[0] / (n[0] + 2 * n[1]) if n[0] else 0.5] * 3
        y = n[0] / (n[0] + 2 * n[1])
        return [max(0, times - (times + 1) * y * n[times] / n[times - 1]) for times in (1, 2, 3)]

    def less(count, taken):
        return count - min(count, taken[min(count, 3) - 1]) if count else 0

    of_pairs, of_words = discounts(pairs), discounts(before)
    total = sum(before.values())
    rest = sum(count - less(count, of_words) for count in before.values()) / total
    for first, word in itertools.product(range(WORDS), repeat=2):
        lower = less(before[word], of_words) / total + rest / WORDS
        own = {pair: count for pair, count in pairs.items() if pair[0] == first}
        if own:
            whole = sum(own.values())
            left = sum(count - less(count, of_pairs) for count in own.values()) / whole
            wanted = less(own.get((first, word), 0), of_pairs) / whole + left * lower
        else:
            wanted = lower
        got = model.probabilities(torch.tensor([[first]]), torch.tensor([word]))
        assert float(got) == pytest.approx(wanted, rel=1e-12), (first, word)


def test_contexts_go_on_from_one_window_to_the_next(lanes):
    model = NGram(vocab_size=WORDS, order=3)
    whole, last = model.read(lanes, model.start(2))
    first, state = model.read(lanes[:, :120], model.start(2))
    second, after = model.read(lanes[:, 120:], state)
    assert torch.equal(torch.cat([first, second], dim=1), whole)
    assert torch.equal(after, last)
    assert torch.equal(whole[:, 5], lanes[:, 4:6])


def test_a_state_brings_the_counts_back(lanes):
    model, other = NGram(vocab_size=WORDS, order=2), NGram(vocab_size=WORDS, order=2)
    model.fit(lanes)
    other.load_state_dict(model.state_dict())
    contexts = torch.arange(WORDS)[:, None]
    assert torch.equal(model.log_probabilities(contexts), other.log_probabilities(contexts))


def test_what_cannot_be_counted_is_refused(lanes):
    with pytest.raises(ValueError, match="no numbers of 63 bits"):
        NGram(vocab_size=10_000, order=5)
    with pytest.raises(ValueError, match="lanes are 2 words long, an n-gram has 3"):
        NGram(vocab_size=WORDS, order=3).fit(lanes[:, :2])
    with pytest.raises(RuntimeError, match="have not been counted"):
        NGram(vocab_size=WORDS, order=1).losses(torch.zeros(1, 0, dtype=torch.int64), torch.tensor([1]))
    impossible = NGram(vocab_size=WORDS, order=1, discount=0)
    impossible.fit(lanes)
    assert float(impossible.losses(torch.zeros(1, 0, dtype=torch.int64), torch.tensor([0]))) == math.inf
