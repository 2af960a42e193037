"""Runs on a real Ray cluster of several nodes, started by `ray_cluster.py`; and what is refused before there is one."""

import itertools
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from dltk.errors import DltkError, ExitCode, LaunchError
from dltk.launch import ray_driver, ray_jobs
from dltk.launch.rank import End
from dltk.launch.ray_group import DRIVER, Workers, sizes
from dltk.launch.ray_worker import is_lost
from dltk.run.atomic import replace_file, to_json
from dltk.run.folder import RunFolder
from tests.commands import wait_until
from tests.launch.conftest import Workshop, curve, lines
from tests.launch.ray_cluster import RayCluster

LENGTH = ("train.epochs=8", "batch.global=36", "log.every_steps=2", "checkpoint.every_steps=10", "log.wandb=offline")


# Without a cluster -------------------------------------------------------------------------------------------------


def test_sizes_divide_the_batch() -> None:
    assert sizes(6, 16, 32) == [8, 16]
    assert sizes(2, 8, 36) == [2, 3, 4, 6]
    assert sizes(2, 8, 36, "launch.tensor", 2) == [2, 4, 6]
    with pytest.raises(LaunchError, match=r"--workers: 5 does not divide batch.global=32. Set 4 or 8\."):
        sizes(5, 5, 32)
    with pytest.raises(LaunchError, match=r"--min-workers: 9 is more than the 8 of --workers"):
        sizes(9, 8, 32)


def test_what_is_skipped_is_said() -> None:
    settings = {"batch": {"global": 32}, "launch": {"tensor": 1}}
    said = "groups of 8, 16 workers; 6, 7, 9, …, 14, 15 do not divide batch.global=32 and are skipped"
    assert Workers(16, 6).skipped(settings) == said
    assert Workers(8, 8).skipped(settings) == ""


def test_a_lost_process_is_told_from_a_crash() -> None:
    gloo = RuntimeError(
        "[third_party/gloo/gloo/transport/tcp/pair.cc:545] Read error [10.0.0.2]:1: Connection reset by peer"
    )
    assert is_lost(gloo)
    assert is_lost(torch.distributed.DistBackendError("NCCL communicator was aborted"))
    outer = ValueError("in a hook")
    outer.__cause__ = gloo
    assert is_lost(outer)
    assert not is_lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_lost(ConnectionResetError("Connection reset by peer"))  # a server of shards


def test_a_waiting_driver_leaves_when_asked(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "recipe", {}, run="run")
    assert not ray_driver._is_to_leave(run)
    run.request_stop("ray", "3 workers have room", requeue=True)  # is for a group alone
    assert not ray_driver._is_to_leave(run)
    run.request_stop("somebody", "dltk cancel", requeue=False)
    assert ray_driver._is_to_leave(run)
    number = run.ledger.begin({"step": 0})  # a group hears of it by itself
    assert not ray_driver._is_to_leave(run)
    run.ledger.end(number, "unknown, another process was lost", None, 0)
    assert ray_driver._is_to_leave(run)
    assert ray_driver._concluded(run, 0, None) is ExitCode.INTERRUPTED
    run.request_stop(DRIVER, "SIGTERM", requeue=True)
    assert ray_driver._is_to_leave(run)
    assert ray_driver._concluded(run, 0, None) is ExitCode.PREEMPTED


def test_an_end_from_the_ledger_and_the_workers_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder.create(tmp_path, "recipe", {}, run="run")
    (run.path / "logs").mkdir()
    run.ledger.begin({"step": 0})
    for rank, end in enumerate(
        [End(1, "RuntimeError: gloo", 2.0), End(1, "ZeroDivisionError: planted", 1.0, trace="at x")]
    ):
        replace_file(End.path(run.path, rank), to_json(asdict(end)))
    assert ray_driver._concluded(run, 0, RuntimeError("Ray's words")) is ExitCode.CRASHED
    assert run.ledger.attempts()[0]["reason"] == "ZeroDivisionError: planted"  # the first to fail
    assert "at x" in capsys.readouterr().err
    mistake = End(2, "what", 0.5, mistake=("small.yaml:3", "data.size", "9 is too many", "Set at most 8."))
    replace_file(End.path(run.path, 0), to_json(asdict(mistake)))
    with pytest.raises(DltkError, match=r"small.yaml:3: data.size: 9 is too many\. Set at most 8\."):
        ray_driver._concluded(run, 0, RuntimeError("Ray's words"))


class StartingServer:
    """In the place of a job server whose cluster is still starting: says so some times, in Ray's words."""

    def __init__(self, times: int) -> None:
        self.times, self.asked = times, 0

    def submit_job(self, *, submission_id: str, **_: Any) -> str:
        self.asked += 1
        if self.asked <= self.times:
            words = "No available agent to submit job, please try again later."
            raise RuntimeError(f"Request failed with status code 500: {words}")
        return submission_id


def test_a_cluster_that_starts_is_waited_for_by_a_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = {"python": None, "environment": {}}
    job = ray_jobs.Job(tmp_path, (2, 2, 1), site, (), tmp_path, tmp_path)
    monkeypatch.setattr(ray_jobs.time, "sleep", lambda seconds: None)
    server = StartingServer(3)
    monkeypatch.setattr(ray_jobs, "client", lambda address: server)
    said: list[str] = []
    assert ray_jobs.submit("http://head:8265", job, "dltk-7", said.append) == "dltk-7"
    assert said == ["The cluster at http://head:8265 is still starting: waiting for it, 60 s at most."]
    server.times = 10**9
    monkeypatch.setattr(ray_jobs, "STARTS", 0.0)
    with pytest.raises(LaunchError, match="the job server: Request failed with status code 500: No available agent"):
        ray_jobs.submit("http://head:8265", job, "dltk-7", said.append)


# On a cluster ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A missing Ray fails the tests that need it."""
    assert Path(sys.executable).with_name("ray").exists(), "Ray is not installed: the extra `ray`"
    cluster = RayCluster()
    yield cluster
    cluster.close()


class Submitted:
    """A run that was handed to the cluster."""

    def __init__(self, cluster: RayCluster, workshop: Workshop, name: str, *arguments: str) -> None:
        self.cluster, self.workshop, self.name = cluster, workshop, f"linear_digits/{name}"
        self.path = workshop.folder / "runs" / self.name
        self.said = self.dltk("submit", "linear_digits", "--on", "ray", "--address", cluster.address, f"run={name}",
                              "launch.resize_seconds=1.0", *arguments).out  # fmt: skip
        assert "submitted as job dltk-linear_digits-" in self.said

    def dltk(self, *arguments: str, **more: Any) -> Any:
        return self.workshop.dltk(*arguments, **{**self.cluster.environment, **more})

    def state(self) -> str:
        return str(json.loads(self.dltk("status", self.name, "--json").out)["state"])

    def attempts(self) -> list[dict[str, Any]]:
        return RunFolder.open(self.path).ledger.attempts()

    def step(self) -> int:
        known = lines(self.path) if (self.path / "metrics.jsonl").exists() else []
        return int(known[-1]["step"]) if known else 0

    def wait(self, true: Any, what: str, timeout: float = 90) -> None:
        wait_until(true, what, timeout, lambda: print(self.attempts(), self.log()))

    def is_at_work(self) -> bool:
        """Whether its job has not left."""
        return self.state() in ("PENDING", "RUNNING")

    def training(self, number: int, world: int) -> None:
        """Wait until an attempt of so many workers has come some steps further."""

        def there() -> bool:
            last = (self.attempts() or [{"attempt": 0}])[-1]
            if last["attempt"] < number or last["end"] is not None:
                return False
            return bool(last["world_size"] == world and self.step() > last["first_step"] + 5)

        self.wait(there, f"attempt {number} with {world} workers")

    def log(self) -> str:
        return "\n".join(path.read_text()[-6000:] for path in sorted((self.path / "logs").glob("ray-*.out")))


class Journey:
    """One run, to which everything happens, and what was seen on the way."""

    def __init__(self, cluster: RayCluster, workshop: Workshop) -> None:
        began = time.monotonic()

        def passed(what: str) -> None:
            print(f"{time.monotonic() - began:5.1f} s: {what}")

        def gated(name: str, step: int) -> tuple[Path, str]:
            marks = workshop.marks(name)
            (marks / "gate").write_text(str(step))
            return marks / "gate", f"train.callbacks=[{{name: 'faults:Gate', marks: '{marks}'}}]"

        never = 1_000_000
        alone = ("train", "linear_digits", "run=alone", *LENGTH, gated("alone", never)[1], "launch.accelerator=cpu")
        whole = workshop.start(*alone)  # while the nodes start
        self.alone = workshop.folder / "runs" / "linear_digits" / "alone"
        gate, callbacks = gated("ray", 1)
        first, second = cluster.add(), cluster.add()
        cluster.await_server()
        asked = ("--workers", "4", "--min-workers", "1")
        self.run = run = Submitted(cluster, workshop, "journey", *asked, *LENGTH, callbacks)
        passed("submitted")
        run.training(1, 2)
        whole.end()
        passed("training")
        self.state = run.state()
        os.kill(second.workers()[0], signal.SIGKILL)
        run.training(2, 2)
        passed("went on without a worker")
        cluster.add()
        run.training(3, 3)
        passed("grew by a node")
        cluster.kill(first)
        run.training(4, 2)
        passed("went on without a node")
        cluster.stop()  # the head, and all with it
        cluster.start_head()
        cluster.add()
        cluster.await_server()
        run.dltk("submit", f"runs/{run.name}", "--on", "ray", "--address", cluster.address, "--workers", "1")
        run.training(5, 1)
        passed("went on with another head")
        replace_file(gate, str(never))  # it is read meanwhile
        run.wait(lambda: RunFolder.open(run.path).status in ("done", "crashed"), "the end")
        passed("is done")


@pytest.fixture(scope="module")
def journey(cluster: RayCluster, workshop: Workshop) -> Journey:
    return Journey(cluster, workshop)


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_a_run_goes_on_whatever_is_lost_or_added(journey: Journey) -> None:
    attempts = journey.run.attempts()
    assert journey.state == "RUNNING"
    assert [one["world_size"] for one in attempts] == [2, 2, 3, 2, 1]
    assert [one["exit_code"] for one in attempts] == [None, 85, None, None, 0]
    assert attempts[1]["reason"] == "asked to stop by ray: 3 workers have room, instead of 2"
    assert attempts[2]["first_step"] == attempts[1]["step"] > 0  # nothing is done twice when a node is added
    assert attempts[4]["first_step"] > 0
    for before, after in itertools.pairwise(attempts):
        assert after["first_step"] >= before["first_step"]


@pytest.mark.cluster
def test_no_sample_is_lost_or_doubled(journey: Journey) -> None:
    run, alone = journey.run.path, journey.alone
    assert curve(run, "data/digest") == curve(alone, "data/digest")
    assert curve(run, "train/loss") == pytest.approx(curve(alone, "train/loss"), rel=1e-3)
    steps = [line["step"] for line in lines(run)]
    assert steps == sorted(set(steps))


@pytest.mark.cluster
def test_it_is_one_run_of_wandb(journey: Journey) -> None:
    names = [path.name for path in (journey.run.path / "wandb").glob("offline-run-*")]
    assert len(names) >= 3
    assert len({name.rpartition("-")[2] for name in names}) == 1


@pytest.mark.cluster
def test_what_it_printed_is_kept(journey: Journey) -> None:
    said = journey.run.dltk("logs", journey.run.name).out
    assert "attempt 5: 1 worker, from step" in said
    first = sorted((journey.run.path / "logs").glob("ray-*.out"), key=lambda path: path.stat().st_mtime)[0].read_text()
    for number, world in ((1, 2), (2, 2), (3, 3), (4, 2)):
        assert re.search(rf"attempt {number}: {world} workers, from step \d+", first)


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_sweep_submits_what_is_missing_and_a_crash_stays_away(
    journey: Journey, cluster: RayCluster, workshop: Workshop
) -> None:
    """Of two runs one is done already, and the other diverges."""
    (workshop.folder / "rates.yaml").write_text("optimizer.lr: [0.1, 1.0e+38]\n")
    short = ("train.epochs=null", "train.steps=4", "log.wandb=disabled", "runs_dir=swept-on-ray")
    command = ("sweep", "linear_digits", "rates.yaml", *short)
    workshop.dltk("train", "linear_digits", *short, "run=lr=0.1", "log.group=linear_digits-rates")
    said = workshop.dltk(*command, "--on", "ray", "--address", cluster.address, **cluster.environment).out
    assert "2 runs, 1 to submit" in said
    runs = workshop.folder / "swept-on-ray" / "linear_digits"
    crashed = RunFolder.open(runs / "lr=1e+38")
    journey.run.wait(lambda: crashed.status == "crashed", "the crash")
    (attempt,) = crashed.ledger.attempts()
    assert attempt["exit_code"] == 1
    assert "not finite" in attempt["reason"] or "was nan" in attempt["reason"] or "was inf" in attempt["reason"]
    answer = json.loads(workshop.dltk("status", str(crashed.path), "--json", **cluster.environment).out)
    assert answer["state"] in ("RUNNING", "FAILED")  # the job may be on its way out


@pytest.fixture(scope="module")
def pair(journey: Journey, cluster: RayCluster) -> RayCluster:
    """The cluster with room for two workers."""
    cluster.add().await_start()
    return cluster


@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.parametrize("overlay", ["fsdp2", pytest.param("deepspeed-2", marks=pytest.mark.long)])
def test_workers_train_as_one_process_does_under(
    overlay: str, pair: RayCluster, journey: Journey, workshop: Workshop
) -> None:
    run = Submitted(pair, workshop, f"ray-{overlay}", overlay, "--workers", "2", "--min-workers", "2", *LENGTH)
    run.wait(lambda: RunFolder.open(run.path).status in ("done", "crashed"), "the end", 150)
    (attempt,) = run.attempts()
    assert (attempt["world_size"], attempt["exit_code"]) == (2, 0)
    assert curve(run.path, "data/digest") == curve(journey.alone, "data/digest")
    assert curve(run.path, "train/loss") == pytest.approx(curve(journey.alone, "train/loss"), rel=1e-5)
