"""A training that is killed goes on as if nothing had happened: weights, average, optimiser, metrics, order."""

from pathlib import Path

import pytest

from dltk.run.folder import RunFolder
from tests.launch.conftest import Workshop, assert_equal_to_the_bit, curve, final_state, lines


@pytest.mark.parametrize(("workers", "kills"), [(0, [9, 50, 78]), (2, [37])])
def test_killed_and_resumed_equals_uninterrupted(
    workshop: Workshop, reference: Path, workers: int, kills: list[int]
) -> None:
    name = f"killed-{workers}"
    fault = f"{{name: 'faults:KillAt', steps: {kills}, marks: '{workshop.marks(name)}'}}"
    arguments = ["train", "small.yaml", f"run={name}", f"data.workers={workers}", f"train.callbacks=[{fault}]"]
    for _ in kills:
        workshop.dltk(*arguments, expect=-9)
    workshop.dltk(*arguments)
    run = workshop.folder / "runs" / "small" / name
    assert_equal_to_the_bit(final_state(run), final_state(reference))
    assert curve(run, "train/loss") == curve(reference, "train/loss")
    assert curve(run, "val/top1_error") == curve(reference, "val/top1_error")
    assert curve(run, "data/digest") == curve(reference, "data/digest")
    steps = [line["step"] for line in lines(run) if "train/loss" in line]
    assert steps == sorted(set(steps)), "no duplicate step after any number of restarts"


def test_writing_beside_the_training_changes_nothing(workshop: Workshop, reference: Path) -> None:
    run = workshop.train("foreground", "checkpoint.asynchronous=false")
    behind, before = (RunFolder.open(path).checkpoints for path in (reference, run))
    assert behind.steps().keys() == before.steps().keys()
    for one, other in zip(behind.steps().values(), before.steps().values(), strict=True):
        assert behind.manifest(one) == before.manifest(other), "sha256 and size too"
    for metric in ("train/loss", "val/top1_error", "data/digest"):
        assert curve(run, metric) == curve(reference, metric)


def test_two_processes_give_the_same_curve_and_resume(workshop: Workshop, reference: Path) -> None:
    # Dropout masks come from each process's generator: without it one and two processes compute the same.
    short = ["model.dropout=0.0", "train.epochs=1"]
    plain = workshop.train("one-process", *short)
    fault = f"{{name: 'faults:KillAt', steps: [20], marks: '{workshop.marks('two')}', rank: 1}}"
    arguments = ["train", "small.yaml", *short, "launch.devices=2", "launch.strategy=ddp"]
    workshop.dltk(*arguments, "run=two", cold_ranks=True)
    two = workshop.folder / "runs" / "small" / "two"
    one_curve, two_curve = curve(plain, "train/loss"), curve(two, "train/loss")
    assert one_curve.keys() == two_curve.keys()
    assert two_curve == pytest.approx(one_curve, abs=1e-5)
    assert curve(two, "data/digest") == curve(plain, "data/digest")

    killed = workshop.dltk(*arguments, "run=two-killed", f"train.callbacks=[{fault}]", expect=1)
    assert "rank 1 of 2 failed: signal SIGKILL" in killed.err
    workshop.dltk(*arguments, "run=two-killed", f"train.callbacks=[{fault}]")
    assert_equal_to_the_bit(final_state(workshop.folder / "runs" / "small" / "two-killed"), final_state(two))
