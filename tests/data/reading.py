"""A process that reads three kinds of batches through the loaders of every rank, and notes what it consumed.

    python -c 'from tests.data.reading import main; main(WORLD, WORKERS, FOLDER)'

FOLDER/KIND.jsonl has a line for each global batch: the positions before and after it as (epoch, samples), and its keys
by place. The process goes on from its last line, as a run goes on from a checkpoint's position.
"""

import json
import os
import time
from pathlib import Path

from dltk.data.loader import Reader, TrainLoader
from dltk.data.plan import Plan
from dltk.data.token_plan import TokenPlan
from tests.data.sharded import Sharded, Streams

EPOCHS, SEED = 2, 5
KINDS = ("samples", "wrapped", "tokens", "streams")


def plan_of(kind: str) -> Plan | TokenPlan:
    """The order of one kind of batches."""
    if kind == "streams":
        return Plan(Streams.shard_sizes, seed=SEED, batch=8, shuffle=False)
    make = {"seed": SEED, "lanes": Sharded.lanes, "window": Sharded.window}
    if kind == "tokens":
        return TokenPlan(Sharded.shard_sizes, tokens=60, lengths=Sharded("train").lengths, **make)
    return Plan(Sharded.shard_sizes, batch=12, last="wrap" if kind == "wrapped" else "drop", **make)


def dataset_of(kind: str) -> Sharded:
    """The data of one kind of batches."""
    return Streams("train") if kind == "streams" else Sharded("train")


def loader(kind: str, rank: int, world: int, workers: int, start: int, stop: int) -> TrainLoader:
    """One rank's share of the global batches `start` to `stop` of the run."""
    data = dataset_of(kind)
    reader = Reader(data, [f"train/{number}" for number in range(len(data))], seed=SEED)
    span = {"span": lambda: (0, stop), "start": lambda: start}
    return TrainLoader(reader, plan_of(kind), rank=rank, world=world, workers=workers, **span)


def position(plan: Plan | TokenPlan, step: int) -> tuple[int, int]:
    """The epoch after so many global batches, and the samples of it that are consumed."""
    epoch, number = plan.locate(step)
    return epoch, plan.bounds(epoch, number)[0]


def step_at(plan: Plan | TokenPlan, wanted: tuple[int, int]) -> int:
    """The global batch of the run that begins at a position."""
    return next(step for step in range(plan.first_step(EPOCHS) + 1) if position(plan, step) == wanted)


def main(world: int, workers: int, folder: str) -> None:
    """Read one global batch of each kind in turn, until all are done.

    To be called from a command without a module of its own, which every worker would import.
    """
    reading = [Reading(kind, world, workers, Path(folder)) for kind in KINDS if kind != "wrapped"]
    while reading:
        reading = [one for one in reading if one.advance()]
        time.sleep(0.002)  # else it may be done before it is killed


class Reading:
    """The reading of one kind of batches."""

    def __init__(self, kind: str, world: int, workers: int, folder: Path) -> None:
        self.plan, path = plan_of(kind), folder / f"{kind}.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        self.step = step_at(self.plan, tuple(json.loads(lines[-1])["after"])) if lines else 0
        stop = self.plan.first_step(EPOCHS)
        ranks = [loader(kind, rank, world, workers, self.step, stop) for rank in range(world)]
        assert len({len(rank) for rank in ranks}) == 1, "ranks have different numbers of batches"
        self.ranks = [iter(rank) for rank in ranks]
        self.notes = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def advance(self) -> bool:
        """Consume one global batch; tells whether there was one."""
        batches = [batch for batch in (next(rank, None) for rank in self.ranks) if batch is not None]
        assert len(batches) in (0, len(self.ranks)), "a rank ran out of batches before another"
        if not batches:
            return False
        infos = [batch["info"] for batch in batches]
        keys = sorted(pair for info in infos for pair in zip(info.places.tolist(), info.keys, strict=True))
        before, self.step = position(self.plan, self.step), self.step + 1
        line = {"before": before, "after": position(self.plan, self.step), "keys": keys}
        os.write(self.notes, json.dumps(line).encode() + b"\n")
        return True
