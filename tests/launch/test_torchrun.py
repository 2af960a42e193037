"""`torchrun -m dltk train`: the same code path as `dltk train` with as many devices."""

import os
import signal
import subprocess
import sys

import pytest

from dltk.launch.torchrun import Worker, forget
from dltk.run.folder import RunFolder
from tests.launch.conftest import Workshop, assert_equal_to_the_bit, curve, final_state, lines, wait_until

SHORT = ("train.epochs=1", "log.every_steps=1")


def started(workshop: Workshop, *arguments: str) -> "subprocess.Popen[str]":
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "-m",
        "dltk",
        "train",
        *arguments,
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=workshop.folder, text=True, start_new_session=True, **pipes)


@pytest.mark.cluster
def test_torchrun_is_told_to_leave_and_goes_on(workshop: Workshop) -> None:
    marks, run = workshop.marks("torchrun"), workshop.run("torchrun")
    (marks / "plan").write_text("train 9")
    fault = f"train.callbacks=[{{name: 'faults:Slow', marks: '{marks}'}}]"
    first = started(workshop, "small.yaml", "run=torchrun", fault, *SHORT)
    wait_until((marks / "slow-1").exists, "step 9", 100, first.kill)
    os.kill(first.pid, signal.SIGTERM)
    said, _ = first.communicate(timeout=100)
    assert first.returncode != 0
    assert "not finished: SIGTERM. Go on with: dltk train" in said
    (marks / "plan").write_text("nowhere 0")
    second = started(workshop, str(run))
    said, _ = second.communicate(timeout=100)
    assert second.returncode == 0, said
    ledger = [(a["exit_code"], a["world_size"]) for a in RunFolder.open(run).ledger.attempts()]
    assert ledger == [(85, 2), (0, 2)]
    whole = workshop.train("not-torchrun", "launch.devices=2", *SHORT)
    assert_equal_to_the_bit(final_state(run), final_state(whole))
    for metric in ("train/loss", "data/digest", "val/top1_error"):
        assert curve(run, metric) == curve(whole, metric)
    assert [line["step"] for line in lines(run)] == list(range(1, 40))


TOLD = {
    "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "4", "GROUP_RANK": "1", "GROUP_WORLD_SIZE": "2", "RANK": "4",
    "WORLD_SIZE": "8", "MASTER_ADDR": "n1", "MASTER_PORT": "29500", "TORCHELASTIC_RESTART_COUNT": "3",
    "TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_USE_AGENT_STORE": "True", "ROLE_RANK": "4",
}  # fmt: skip


def test_what_torchrun_tells() -> None:
    worker = Worker.of_environment(TOLD)
    assert worker is not None
    assert worker.node is not None
    assert (worker.node.number, worker.node.count, worker.node.job) == (1, 2, "torchrun none.3")
    assert worker.settings == ["launch.devices=4", "launch.nodes=2"]
    told = {**TOLD, "PATH": "/bin", "OMP_NUM_THREADS": "1"}
    forget(told)
    assert told == {"PATH": "/bin"}
    assert Worker.of_environment(told) is None


@pytest.mark.parametrize("option", ["--seeds", "--simulate"])
def test_what_starts_its_own_processes(workshop: Workshop, option: str) -> None:
    found = workshop.dltk("train", "small.yaml", option, "2" if option == "--seeds" else "2x1", expect=2, **TOLD)
    assert found.err == f"{option}: starts its own processes, and this is one of torchrun's. Leave torchrun out.\n"
