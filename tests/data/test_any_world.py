"""The same global batches on any number of ranks and workers, also after a stop, or a kill, and a start on others.

Three kinds of batches: of a fixed number of samples, of a budget of tokens, and of a language model's streams.
"""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dltk.data.datamodule import DataModule
from dltk.data.loader import TrainLoader
from dltk.data.plan import Plan
from dltk.data.token_plan import TokenPlan
from tests.data.reading import EPOCHS, KINDS, dataset_of, loader, plan_of, position
from tests.data.sharded import Sharded

WORLDS = [(1, 0), (1, 4), (2, 0), (2, 2), (3, 1), (4, 2)]  # ranks, workers
ROOT = Path(__file__).resolve().parents[2]


def batches(kind: str, world: int, workers: int, start: int, stop: int) -> list[list[tuple[int, str]]]:
    """The global batches `start` to `stop` of the run as sorted (place, key), read by all ranks one after another."""
    found: list[list[tuple[int, str]]] = [[] for _ in range(stop - start)]
    counts = []
    for rank in range(world):
        mine = loader(kind, rank, world, workers, start, stop)
        counts.append(len(mine) - start)
        for batch in mine:
            info = batch["info"]
            assert int((batch["weight"] > 0).sum()) == len(info.keys)
            numbers = batch["image"][:, 0, 0, 0].tolist()[: len(info.keys)]
            assert [f"train/{number}" for number in numbers] == list(info.keys)
            found[info.step - start] += list(zip(info.places.tolist(), info.keys, strict=True))
        mine.close()
    assert len(set(counts)) == 1  # equally many batches on all ranks
    return [sorted(one) for one in found]


@pytest.mark.parametrize("kind", KINDS)
def test_every_world_reads_the_same_batches(kind):
    total = plan_of(kind).first_step(EPOCHS)
    whole = batches(kind, 1, 0, 0, total)
    chance = random.Random(kind)
    for world, workers in WORLDS[1:]:
        assert batches(kind, world, workers, 0, total) == whole, (world, workers)
        stop = chance.randrange(1, total)
        other = chance.choice(WORLDS)
        resumed = whole[:stop] + batches(kind, *other, stop, total)
        assert resumed == whole, (other, stop)


def noted(folder: Path, kind: str) -> list[dict]:
    path = folder / f"{kind}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.timeout(300)
def test_killed_at_random_steps_and_gone_on_with_on_another_world(tmp_path):
    """Real processes, killed with all of their workers, each going on from the position that the last one noted."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    worlds = chance.sample(WORLDS, len(WORLDS))
    plans = {kind: plan_of(kind) for kind in KINDS if kind != "wrapped"}
    shortest = min(plan.first_step(EPOCHS) for plan in plans.values())
    kills = sorted(chance.sample(range(1, shortest - 1), len(WORLDS) - 1))
    print(f"seed {seed}: worlds {worlds}, killed after {kills} batches of each kind")
    for (world, workers), stop in zip(worlds, [*kills, None], strict=True):
        program = f"from tests.data.reading import main; main({world}, {workers}, {str(tmp_path)!r})"
        process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", program], cwd=ROOT, stderr=subprocess.PIPE)
        while process.poll() is None and (stop is None or len(noted(tmp_path, "streams")) < stop):
            time.sleep(0.02)
        if stop is not None:
            process.send_signal(signal.SIGKILL)
        said = process.communicate()[1].decode()
        assert process.returncode == (0 if stop is None else -signal.SIGKILL), said
    for kind, plan in plans.items():
        lines, steps = noted(tmp_path, kind), range(plan.first_step(EPOCHS))
        assert [tuple(line["before"]) for line in lines] == [position(plan, step) for step in steps]
        keys = [[tuple(pair) for pair in line["keys"]] for line in lines]
        assert keys == batches(kind, 1, 0, 0, len(steps)), (kind, seed)


@pytest.mark.parametrize("kind", KINDS)
def test_each_epoch_holds_each_sample_once(kind):
    plan, count = plan_of(kind), len(dataset_of(kind))
    whole = batches(kind, 1, 0, 0, plan.first_step(EPOCHS))
    for epoch in range(EPOCHS):
        keys = [key for batch in whole[plan.first_step(epoch) : plan.first_step(epoch + 1)] for _, key in batch]
        assert len(keys) == count - plan.dropped + plan.wrapped
        assert len(set(keys)) == count - plan.dropped
    assert whole[0] != whole[plan.first_step(1)] or kind == "streams"


sizes_of_shards = st.lists(st.integers(0, 25), min_size=1, max_size=9).filter(lambda sizes: sum(sizes) > 30)


@settings(max_examples=60)
@given(
    sizes_of_shards,
    st.sampled_from(["drop", "wrap", "keep", "tokens", "streams"]),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_random_shards(sizes, kind, world, lanes, epochs):
    """Each sample once in each epoch, but for what is counted; as many batches on each rank as the plan has steps."""
    members = {"shard_sizes": tuple(sizes), "lanes": lanes, "streams": kind == "streams"}
    dataset = type("Some", (Sharded,), members)
    how = {"tokens": 50} if kind == "tokens" else {"last": "drop" if kind == "streams" else kind}
    if kind == "keep" and 0 < sum(sizes) % 10 < world:
        return  # refused: the last batch has too few samples
    data = DataModule(dataset, seed=1, batch=10, epochs=epochs, whole_run=True, **how)
    plan = data.plan
    assert data.total_steps == sum(plan.steps(epoch) for epoch in range(epochs))  # what the scheduler is given
    seen = [[0] * sum(sizes) for _ in range(epochs)]
    for rank in range(world):
        reader = data.train_dataloader()._batches._share.reader
        mine = list(TrainLoader(reader, plan, rank=rank, world=world, span=lambda: (0, data.total_steps)))
        assert [batch["info"].step for batch in mine] == list(range(data.total_steps))
        for info in (batch["info"] for batch in mine):
            for key in info.keys:
                seen[info.epoch][int(key.split("/")[1])] += 1
    for counts in seen:
        assert sum(counts) == sum(sizes) - plan.dropped + plan.wrapped
        assert counts.count(0) == plan.dropped
        assert sum(count - 1 for count in counts if count > 1) == plan.wrapped


@settings(max_examples=60)
@given(sizes_of_shards, st.booleans(), st.integers(1, 4), st.data())
def test_a_position_is_the_whole_state(sizes, by_tokens, lanes, chosen):
    """(epoch, samples) tells the step, and the step the position."""
    make = {"seed": 3, "lanes": lanes, "window": 16}
    lengths = np.random.default_rng(0).integers(1, 20, (sum(sizes), 2))
    plan = TokenPlan(sizes, tokens=50, lengths=lengths, **make) if by_tokens else Plan(sizes, batch=7, **make)
    step = chosen.draw(st.integers(0, plan.first_step(3) - 1))
    epoch, number = plan.locate(step)
    samples, _ = plan.bounds(epoch, number)
    assert plan.first_step(epoch) + number == step
    assert samples == sum(stop - start for start, stop in (plan.bounds(epoch, i) for i in range(number)))


def test_a_stream_stays_on_its_rank():
    for rank in range(2):
        for batch in loader("streams", rank, 2, 0, 0, plan_of("streams").first_step(EPOCHS)):
            assert {int(key.split("/")[1]) % 8 for key in batch["info"].keys} == {rank, rank + 2, rank + 4, rank + 6}
