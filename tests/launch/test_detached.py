"""`dltk submit --on here`: a training that outlives the shell, and is followed and ended like a cluster's job."""

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dltk.errors import LaunchError
from dltk.launch import detached
from dltk.run.folder import RunFolder
from tests.commands import processes, wait_until
from tests.launch.conftest import Workshop


def test_a_run_apart_from_the_shell(workshop: Workshop) -> None:
    """Cancelled while Python starts, submitted again, followed, stopped."""
    marks, run = workshop.marks("apart"), workshop.run("apart")
    (marks / "plan").write_text("train 12")
    fault = f"train.callbacks=[{{name: 'faults:Slow', marks: '{marks}'}}]"
    said = workshop.dltk("submit", "small.yaml", "run=apart", fault, "--on", "here", RANK="1", WORLD_SIZE="2")
    pid = int(said.out.partition("started as process ")[2].split()[0])
    assert processes()[pid][1] == pid, "it has a session of its own"
    twice = workshop.dltk("submit", "small/apart", "--on", "here", expect=2)
    assert "small/apart: " in twice.err
    workshop.dltk("cancel", "small/apart")
    wait_until(lambda: pid not in processes(), "the first process to leave")
    opened = RunFolder.open(run)
    assert (opened.status, opened.ledger.attempts()[-1]["exit_code"]) == ("interrupted", 130)

    workshop.dltk("submit", "small/apart", "log.every_steps=4", "--on", "here")
    followed = workshop.start("logs", "-f", "small/apart")
    wait_until((marks / "slow-0").exists, "step 12", 60)
    about = json.loads(workshop.dltk("status", "small/apart", "--json").out)
    assert (about["status"], about["state"]) == ("running", "RUNNING")
    assert about["why"].startswith(f"process {about['job']} on ")
    again = workshop.dltk("submit", "small/apart", "--on", "here", expect=2)
    assert again.err.startswith("runs/small/apart: is running")
    workshop.dltk("stop", "small/apart", "--why", "enough")
    followed.end()
    assert "from step" in followed.out
    said = workshop.dltk("status", "small/apart")
    assert "PREEMPTED (asked to stop by " in said.out
    assert said.err == "Go on with: dltk submit runs/small/apart --on here\n"
    last = RunFolder.open(run).ledger.attempts()[-1]
    assert (last["exit_code"], last["world_size"], last["changed"]) == (85, 1, {"log.every_steps": 4})
    assert sorted(path.name for path in (run / "logs").glob("*.out")) == ["here-1.out", "here-2.out"]
    assert list((run / "jobs" / "2" / "code").iterdir()), "it ran a copy of the code"


@pytest.mark.parametrize(("arguments", "said"), [
    (("--nodes", "2"), "--nodes: does not belong to --on here. Leave it out."),
    (("launch.nodes=2",), "launch.nodes: 2 asked, and this is one machine. Submit it to a cluster: --on slurm."),
    (("launch.container={kind: wrapper, command: [enter]}",), "launch.container: is entered by a cluster's jobs, and "
     "this is none. Submit it from inside the container, with launch.container=null."),
    (("launch.accelerator=cuda",), "launch.accelerator: 'cuda' asked, this machine has no CUDA device. Use 'auto'."),
])  # fmt: skip
def test_mistakes_leave_nothing(workshop: Workshop, arguments: tuple[str, ...], said: str) -> None:
    found = workshop.dltk("submit", "small.yaml", "run=never", "--on", "here", *arguments, expect=2)
    assert found.err == f"{said}\n"
    assert not workshop.run("never").exists()


def test_a_dry_run_leaves_nothing(workshop: Workshop) -> None:
    said = workshop.dltk("submit", "small.yaml", "run=dry-here", "--on", "here", "--dry-run").out
    assert said.endswith(f" -u -m dltk train {workshop.run('dry-here')}\n")
    assert not workshop.run("dry-here").exists()


def test_a_process_that_never_came_to_an_attempt(tmp_path: Path) -> None:
    """Another process may have its number by now."""
    run = RunFolder.create(tmp_path, "recipe", {}, run="run")
    job = run.new_job()
    job.mkdir(parents=True)
    (job / "log").write_text("data_dir: no such folder.\n\n")
    known = {"machine": detached.machine(), "pid": 1, "process": "of another", "host": "h", "log": str(job / "log")}
    (job / "job.json").write_text(json.dumps(known))
    run.note_job("here", "1", str(job / "job.json"), {})
    expected = {"JobState": "FAILED", "Reason": "data_dir: no such folder.", "NodeList": "h"}
    assert detached.state(run) == expected
    assert not detached.is_active(run)
    detached.interrupt(run)  # nobody


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run in a working folder of its own, whose recipe no training would take."""
    monkeypatch.chdir(tmp_path)
    return RunFolder.create("runs", "recipe", {}, run="run")


def test_a_process_that_cannot_be_noted_does_not_stay(apart: RunFolder) -> None:
    (apart.path / "jobs.jsonl").mkdir()  # the disk refuses a line
    with pytest.raises(LaunchError, match=r"jobs\.jsonl: cannot write"):
        detached.start(apart, {}, print)
    known = json.loads((apart.path / "jobs" / "1" / "job.json").read_text())
    assert known["pid"] not in processes()


def test_ctrl_c_while_a_process_starts_leaves_it_noted(apart: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def interrupted(*arguments: Any, **named: Any) -> "subprocess.Popen[bytes]":
        started.append(subprocess.Popen(*arguments, **named))
        os.kill(os.getpid(), signal.SIGINT)
        return started[0]

    with monkeypatch.context() as patched:
        patched.setattr(detached, "subprocess", type("Interrupted", (), {"Popen": interrupted, "DEVNULL": -3}))
        with pytest.raises(KeyboardInterrupt):
            detached.start(apart, {}, print)
    started[0].kill()
    started[0].wait()
    assert [job["id"] for job in apart.jobs()] == [str(started[0].pid)]


def test_an_attempt_before_the_job_is_not_the_job_s(apart: RunFolder) -> None:
    number = apart.ledger.begin({"step": 0})
    apart.ledger.end(number, "asked to stop", 85, 0)
    job = apart.new_job()
    job.mkdir(parents=True)
    (job / "log").write_text("data_dir: no such folder.\n")
    known = {"machine": detached.machine(), "pid": 1, "process": "of another", "host": "h", "log": str(job / "log")}
    (job / "job.json").write_text(json.dumps(known))
    line = {"on": "here", "id": "1", "script": str(job / "job.json")}
    for time, expected in (
        ("2999-01-01T00:00:00Z", ("FAILED", "data_dir: no such folder.")),
        ("2000-01-01T00:00:00Z", ("PREEMPTED", "asked to stop")),
    ):
        (apart.path / "jobs.jsonl").write_text(json.dumps({**line, "time": time}) + "\n")
        said = detached.state(apart)
        assert (said["JobState"], said["Reason"]) == expected


def test_what_a_process_keeps_of_the_environment(apart: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "TORCHELASTIC_RUN_ID", "LOCAL_RANK"):
        monkeypatch.setenv(name, "3")
    monkeypatch.setattr(detached, "command", lambda run, changed: ["env"])
    pid = int(detached.start(apart, {}, print))
    wait_until(lambda: pid not in processes(), "the process to end")
    said = (apart.path / "logs" / "here-1.out").read_text().splitlines()
    assert "OMP_NUM_THREADS=3" in said
    assert not [line for line in said if line.startswith(("TORCHELASTIC_", "LOCAL_RANK="))]


def test_the_log_is_found_from_any_folder(apart: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detached, "command", lambda run, changed: ["sh", "-c", "echo the last line"])
    pid = int(detached.start(apart, {}, print))
    wait_until(lambda: pid not in processes(), "the process to end")
    monkeypatch.chdir("/")
    assert detached.state(RunFolder.open(tmp_path / apart.path))["Reason"] == "the last line"
