"""Several machines of several processes each, started on this one as a cluster's job would start them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dltk.errors import ExitCode, LaunchError
from dltk.launch import nodes
from dltk.launch.nodes import Node
from dltk.launch.rank import End
from dltk.launch.simulation import Simulation
from dltk.run import lease
from dltk.run.folder import RunFolder
from dltk.trainer.faults import Faults, Kill, Slow, write
from dltk.trainer.signals import Signals
from tests.commands import processes, wait_until
from tests.launch.conftest import Workshop, assert_equal_to_the_bit, curve, final_state

PLAIN = ("model.dropout=0.0", "train.epochs=1", "train.seed=3")


def test_what_simulate_reads() -> None:
    found = Simulation.read("2x4", ["rank=3@step=7"], ["rank=1:200ms"])
    assert found == Simulation(2, 4, (Kill(3, 7), Slow(1, 200)))
    assert found.settings == ["launch.nodes=2", "launch.devices=4", "launch.accelerator=cpu"]
    (callback,) = Faults.of_environment({"DLTK_FAULTS": write(found.faults)})
    assert callback._faults == list(found.faults)
    assert Faults.of_environment({}) == []


@pytest.mark.parametrize(("given", "said"), [
    (("2by4", [], []), "--simulate: '2by4' cannot be read. Write 2x4"),
    (("0x2", [], []), "'0x2' cannot be read"),
    (("2x2", ["rank=4@step=1"], []), "there is no rank 4 among 4 processes. Ranks go from 0 to 3."),
    (("2x2", ["rank=1"], []), "--kill: 'rank=1' cannot be read. Write rank=3@step=7."),
    (("2x2", [], ["rank=1:2s"]), "--slow: 'rank=1:2s' cannot be read. Write rank=1:200ms."),
])  # fmt: skip
def test_what_simulate_refuses(given: tuple[str, list[str], list[str]], said: str) -> None:
    with pytest.raises(LaunchError, match=said):
        Simulation.read(*given)


def test_the_machine_of_a_slurm_task() -> None:
    said = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "2"}
    assert Node.of_slurm({**said, "SLURMD_NODENAME": "n2"}) == Node(1, 2, "slurm 7.0", "n2")
    assert Node.of_slurm({**said, "SLURM_RESTART_COUNT": "3"}).job == "slurm 7.3"
    with pytest.raises(LaunchError, match=r"4 tasks on 2 nodes.*--ntasks-per-node=1"):
        Node.of_slurm({**said, "SLURM_STEP_NUM_TASKS": "4"})
    with pytest.raises(LaunchError, match=r"'SLURM_STEP_NUM_TASKS' is missing or wrong\. It is started by"):
        Node.of_slurm({})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    made = RunFolder.create(tmp_path, "recipe", {}, run="run")
    (made.path / "logs").mkdir()
    return made


def machine(number: int, job: str = "slurm 7.1") -> Node:
    return Node(number, 3, job, "127.0.0.1")


def test_nobody_waits_for_a_first_machine_that_has_left(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), nodes.leading(folder.path, machine(0)):
        raise ZeroDivisionError
    assert nodes.follow(folder.path, machine(1), Signals()) is ExitCode.DONE
    assert "the first of 3 machines left before the training began" in capsys.readouterr().err


def test_nobody_waits_for_a_first_machine_that_has_died(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    """Before it holds the run's lease, too."""
    text = "import os, sys; from pathlib import Path; from dltk.launch.nodes import Node, leading\n"
    text += "with leading(Path(sys.argv[1]), Node(0, 3, 'slurm 7.1', '127.0.0.1')): os.kill(os.getpid(), 9)"
    died = subprocess.run([sys.executable, "-c", text, folder.path], check=False)
    assert died.returncode == -signal.SIGKILL
    assert not (folder.path / "LEASE").exists()
    began = time.monotonic()
    assert nodes.follow(folder.path, machine(1), Signals()) is ExitCode.CRASHED
    assert time.monotonic() - began < 15
    said = capsys.readouterr().err
    assert "the first of 3 machines died (last heartbeat 2" in said
    assert said.endswith(") before the training began\n")


def test_a_first_machine_elsewhere_has_died_when_its_heart_stopped(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "COMING", 0.6)
    sign = folder.path / "logs" / "leader.json"
    with nodes.leading(folder.path, machine(0)):
        record = {**json.loads(sign.read_text()), "host": "elsewhere"}
    assert not sign.exists(), "one that has left has not died"
    (folder.path / "logs" / "meeting.json").unlink()
    for job, silence, died in (("slurm 7.1", 95, True), ("slurm 7.1", 80, False), ("slurm 7.0", 95, False)):
        then = time.time() - silence
        sign.write_text(json.dumps({**record, "job": job, "heartbeat": then}))
        os.utime(sign, (then, then))
        with contextlib.nullcontext() if died else pytest.raises(LaunchError, match="no word of the first"):
            assert nodes.follow(folder.path, machine(1), Signals()) is ExitCode.CRASHED


def test_the_heart_of_a_first_machine_beats(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "HEARTBEAT", 0.02)
    sign = folder.path / "logs" / "leader.json"
    with nodes.leading(folder.path, machine(0)):
        first = json.loads(sign.read_text())
        wait_until(lambda: json.loads(sign.read_text())["heartbeat"] > first["heartbeat"], "a heartbeat", 10)
    assert first["job"] == "slurm 7.1"


def test_what_an_earlier_attempt_left_means_nothing(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "COMING", 0.6)
    with nodes.leading(folder.path, machine(0, "slurm 7.0")):
        pass
    with pytest.raises(LaunchError, match="no word of the first of 3 machines within 1 s"):
        nodes.follow(folder.path, machine(1), Signals())
    for number, job in ((1, "slurm 7.0"), (2, "slurm 7.1")):
        nodes._tell(folder.path / "logs", machine(number, job), {"here": "127.0.0.1"})
    with pytest.raises(LaunchError, match=r"no word of machine 2 of 3 within 1 s\. Look into the job's log"):
        nodes.lead(folder, machine(0), "cpu", 1, None, Signals())
    assert not list((folder.path / "logs").glob("rank-*")), "a process was started that would wait for the others"


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_machine_that_is_told_to_leave_before_it_begins(folder: RunFolder, number: int) -> None:
    told = Signals()
    told.received = number
    assert nodes.follow(folder.path, machine(1), told) is ExitCode.PREEMPTED
    found = nodes.lead(folder, machine(0), "cpu", 1, None, Signals())
    assert found == (ExitCode.PREEMPTED, signal.Signals(number).name)


def test_a_folder_that_is_no_run_is_not_waited_for(tmp_path: Path) -> None:
    with nodes.leading(tmp_path, machine(0)):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LaunchError, match="not a run folder"):
        nodes.follow(tmp_path, machine(1), Signals())


def test_faults_and_machines_are_asked_for_as_a_whole(workshop: Workshop) -> None:
    said = workshop.dltk("train", "small.yaml", "--kill", "rank=0@step=1", expect=2)
    assert said.err == "--kill: makes a fault of a simulation only. Add --simulate 2x4.\n"
    said = workshop.dltk("train", "small.yaml", "run=lonely", "launch.nodes=2", expect=2)
    assert "launch.nodes: 2 asked, and this is one machine. Submit it to a cluster" in said.err


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_two_machines_train_as_one_process_does(workshop: Workshop) -> None:
    alone = workshop.train("one", *PLAIN)
    simulated = ("--simulate", "2x2", "--slow", "rank=3:5ms")
    said = workshop.dltk("train", "small.yaml", "run=two", *PLAIN, *simulated, cold_ranks=True)
    assert "4 processes on 2 machines" in said.out
    assert said.out.count("test/top1_error") == 1, "the table, once"
    run = workshop.run("two")
    assert curve(run, "data/digest") == curve(alone, "data/digest")
    for metric in ("train/loss", "val/loss"):
        assert curve(run, metric) == pytest.approx(curve(alone, metric), rel=1e-5)
    (attempt,) = RunFolder.open(run).ledger.attempts()
    assert (attempt["world_size"], attempt["nodes"], attempt["exit_code"]) == (4, 2, 0)


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_process_of_either_machine_dies(workshop: Workshop) -> None:
    workshop.dltk("train", "small.yaml", "run=whole", *PLAIN, "--simulate", "2x1")
    for rank in (0, 1):
        fault = ("--kill", f"rank={rank}@step=20")
        said = workshop.dltk("train", "small.yaml", "run=killed", *PLAIN, "--simulate", "2x1", *fault, expect=1)
        assert f"rank {rank} of 2 failed: signal SIGKILL" in said.err.splitlines()[0]
        noticed = (workshop.run("killed") / "logs" / "failed.json").stat().st_mtime
        other = End.read(workshop.run("killed"), 1 - rank)
        assert other is not None, "it did not notice, and was killed"
        assert other.time - noticed < 15
        assert RunFolder.open(workshop.run("killed")).ledger.attempts()[-1]["step"] == 14
    workshop.dltk("train", "runs/small/killed", "--simulate", "2x1")
    assert_equal_to_the_bit(final_state(workshop.run("killed")), final_state(workshop.run("whole")))
    assert curve(workshop.run("killed"), "data/digest") == curve(workshop.run("whole"), "data/digest")


@pytest.mark.cluster
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 85), (signal.SIGINT, 130)])
def test_all_machines_leave_together(workshop: Workshop, number: int, code: int) -> None:
    name = f"left-{code}"
    slow = ("--simulate", "2x1", "--slow", "rank=1:200ms")
    command = workshop.start("train", "small.yaml", f"run={name}", *PLAIN, "log.every_steps=1", *slow)
    metrics: Path = workshop.run(name) / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and metrics.read_text().count("\n") > 2, "some steps", 60, command.kill)
    started = below(command.pid)
    assert len(started) >= 4, "two launchers and their processes"
    command.signal(number)
    command.end(code)
    assert RunFolder.open(workshop.run(name)).ledger.attempts()[-1]["exit_code"] == code
    wait_until(lambda: not started & processes().keys(), "the launchers to leave", 5)
    workshop.dltk("train", f"runs/small/{name}", "--simulate", "1x2")
    assert RunFolder.open(workshop.run(name)).status == "done"


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_signal_that_comes_while_python_starts_is_not_lost(workshop: Workshop) -> None:
    command = workshop.start("train", "small.yaml", "run=early", *PLAIN, "--simulate", "2x1", cold_ranks=True)
    wait_until(lambda: len(below(command.pid)) == 2, "the launchers", 60, command.kill)
    started = below(command.pid)
    command.signal(signal.SIGTERM)
    command.end(85)
    (attempt,) = RunFolder.open(workshop.run("early")).ledger.attempts()
    assert (attempt["reason"], attempt["exit_code"], attempt["step"]) == ("SIGTERM", 85, 0)
    wait_until(lambda: not (started & processes().keys() or named("early")), "the launchers to leave", 5)


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_second_ctrl_c_leaves_nothing_behind(workshop: Workshop) -> None:
    slow = ("--simulate", "2x1", "--slow", "rank=1:3000ms")
    command = workshop.start("train", "small.yaml", "run=twice", *PLAIN, "log.every_steps=1", *slow)
    metrics: Path = workshop.run("twice") / "metrics.jsonl"
    wait_until(metrics.exists, "a step", 90, command.kill)
    started = below(command.pid)
    assert len(started) >= 4, "two launchers and their processes"
    for _ in range(2):
        command.signal(signal.SIGINT)
        time.sleep(0.3)
    command.end(130, 5)
    wait_until(lambda: not started & processes().keys(), "the launchers to leave", 5)


def below(pid: int) -> set[int]:
    """The processes that a process has started, and those that they have."""
    found: set[int] = set()
    while more := {one for one, (parent, _) in processes().items() if parent in {pid, *found}} - found:
        found |= more
    return found


def named(run: str) -> set[int]:
    """Processes that have a run's folder on their command line, as those that were not forked do."""
    found = set()
    for pid in processes():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            found |= {pid} if any(word.endswith(f"runs/small/{run}") for word in words) else set()
    return found
