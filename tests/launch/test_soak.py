"""Kills at random moments, again and again: the run ends as if there had been none. Long: `pytest -m long`."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dltk.run.folder import RunFolder
from tests.commands import wait_until
from tests.launch.conftest import Workshop, assert_equal_to_the_bit, curve, final_state, lines
from tests.launch.faults import MOMENTS
from tests.launch.test_slurm import Cluster, Submitted, started

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
STEPS = 117


@pytest.mark.parametrize("workers", [0, 2])
def test_ten_random_steps_and_five_saves(workshop: Workshop, reference: Path, workers: int) -> None:
    draw = random.Random(workers)
    marks, name = workshop.marks(f"soak-{workers}"), f"soak-{workers}"
    steps = sorted(draw.sample(range(1, STEPS + 1), 10))
    saves = {draw.randrange(7 * i, 7 * (i + 3)): draw.choice([*MOMENTS]) for i in (1, 4, 7, 10, 13)}
    faults = [f"{{name: 'faults:KillAt', steps: {steps}, marks: '{marks}'}}"]
    for step, moment in saves.items():
        faults.append(f"{{name: 'faults:KillWhileSaving', step: {step}, moment: '{moment}', marks: '{marks}'}}")
    arguments = ["train", "small.yaml", f"run={name}", f"data.workers={workers}"]
    arguments.append(f"train.callbacks=[{', '.join(faults)}]")
    print(f"\nkills at {steps}, in the saves after {saves}")
    run, kills = workshop.run(name), until_done(workshop, arguments, -9)
    assert len(list(marks.glob("killed-saving-*"))) == 5
    assert 10 <= kills <= 15, "two faults may strike in one attempt's same step"
    as_uninterrupted(run, reference)


def test_ten_random_moments(workshop: Workshop, reference: Path) -> None:
    # By the clock, from outside: between hooks, in the middle of imports, of restoring, of the evaluation.
    draw, run, marks = random.Random(3), workshop.run("moments"), workshop.marks("moments")
    (marks / "plan").write_text("train 0")
    fault = f"train.callbacks=[{{name: 'faults:Slow', marks: '{marks}', seconds: 0.02}}]"
    for _ in range(10):
        command = workshop.start("train", "small.yaml", "run=moments", fault)
        time.sleep(draw.uniform(0.4, 1.8))
        command.kill()
        command.end(None)
    workshop.dltk("train", "small.yaml", "run=moments", fault)
    as_uninterrupted(run, reference)


def test_ten_random_steps_of_either_of_two_processes(workshop: Workshop) -> None:
    draw = random.Random(2)
    steps = sorted(draw.sample(range(1, STEPS + 1), 10))
    marks = workshop.marks("soak-ddp")
    faults = [f"{{name: 'faults:KillAt', steps: {steps[r::2]}, marks: '{marks}', rank: {r}}}" for r in (0, 1)]
    two = ["launch.devices=2", "launch.strategy=ddp"]
    untouched = workshop.train("untouched", *two)
    arguments = ["train", "small.yaml", "run=soak-ddp", *two, f"train.callbacks=[{', '.join(faults)}]"]
    assert until_done(workshop, arguments, 1) == 10
    as_uninterrupted(workshop.run("soak-ddp"), untouched)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    yield from started("--preempt")


def test_twenty_preemptions_on_slurm(cluster: Cluster, workshop: Workshop) -> None:
    # By Slurm itself, by the notice of the end of its time, by a signal: wherever the job is, its imports too.
    began, draw = time.monotonic(), random.Random(5)
    settings = ("train.epochs=9", "launch.threads=1")
    alone = workshop.train("unpreempted-soak", "model.dropout=0.0", "train.seed=3", *settings)
    run = Submitted(cluster, workshop, "soak-slurm", "site.partition=spare", *settings, slow=400)
    hows = []
    for count in range(1, 21):
        wait_until(lambda: run.state() == "RUNNING", "the job to run", 200, lambda: print(run.log()))
        time.sleep(draw.uniform(0, 15))
        hows.append(how := draw.choice(("preempted", "told", "signalled", "requeued")))
        if how == "preempted":
            cluster.tool("srun", "--partition=urgent", "--exclusive", "-N2", "--job-name=urgent", "true")
        elif how == "requeued":
            cluster.tool("scontrol", "requeue", run.number)
        else:
            run.imports()
            cluster.tool("scancel", *(["--batch"] if how == "told" else []), "--signal=USR1", run.number)
        gone = lambda count=count: int(cluster.job(run.number)["Restarts"]) == count  # noqa: E731
        wait_until(gone, f"preemption {count}", 200, lambda: print(run.log()))
    run.end(timeout=600)
    as_uninterrupted(run.path, alone)
    print(f"{len(hows)} preemptions ({', '.join(hows)}) in {time.monotonic() - began:.0f} s")


def until_done(workshop: Workshop, arguments: list[str], killed: int) -> int:
    """Start the command until it comes to its end; how often it was killed."""
    for kills in range(20):
        command = workshop.dltk(*arguments, expect=None)
        assert command.code in (0, killed), command.err
        assert "damaged" not in command.err
        if command.code == 0:
            return kills
    raise AssertionError("killed twenty times")


def as_uninterrupted(run: Path, other: Path) -> None:
    assert_equal_to_the_bit(final_state(run), final_state(other))
    for metric in ("train/loss", "val/loss", "val/top1_error", "data/digest", "train/lr"):
        assert curve(run, metric) == curve(other, metric)
    steps = [line["step"] for line in lines(run)]
    assert steps == sorted(set(steps))
    attempts = RunFolder.open(run).ledger.attempts()
    print(f"{run.name}: {len(attempts)} attempts, steps gained {[a['steps'] for a in attempts]}")
