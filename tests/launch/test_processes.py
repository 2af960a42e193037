"""One of four processes fails, under every strategy: a line names it and the cause, nothing is left, it goes on."""

import json
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dltk.launch import processes as launching
from dltk.run.folder import RunFolder, find_runs
from dltk.trainer.signals import Signals
from tests.commands import processes
from tests.launch.conftest import Workshop, assert_equal_to_the_bit, curve, final_state

PLAIN = ("model.dropout=0.0", "train.epochs=1", "log.every_steps=1", "launch.devices=4")
STEPS = 39  # of the whole run; a checkpoint every 7
NOTICED = 15.0  # seconds in which the others leave


@dataclass(frozen=True)
class Fault:
    """What happens to a process before a step, and what the printed line says of it."""

    name: str
    rank: int
    step: int
    said: str

    def callback(self, marks: Path) -> str:
        at = f"steps: [{self.step}]" if self.name == "KillAt" else f"step: {self.step}"
        return f"{{name: 'faults:{self.name}', {at}, rank: {self.rank}, marks: '{marks}'}}"

    def struck(self, marks: Path) -> float:
        """When it did (seconds since 1970)."""
        what = {"KillAt": "killed", "Raise": "raised", "Exhaust": "exhausted"}[self.name]
        return (marks / f"{what}-at-{self.step}").stat().st_mtime


KILLED = ("KillAt", "signal SIGKILL")
RAISED = ("Raise", "ZeroDivisionError: the planted crash")
EXHAUSTED = ("Exhaust", "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1125899906842624 bytes")
Plan = list[tuple[tuple[str, str], int]]
PLANS: dict[str, Plan] = {  # what happens to which rank, one after the other
    "ddp": [(KILLED, 0), (KILLED, 1), (KILLED, 2), (KILLED, 3), (RAISED, 2), (EXHAUSTED, 0)],
    "fsdp2": [(KILLED, 0), (EXHAUSTED, 3)],
    "deepspeed-1": [(KILLED, 3), (RAISED, 0)],
    "deepspeed-2": [(KILLED, 1), (EXHAUSTED, 2)],
    "deepspeed-3": [(KILLED, 2), (RAISED, 1)],
}


@pytest.mark.cluster
@pytest.mark.timeout(600)
@pytest.mark.parametrize("strategy", PLANS)
def test_one_of_four_processes_fails(workshop: Workshop, strategy: str) -> None:
    _fail_and_go_on(workshop, f"fails-{strategy}", strategy, PLANS[strategy])


@pytest.mark.cluster
@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("strategy", PLANS)
def test_each_of_four_processes_is_killed(workshop: Workshop, strategy: str) -> None:
    _fail_and_go_on(workshop, f"killed-{strategy}", strategy, [(KILLED, rank) for rank in range(4)])


def _fail_and_go_on(workshop: Workshop, name: str, strategy: str, plan: Plan) -> None:
    """Train with one fault after the other, each at a random step later than the one before, and to the end."""
    steps = sorted(random.Random(f"2015 {name}").sample(range(3, STEPS - 2), len(plan)))
    faults = [Fault(kind, rank, step, said) for ((kind, said), rank), step in zip(plan, steps, strict=True)]
    marks = workshop.marks(name)
    callbacks = [f"{{name: 'faults:Known', marks: '{marks}'}}", *(fault.callback(marks) for fault in faults)]
    place = (*PLAIN, f"launch.strategy={strategy}")
    arguments = ("train", "small.yaml", f"run={name}", *place, f"train.callbacks=[{', '.join(callbacks)}]")
    whole, run = workshop.train(f"whole-{name}", *place), RunFolder(workshop.run(name))
    for number, fault in enumerate(faults, start=1):
        said = workshop.dltk(*arguments, expect=1)
        first = next(line for line in said.err.splitlines() if " failed: " in line)
        assert first.startswith(f"runs/small/{name}: rank {fault.rank} of 4 failed: ")
        assert fault.said in first
        before = said.err.split(first)[0]
        assert "Traceback" not in before, "the cause, before what it caused"
        seconds = said.ended - fault.struck(marks)
        print(f"{strategy}: {fault.name} of rank {fault.rank} at step {fault.step}: all had left {seconds:.1f} s later")
        assert seconds < NOTICED
        attempts = run.ledger.attempts()
        assert len(attempts) == number
        assert attempts[-1]["reason"] in first
        assert (attempts[-1]["exit_code"], run.status) == (1, "crashed")
        assert list(left_behind(marks)) == []
    workshop.dltk(*arguments)
    assert run.status == "done"
    assert curve(run.path, "data/digest") == curve(whole, "data/digest")
    assert curve(run.path, "train/loss") == curve(whole, "train/loss")
    assert_equal_to_the_bit(final_state(run.path), final_state(whole))


def left_behind(marks: Path) -> Iterator[str]:
    """Processes of an attempt that still live, with those that they started, and a port that still answers."""
    known: list[dict[str, Any]] = [json.loads(path.read_text()) for path in marks.glob("known-*.json")]
    assert len(known) == 4
    pids = {one["pid"] for one in known}
    for pid, (parent, session) in processes().items():
        if pids & {pid, parent, session}:
            yield f"process {pid}"
    for port in {one["port"] for one in known}:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                yield f"port {port}"


def test_who_still_writes_a_checkpoint_is_given_time_when_another_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "GRACE", 0.1)
    folder = RunFolder.create(tmp_path, "recipe", {}, run="run")
    saving = launching._start(["sleep", "60"], dict(os.environ), None)
    failed = launching._start(["false"], dict(os.environ), None)
    hidden = folder.checkpoints.path / f".writing-step-00000007-{saving.pid}"
    hidden.mkdir(parents=True)
    threading.Timer(0.8, hidden.rmdir).start()
    began = time.monotonic()
    died = launching._wait(folder, {0: saving, 1: failed}, Signals(), None)
    assert 0.8 <= time.monotonic() - began < 5
    assert died.keys() == {1}
    assert (saving.returncode, failed.returncode) == (-9, 1)


@pytest.mark.cluster
def test_ten_jobs_started_at_once(workshop: Workshop) -> None:
    """Of two processes each, of one recipe: their names and their ports are their own."""
    settings = ("runs_dir=ten", "launch.devices=2", "train.epochs=null", "train.steps=2")
    commands = [workshop.start("train", "small.yaml", *settings) for _ in range(10)]
    for command in commands:
        command.end(timeout=200)
    runs = find_runs(workshop.folder / "ten")
    assert len(runs) == 10
    assert {run.status for run in runs} == {"done"}
