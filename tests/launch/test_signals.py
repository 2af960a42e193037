"""Asked to leave, a training saves, leaves with its exit code and nothing behind, and goes on as if never stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from dltk.run.folder import RunFolder
from tests.commands import processes, wait_until
from tests.launch.conftest import Workshop, assert_equal_to_the_bit, curve, final_state, lines

INT, TERM, USR1 = signal.SIGINT, signal.SIGTERM, signal.SIGUSR1


def last_attempt(run: Path) -> dict[str, Any]:
    return RunFolder.open(run).ledger.attempts()[-1]


def test_every_way_of_being_stopped(workshop: Workshop, reference: Path) -> None:
    run = workshop.run("stopped")
    in_training = [  # how, exit code, where, settings of the attempt
        (INT, 130, "train 4", "data.workers=0"),
        (INT, 130, "train 12", "data.workers=2"),
        (TERM, 85, "validation 39", "data.workers=0"),  # a validation is not waited for
        (USR1, 85, "train 45", "data.workers=0"),
    ]
    for number, code, place, workers in in_training:
        command = workshop.slow("stopped", place, workers)
        command.signal(number)
        command.end(code)
        ended = last_attempt(run)
        assert (ended["exit_code"], ended["reason"]) == (code, number.name)
        assert 0 < ended["steps"] == ended["step"] - ended["first_step"]
        assert RunFolder.open(run).status == ("interrupted" if number == INT else "preempted")
        assert "Traceback" not in command.err
        assert "Go on with: dltk train" in command.err
        if place.startswith("validation"):
            assert 39 not in curve(run, "val/top1_error"), "left in the middle of it"

    for verb, code in (("stop", 85), ("cancel", 130)):
        command = workshop.slow("stopped", f"train {60 if code == 85 else 66}", "data.workers=0")
        workshop.dltk(verb, "small/stopped", "--why", f"a test of {verb}")
        command.end(code)
        assert last_attempt(run)["reason"].endswith(f": a test of {verb}")

    command = workshop.slow("stopped", "evaluation 117", "data.workers=0")
    command.signal(TERM)
    command.end(85)
    assert last_attempt(run)["step"] == 117
    (workshop.marks("stopped") / "plan").write_text("nowhere 0")
    workshop.dltk("train", str(run))
    assert_equal_to_the_bit(final_state(run), final_state(reference))
    for metric in ("train/loss", "val/top1_error", "data/digest"):
        assert curve(run, metric) == curve(reference, metric)
    steps = [line["step"] for line in lines(run)]
    assert steps == sorted(set(steps))
    assert RunFolder.open(run).status == "done"


def test_a_second_ctrl_c_leaves_at_once(workshop: Workshop) -> None:
    # Its batch would take a minute: who leaves sooner has waited neither for it nor for a checkpoint.
    command = workshop.slow("twice", "train 9", "data.workers=2", "train.epochs=1", seconds=60)
    command.signal(INT)
    wait_until(lambda: "Once more leaves at once" in command.err, "the answer to Ctrl-C")
    began = time.monotonic()
    command.signal(INT)
    command.end(130)
    assert time.monotonic() - began < 10
    (workshop.marks("twice") / "plan").write_text("nowhere 0")
    said = workshop.dltk("train", "runs/small/twice", "data.workers=0")
    assert "from step 7" in said.out
    assert "which is gone" in said.err
    first = RunFolder.open(workshop.run("twice")).ledger.attempts()[0]
    assert first["reason"].startswith("unknown, last heartbeat 2")


def test_two_processes_leave_together_and_are_one_wandb_run(workshop: Workshop) -> None:
    # Weights & Biases is told by one process, and goes on with its run on any number of them.
    settings = ("log.wandb=offline", "train.epochs=1", "log.every_steps=1")
    ranks = lambda: [pid for pid, (parent, _) in processes().items() if parent == command.pid]  # noqa: E731
    command = workshop.slow("together", "train 9", "launch.devices=2", *settings, ranks=2)
    assert len(ranks()) >= 2
    started = ranks()
    command.signal(INT)
    command.end(130)
    wait_until(lambda: not set(started) & set(processes()), "the ranks to be gone", 5)
    run = workshop.run("together")
    assert last_attempt(run)["world_size"] == 2
    (workshop.marks("together") / "plan").write_text("nowhere 0")
    workshop.dltk("train", str(run), "launch.devices=1")
    assert last_attempt(run)["world_size"] == 1
    assert [line["step"] for line in lines(run)] == list(range(1, 40))
    folders = [path.name for path in (run / "wandb").glob("offline-run-*")]
    assert len(folders) == 2
    assert {name.rpartition("-")[2] for name in folders} == {(run / "wandb" / "id").read_text().strip()}


def test_a_signal_during_the_imports_is_heard(workshop: Workshop) -> None:
    # Started as a user does: five seconds pass before the first step.
    command = [sys.executable, "-m", "dltk", "train", "small.yaml", "run=early", "train.epochs=1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, cwd=workshop.folder, text=True, start_new_session=True, **pipes)
    run = workshop.run("early")
    wait_until((run / "ledger.jsonl").exists, "the attempt to begin", 30, process.kill)
    os.kill(process.pid, TERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 85, err
    assert last_attempt(run)["step"] == 1
