"""A recipe gives the same training under every strategy, and its checkpoints go on under any other."""

import json
from pathlib import Path

import pytest

from dltk.run.folder import RunFolder
from tests.launch.conftest import Workshop, curve, final_state
from tests.trainer.states import assert_close

PLAIN = ["model.dropout=0.0", "train.epochs=1", "train.clip_norm=0.5", "batch.accumulate=2", "log.every_steps=1"]


@pytest.fixture(scope="module")
def alone(workshop: Workshop) -> Path:
    """The training of one process."""
    return workshop.train("alone", *PLAIN)


def test_sharded_between_two_processes_it_is_the_same_training(workshop: Workshop, alone: Path) -> None:
    two = workshop.train("sharded", *PLAIN, "launch.devices=2", "launch.strategy=fsdp2")
    for metric in ("train/loss", "train/gradient_norm", "val/loss"):
        assert curve(two, metric) == pytest.approx(curve(alone, metric), abs=1e-5)
    assert curve(two, "data/digest") == curve(alone, "data/digest")
    assert_close(final_state(two), final_state(alone))
    checkpoints = RunFolder.open(two).checkpoints
    newest = checkpoints.newest()
    assert newest is not None
    manifest = checkpoints.manifest(newest)
    assert (manifest["strategy"], manifest["world_size"]) == ("fsdp2", 2)
    assert sorted(path.name for path in newest.iterdir()) == ["manifest.json", "state.pt"]


def test_it_goes_on_under_another_strategy(workshop: Workshop, alone: Path) -> None:
    fault = f"train.callbacks=[{{name: 'faults:KillAt', steps: [20], marks: '{workshop.marks('moved')}', rank: 1}}]"
    workshop.train("moved", *PLAIN, fault, "launch.devices=2", "launch.strategy=fsdp2", expect=1)
    command = workshop.dltk("train", "small.yaml", "run=moved", *PLAIN, fault)
    assert "step 14 was saved by 2 processes (fsdp2), and goes on with one process" in command.out + command.err
    assert_close(final_state(workshop.run("moved")), final_state(alone))
    evaluated = workshop.dltk("evaluate", "runs/small/moved", "--json", "launch.devices=1")
    assert evaluated.out


@pytest.mark.cluster
@pytest.mark.parametrize(
    ("before", "after"),
    [("ddp:2", "deepspeed-3:4"), ("deepspeed-2:4", "fsdp2:2"), ("deepspeed-3:2", "ddp:4"), ("deepspeed-1:2", "auto:1")],
)
def test_it_moves_through_the_command_line(workshop: Workshop, alone: Path, before: str, after: str) -> None:
    name = f"{before}-{after}".replace(":", "x")
    first, second = (
        [f"launch.strategy={place.partition(':')[0]}", f"launch.devices={place.partition(':')[2]}"]
        for place in (before, after)
    )
    fault = f"train.callbacks=[{{name: 'faults:KillAt', steps: [20], marks: '{workshop.marks(name)}', rank: 1}}]"
    workshop.train(name, *PLAIN, fault, *first, expect=1)
    command = workshop.dltk("train", "small.yaml", f"run={name}", *PLAIN, fault, *second)
    assert "step 14 was saved by" in command.out + command.err
    run = workshop.run(name)
    assert curve(run, "train/loss") == pytest.approx(curve(alone, "train/loss"), abs=1e-5)
    assert curve(run, "data/digest") == curve(alone, "data/digest")
    assert_close(final_state(run), final_state(alone))
    answer = json.loads(workshop.dltk("evaluate", str(run), "--json", "launch.devices=1").out)
    once = json.loads(workshop.dltk("evaluate", str(alone), "--json", "launch.devices=1").out)
    assert answer["samples"] == once["samples"]
    assert answer["metrics"] == pytest.approx(once["metrics"], abs=1e-4)


def test_ways_of_sending_gradients(workshop: Workshop, alone: Path) -> None:
    place = ["launch.devices=2", "launch.strategy=ddp"]
    small = workshop.train("small-buckets", *PLAIN, *place, "launch.bucket_mb=0.001")
    whole = ["batch.accumulate=null", "launch.static_graph=true"]
    static = workshop.train("static", *PLAIN, *place, *whole)
    assert curve(static, "train/loss") == pytest.approx(curve(alone, "train/loss"), abs=1e-5)
    assert curve(small, "train/loss") == pytest.approx(curve(alone, "train/loss"), abs=1e-5)
    rounded = workshop.train("rounded", *PLAIN, *place, "launch.compression=bf16")
    assert curve(rounded, "train/loss") != pytest.approx(curve(alone, "train/loss"), abs=1e-5)
    assert curve(rounded, "train/loss") == pytest.approx(curve(alone, "train/loss"), abs=0.05)
    said = workshop.dltk("train", str(small), "launch.compression=bf16", expect=2).err
    assert "launch.compression: this run was begun with 'none', not 'bf16'" in said
