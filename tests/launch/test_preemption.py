"""Preemption by partitions on a real Slurm: a job of more priority takes the nodes of three trainings."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dltk.run.folder import RunFolder
from tests.commands import wait_until
from tests.launch.conftest import Workshop, assert_equal_to_the_bit, curve, final_state, lines
from tests.launch.test_slurm import PLAIN, Cluster, Submitted, started

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]
EVERY = ("log.every_steps=1",)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    yield from started("--preempt")


@pytest.fixture(scope="module")
def preempted(cluster: Cluster, workshop: Workshop) -> dict[str, Submitted]:
    """Three runs, one in each partition that may be preempted, that met the same job of more priority."""
    runs = {}
    for partition, more in {
        "spare": ("--nodes", "2", "log.wandb=offline"),
        "graced": ("launch.threads=1",),
        "doomed": (),
    }.items():
        marks = workshop.marks(partition)
        (marks / "plan").write_text("train 5")
        fault = f"train.callbacks=[{{name: 'faults:Slow', marks: '{marks}', seconds: 2}}]"
        runs[partition] = Submitted(cluster, workshop, partition, f"site.partition={partition}", fault, *EVERY, *more)
    for partition, run in runs.items():
        there = (workshop.marks(partition) / "slow-0").exists
        wait_until(there, f"step 5 of {partition}", 200, lambda run=run: print(run.log()))
        (workshop.marks(partition) / "plan").write_text("nowhere 0")
    cluster.tool("srun", "--partition=urgent", "--exclusive", "-N2", "--job-name=urgent", "true")
    return runs


@pytest.fixture(scope="module")
def alone(workshop: Workshop) -> Path:
    """The run that nothing preempts."""
    return workshop.train("unpreempted", *PLAIN, *EVERY, "launch.threads=1")


@pytest.mark.parametrize("partition", ["spare", "graced"])
def test_a_preempted_job_saves_and_comes_back(preempted: dict[str, Submitted], partition: str, alone: Path) -> None:
    """At once killed and requeued by Slurm, after `KillWait` at the latest; or asked, with a time of grace."""
    run = preempted[partition].end()
    first, last = run.attempts()
    assert (first["reason"], first["exit_code"], last["reason"]) == ("SIGTERM", 85, "done")
    assert first["step"] == last["first_step"] >= 5, "nothing was lost"
    assert run.cluster.job(run.number)["Restarts"] == "1"
    assert [line["step"] for line in lines(run.path)] == list(range(1, 79))
    assert curve(run.path, "data/digest") == curve(alone, "data/digest")
    if partition == "graced":  # of one process
        assert_equal_to_the_bit(final_state(run.path), final_state(alone))
        return
    assert curve(run.path, "train/loss") == pytest.approx(curve(alone, "train/loss"), rel=1e-4)
    folders = [path.name.rpartition("-")[2] for path in (run.path / "wandb").glob("offline-run-*")]
    assert folders == 2 * [(run.path / "wandb" / "id").read_text().strip()]


def test_a_job_that_is_cancelled_by_preemption_says_how_to_go_on(
    preempted: dict[str, Submitted], workshop: Workshop
) -> None:
    run = preempted["doomed"].end("PREEMPTED")
    assert RunFolder.open(run.path).status == "preempted"
    (attempt,) = run.attempts()
    assert (attempt["reason"], attempt["exit_code"]) == ("SIGTERM", 85)
    said = workshop.dltk("status", "small/doomed", **run.cluster.environment)
    assert re.search(r"preempted, step \d+\njob \d+: PREEMPTED ", said.out)
    assert said.err == "Go on with: dltk submit runs/small/doomed\n"


def test_submit_tells_what_a_job_may_lose(preempted: dict[str, Submitted], workshop: Workshop) -> None:
    """By the time that saving took, as the run itself measured it."""
    run = preempted["doomed"].end("PREEMPTED")
    folder = RunFolder.open(run.path)
    assert folder.longest_save is not None
    assert 0 < folder.longest_save < 30

    def submitted(partition: str) -> str:
        arguments = ("small/doomed", "--site", "site-doomed.yaml", f"site.partition={partition}", "--test-only")
        return str(workshop.dltk("submit", *arguments, **run.cluster.environment).err)

    assert submitted("spare") == ""
    assert submitted("doomed") == (
        "Partition 'doomed': a job that is preempted does not come back (PreemptMode=CANCEL); queue others behind it "
        "by --chain.\n"
    )
    folder.note_save(99.0)
    assert submitted("graced") == (
        "Partition 'graced': a job that is preempted has 55 s (GraceTime 25 s, KillWait 30 s), and saving has taken "
        "99.0 s: what it trained since its last checkpoint is trained again; lower checkpoint.every_minutes (measured "
        "in runs/small/doomed).\n"
    )
