"""Splits: fixed by key, in proportion, the same for ever."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dltk.data.digits import Digits
from dltk.data.hashing import hash64, hash_keys, mix, uniforms
from dltk.data.mnist import Mnist
from dltk.data.splits import ENOUGH, SPLITS, split


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200))
def test_parts_are_disjoint_complete_and_in_proportion_for_each_class(targets):
    keys = [f"k{i}" for i in range(len(targets))]
    parts = split(keys, targets)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(targets)))
    for one in set(targets):
        count = targets.count(one)
        sizes = [sum(targets[i] == one for i in part) for part in parts]
        assert all(abs(size - share * count) <= 1 for size, share in zip(sizes, (0.7, 0.1, 0.2), strict=True))


@given(st.integers(ENOUGH, 2000))
def test_enough_samples_leave_no_part_empty(count):
    assert all(len(part) for part in split([str(i) for i in range(count)], [0] * count))


def test_a_samples_part_depends_on_its_key_and_not_on_its_place():
    keys, targets = [f"sample {i}" for i in range(100)], [i % 3 for i in range(100)]
    parts = [{keys[i] for i in part} for part in split(keys, targets)]
    backwards = split(keys[::-1], targets[::-1])
    assert parts == [{keys[::-1][i] for i in part} for part in backwards]


def test_the_splits_of_the_data_sets_never_change():
    sizes = {name: [len(made(one)) for one in SPLITS] for name, made in SETS.items()}
    assert sizes == {"digits": [1258, 180, 359], "mnist5000": [3500, 500, 1000]}
    for name, made in SETS.items():
        sets = [made(one) for one in SPLITS]
        keys = [key for one in sets for key in one.keys]
        assert len(set(keys)) == len(keys)
        assert [hash64("\n".join(one.keys)) for one in sets] == GOLDEN[name]


SETS = {"digits": lambda one: Digits(one), "mnist5000": lambda one: Mnist(one, variant="5000")}
GOLDEN = {
    "digits": [17863633641847382561, 7793877137712858592, 2599506800688117211],
    "mnist5000": [5098470818986852152, 15160609969506097130, 17819673834540205972],
}


def test_hashes_never_change():
    assert hash64("digits/0000") == int(hash_keys(["digits/0000"])[0]) == GOLDEN_HASH
    assert mix(1, 2, 3).tolist() == GOLDEN_MIX
    assert mix(1, 2).tolist() != mix(2, 1).tolist()


GOLDEN_HASH = 17544068682304764791
GOLDEN_MIX = [7702586659592502839]


def test_uniform_numbers_are_uniform():
    drawn = uniforms(0, 0, hash_keys(f"k{i}" for i in range(20_000)), 3)
    assert drawn.shape == (20_000, 3)
    assert 0 <= drawn.min() < drawn.max() < 1
    assert abs(drawn.mean(0) - 0.5).max() < 0.01
    assert abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 0.03
