"""Sequences made by rule: that their answers are right, that they are the same whoever asks, and never end."""

import numpy as np
import pytest
import torch

from dltk.data.datamodule import DataModule
from dltk.data.dataset import keys_of
from dltk.data.loader import Reader, TrainLoader
from dltk.data.long_lags import ENDLESS, Adding, Copying, TemporalOrder, TwoSequence
from dltk.errors import DataError

EVERY = [Adding, TemporalOrder, Copying]
MANY = np.arange(1000)


def rows(part, numbers=MANY):
    batch = part.batch(numbers)
    return [{name: values[row].numpy() for name, values in batch.items()} for row in range(len(numbers))]


def test_adding_is_the_paper_s():
    lengths, sums = set(), []
    for one in rows(Adding("train", steps=50)):
        inputs, last = one["inputs"], int(one["at"][0])
        lengths.add(last + 1)
        values, marks = inputs[: last + 1].T
        assert marks[0] == marks[last] == -1
        assert not inputs[last + 1 :].any()
        assert np.abs(values).max() <= 1
        marked = np.flatnonzero(marks == 1)
        assert len(marked) in (1, 2)
        assert marked[0] < 10 or len(marked) == 1
        assert marked[-1] < 24
        sums.append(float(one["target"][0, 0]))
        assert sums[-1] == pytest.approx(
            0.5 + values[marked].sum() / 4, abs=1e-6
        )  # a first pair that was marked counts 0
    assert lengths == set(range(50, 56))
    assert np.mean(sums) == pytest.approx(0.5, abs=0.02)
    assert np.var(sums) == pytest.approx(2 / 3 / 16, rel=0.1)  # what always answering 0.5 costs, but for zeros


@pytest.mark.parametrize(("symbols", "spans"), [(2, [(10, 20), (50, 60)]), (3, [(10, 20), (33, 43), (66, 76)])])
def test_temporal_order_is_the_paper_s(symbols, spans):
    found = set()
    for one in rows(TemporalOrder("val", symbols=symbols, held_out=1000)):
        last = int(one["at"][0])
        assert (one["inputs"][: last + 1].sum(1) == 1).all()
        assert not one["inputs"][last + 1 :].any()
        names = one["inputs"].argmax(1)[: last + 1]
        assert (names[0], names[last]) == (6, 7)
        assert 100 <= last + 1 <= 110
        told = [at for at in range(last) if names[at] in (4, 5)]
        assert len(told) == symbols
        assert all(low <= at < high for at, (low, high) in zip(told, spans, strict=True))
        bits = "".join(str(names[at] - 4) for at in told)
        assert int(bits, 2) == int(one["target"][0])
        found.add(bits)
    assert len(found) == 2**symbols


def test_copying_asks_for_what_was_seen_first():
    for one in rows(Copying("test", steps=30), np.arange(50)):
        names = one["inputs"].argmax(1)
        assert len(names) == 50
        assert names[:10].tolist() == one["target"].tolist()
        assert (names[10:39] == 8).all()
        assert names[39] == 9  # the copy begins one step behind it
        assert (names[40:] == 8).all()
        assert one["at"].tolist() == list(range(40, 50))


@pytest.mark.parametrize("kind", EVERY)
def test_a_sequence_depends_on_seed_split_and_number_alone(kind):
    train = kind("train", steps=30)
    assert len(train) == ENDLESS
    far = ENDLESS - 3
    alone, among = train[far], train.batch(np.array([5, far, 7]))
    assert all(torch.equal(alone[name], among[name][1]) for name in alone)
    others = [train[far - 1], kind("train", steps=30, seed=1)[far], kind("val", steps=30)[7], kind("test", steps=30)[7]]
    drawn = [one["inputs"] for one in [alone, train[7], *others]]
    assert all(not torch.equal(drawn[i], drawn[j]) for i in range(len(drawn)) for j in range(i))


@pytest.mark.parametrize("kind", EVERY)
def test_batches_are_the_same_on_any_world_and_from_any_place(kind):
    data = DataModule(kind, {"steps": 30, "held_out": 9}, batch=6, steps=1000, whole_run=True)
    part = data.part("train")

    def batch(rank, world):
        reader = Reader(part, keys_of(part, "train"))
        place = {"rank": rank, "world": world, "span": lambda: (0, 1000), "start": lambda: 900}
        return next(iter(TrainLoader(reader, data.plan, **place)))

    whole, parts = batch(0, 1), [batch(0, 2), batch(1, 2)]
    assert whole["info"].keys == tuple(f"train/{number}" for number in range(5400, 5406))
    for name in ("inputs", "at", "target"):
        assert torch.equal(whole[name], torch.stack([one[name] for one in parts], 1).flatten(0, 1))
    held = [key for one in data.val_dataloader() for key in one["info"].keys]
    assert held == [f"val/{number}" for number in range(9)]


def test_another_setting_is_another_data_set():
    def index(**settings):
        return DataModule(Adding, {"steps": 30, **settings}, batch=6, steps=9, whole_run=True).index

    assert index() == index()
    assert len({index(), index(seed=3), index(steps=31), index(held_out=7)}) == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adding("train", steps=10), "data.steps: 10 are too few. Set at least 24."),
        (lambda: TemporalOrder("train", steps=19), "data.steps: 19 are too few. Set at least 20."),
        (lambda: Copying("train", steps=0), "data.steps: 0 are too few. Set at least 1."),
        (lambda: Copying("train", symbols=0), "data.symbols: 0 to copy. Set at least 1."),
        (lambda: Adding("val", held_out=0), "data.held_out: 0 sequences. Set at least 1."),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(DataError) as caught:
        make()
    assert str(caught.value) == message


def test_two_sequences_differ_by_three_numbers_and_are_as_many_as_are_asked_for():
    train = TwoSequence("train", steps=20)
    assert [len(train), len(TwoSequence("test", held_out=9)), len(TwoSequence("train", sequences=5))] == [30, 9, 5]
    batch = train.batch(np.arange(30))
    targets = batch["target"][:, 0, 0]
    assert set(targets.tolist()) == {1.0, -1.0}
    assert (batch["at"] == 19).all()
    assert (batch["inputs"][:, 3:].abs() <= 0.1).all()
    assert batch["inputs"][:, 3:].std() == pytest.approx(0.2 / 12**0.5, rel=0.1)
    for which, pattern in ((1.0, train.patterns[0]), (-1.0, train.patterns[1])):
        begins = batch["inputs"][targets == which, :3, 0]
        assert np.abs(begins.numpy() - pattern).max() <= 0.1 + 1e-6
    assert np.abs(train.patterns).max() <= 1
    assert (TwoSequence("val").patterns == train.patterns).all()
    assert (TwoSequence("val", seed=2).patterns != train.patterns).any()


def test_two_sequences_that_cannot_be_made():
    with pytest.raises(DataError, match=r"data\.steps: 2 are too few\. Set at least 3"):
        TwoSequence("train", steps=2)
    with pytest.raises(DataError, match=r"data\.sequences: 0 to train on"):
        TwoSequence("train", sequences=0)
