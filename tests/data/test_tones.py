"""Tones: that the rule is kept, and that a sample is the same whoever asks."""

import numpy as np
import pytest
import torch

from dltk.data.dataset import check_data
from dltk.data.tones import HELD, SPOKEN, SYMBOLS, Tones
from dltk.errors import DataError


def test_a_sample_is_a_function_of_seed_split_and_number() -> None:
    few, many = Tones("train", utterances=20), Tones("train", utterances=40)
    assert all(np.array_equal(few[k]["frames"], many[k]["frames"]) for k in range(20))
    for other in (Tones("val", utterances=40), Tones("train", utterances=40, seed=1)):
        assert not np.array_equal(few[0]["frames"][:3], other[0]["frames"][:3])
    assert [len(Tones(split, utterances=40)) for split in ("train", "val", "test")] == [40, 4, 8]
    assert len({Tones(split, utterances=40).index_hash for split in ("train", "val", "test")}) == 3


def test_each_symbol_is_held_as_long_as_the_rule_says_and_none_follows_itself() -> None:
    part = Tones("train", utterances=200, noise=0.0)
    held = set()
    for sample in (part[k] for k in range(200)):
        frames, target = sample["frames"], sample["target"]
        changes = np.flatnonzero((frames[1:] != frames[:-1]).any(1)) + 1
        held |= set(np.diff([0, *changes, len(frames)]).tolist())
        assert len(changes) + 1 == len(target)
        assert (target[1:] != target[:-1]).all()
        assert SPOKEN[0] <= len(target) <= SPOKEN[1]
    assert held == set(range(HELD[0], HELD[1] + 1))
    counts = np.bincount(np.concatenate([part[k]["target"] for k in range(200)]))
    assert counts[0] == 0
    assert (counts[1:] > 100).all()
    assert len(counts) == 1 + len(SYMBOLS)


def test_a_batch_is_its_samples_with_zeros_behind() -> None:
    part = Tones("train", utterances=20)
    batch = part.batch(np.array([3, 5]))
    for at, number in enumerate((3, 5)):
        sample = part[number]
        assert batch["length"][at] == len(sample["frames"]) == part.lengths[number, 1]
        assert torch.equal(batch["frames"][at, : len(sample["frames"])], torch.from_numpy(sample["frames"]))
        assert not batch["frames"][at, len(sample["frames"]) :].any()
        assert batch["target"][at].tolist()[: len(sample["target"])] == sample["target"].tolist()


def test_its_facts() -> None:
    facts = check_data(Tones, {"utterances": 20}, None)
    assert facts.classes == 8
    assert facts.lengths is not None
    assert facts.lengths.shape == (20, 2)


def test_what_is_refused() -> None:
    with pytest.raises(DataError, match=r"data\.utterances: 9 are too few"):
        Tones("train", utterances=9)
    with pytest.raises(DataError, match=r"data\.noise: -1"):
        Tones("train", noise=-1.0)
