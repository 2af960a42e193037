"""The same global batches on any number of ranks and workers, also after a stop and a start on others.

Three kinds of batches: of a fixed number of samples, of a budget of tokens, and of a language model's streams.
"""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dltk.data.datamodule import DataModule
from dltk.data.loader import TrainLoader
from tests.data.sharded import Sharded, Streams

WORLDS = [(1, 0), (1, 4), (2, 0), (2, 2), (3, 1), (4, 2)]  # ranks, workers


KINDS = {
    "samples": (Sharded, {"batch": 12, "last": "drop"}),
    "wrapped": (Sharded, {"batch": 12, "last": "wrap"}),
    "tokens": (Sharded, {"batch": 12, "tokens": 60}),
    "streams": (Streams, {"batch": 8}),
}


def module(kind: str) -> DataModule:
    dataset, settings_ = KINDS[kind]
    return DataModule(dataset, seed=5, epochs=2, whole_run=True, **settings_)


def batches(kind: str, world: int, workers: int, start: int, stop: int) -> list[list[tuple[int, str]]]:
    """The global batches `start` to `stop` of the run as sorted (place, key), read by all ranks one after another."""
    found: list[list[tuple[int, str]]] = [[] for _ in range(stop - start)]
    counts = []
    for rank in range(world):
        data = module(kind)
        reader = data.train_dataloader()._batches._share.reader
        loader = TrainLoader(
            reader, data.plan, rank=rank, world=world, workers=workers, span=lambda: (0, stop), start=lambda: start
        )
        counts.append(len(loader) - start)
        for batch in loader:
            info = batch["info"]
            assert int((batch["weight"] > 0).sum()) == len(info.keys)
            numbers = batch["image"][:, 0, 0, 0].tolist()[: len(info.keys)]
            assert [f"train/{number}" for number in numbers] == list(info.keys)
            found[info.step - start] += list(zip(info.places.tolist(), info.keys, strict=True))
        loader.close()
    assert len(set(counts)) == 1  # equally many batches on all ranks
    return [sorted(one) for one in found]


@pytest.mark.parametrize("kind", KINDS)
def test_every_world_reads_the_same_batches(kind):
    total = module(kind).total_steps
    whole = batches(kind, 1, 0, 0, total)
    chance = random.Random(kind)
    for world, workers in WORLDS[1:]:
        assert batches(kind, world, workers, 0, total) == whole, (world, workers)
        stop = chance.randrange(1, total)
        other = chance.choice(WORLDS)
        resumed = whole[:stop] + batches(kind, *other, stop, total)
        assert resumed == whole, (other, stop)


@pytest.mark.parametrize("kind", KINDS)
def test_each_epoch_holds_each_sample_once(kind):
    data = module(kind)
    whole = batches(kind, 1, 0, 0, data.total_steps)
    for epoch in range(2):
        keys = [key for batch in whole[data.first_step(epoch) : data.first_step(epoch + 1)] for _, key in batch]
        assert len(keys) == len(data.part("train")) - data.plan.dropped + data.plan.wrapped
        assert len(set(keys)) == len(data.part("train")) - data.plan.dropped
    assert whole[0] != whole[data.first_step(1)] or kind == "streams"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 25), min_size=1, max_size=9).filter(lambda sizes: sum(sizes) > 30), st.integers(1, 4))
def test_random_shards(sizes, world):
    data = DataModule(type("Some", (Sharded,), {"shard_sizes": tuple(sizes)}), seed=1, batch=10, epochs=1)
    keys = []
    for rank in range(world):
        loader = TrainLoader(data.train_dataloader()._batches._share.reader, data.plan, rank=rank, world=world)
        assert len(loader) == data.total_steps
        keys += [key for batch in loader for key in batch["info"].keys]
    assert len(keys) == len(set(keys)) == sum(sizes) - data.plan.dropped


def test_a_stream_stays_on_its_rank():
    data = module("streams")
    for rank in range(2):
        loader = TrainLoader(data.train_dataloader()._batches._share.reader, data.plan, rank=rank, world=2)
        for batch in loader:
            assert {int(key.split("/")[1]) % 8 for key in batch["info"].keys} == {rank, rank + 2, rank + 4, rank + 6}
