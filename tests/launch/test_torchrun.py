"""`torchrun -m dltk train`: the same code path as `dltk train` with as many devices."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from torch.distributed import TCPStore

from dltk.errors import LaunchError
from dltk.launch.processes import free_port
from dltk.launch.torchrun import ASKED, Start, Worker, forget
from dltk.run.folder import RunFolder
from tests.commands import wait_until
from tests.launch.conftest import Workshop, assert_equal_to_the_bit, curve, final_state, lines

SHORT = ("train.epochs=1", "log.every_steps=1")


def started(workshop: Workshop, *options: str, words: tuple[str, ...]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "torch.distributed.run", *options, "-m", "dltk", "train", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=workshop.folder, text=True, start_new_session=True, **pipes)


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_torchrun_is_told_to_leave_and_goes_on(workshop: Workshop) -> None:
    """On one machine; and on two, where it starts all processes again when one was killed, as the place was said."""
    marks, run = workshop.marks("torchrun"), workshop.run("torchrun")
    (marks / "plan").write_text("train 9")
    kill = f"{{name: 'faults:KillAt', steps: [20], rank: 1, marks: '{marks}'}}"
    faults = f"train.callbacks=[{{name: 'faults:Slow', marks: '{marks}'}}, {kill}]"
    words = ("small.yaml", "run=torchrun", faults, *SHORT)
    first = started(workshop, "--standalone", "--nproc-per-node", "2", words=words)
    wait_until((marks / "slow-1").exists, "step 9", 100, first.kill)
    os.kill(first.pid, signal.SIGTERM)
    said, _ = first.communicate(timeout=300)
    assert first.returncode != 0
    assert "not finished: SIGTERM. Go on with: dltk train" in said

    (marks / "plan").write_text("nowhere 0")
    place = ("--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}")
    options = (*place, "--nproc-per-node", "1", "--max-restarts", "1")
    agents = [started(workshop, *options, words=(str(run), "checkpoint.keep_last=3")) for _ in range(2)]
    said = "".join(agent.communicate(timeout=600)[0] for agent in agents)
    assert [agent.returncode for agent in agents] == [0, 0], said
    attempts = RunFolder.open(run).ledger.attempts()
    assert [(a["exit_code"], a["world_size"], a.get("nodes")) for a in attempts] == [
        (85, 2, None),
        (1, 2, 2),
        (0, 2, 2),
    ]
    assert [a["changed"].get("checkpoint.keep_last") for a in attempts] == [None, 3, 3]
    assert attempts[1]["job"] != attempts[2]["job"]
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
    assert (worker.rank, worker.world, worker.local, worker.processes) == (4, 8, 0, 4)
    node = Start(worker, None, "token").node
    assert node is not None
    assert (node.number, node.count, node.job) == (1, 2, "torchrun none.token")
    assert worker.settings == ["launch.devices=4", "launch.nodes=2"]
    told = {**TOLD, "PATH": "/bin", "OMP_NUM_THREADS": "1"}
    forget(told)
    assert told == {"PATH": "/bin"}
    assert Worker.of_environment(told) is None
    with pytest.raises(LaunchError, match="TORCHELASTIC_USE_AGENT_STORE: is False"):
        Worker.of_environment({**TOLD, "TORCHELASTIC_USE_AGENT_STORE": "False"})


@pytest.fixture
def store() -> Iterator[Any]:
    """As torchrun's agent on the first machine keeps it, over all starts."""
    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


def all_start(store: Any) -> list[Start]:
    """Two machines of two processes each meet."""
    starts: dict[int, Start] = {}

    def meet(rank: int) -> None:
        starts[rank] = Worker(rank, 4, rank % 2, 2, rank // 2, 2, "none", "127.0.0.1", store.port).meet()

    threads = [threading.Thread(target=meet, args=(rank,), daemon=True) for rank in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return [starts[rank] for rank in range(4)]


def test_what_an_earlier_start_of_torchrun_said_means_nothing(store: Any) -> None:
    """The store stays when torchrun starts its processes again, and the number of restarts may stay as well."""
    first = all_start(store)
    assert len({start.token for start in first}) == 1
    assert first[0].before() is None
    first[0].tell(["/runs/one", "launch.nodes=2"])
    assert first[2].hear() == ["/runs/one", "launch.nodes=2"]
    first[2].leave(85)
    assert first[3].wait() == 85
    store.add(ASKED, 1)  # one that was killed as it had asked
    second = all_start(store)
    assert {start.token for start in second}.isdisjoint({first[0].token})
    assert second[0].before() == ["/runs/one", "launch.nodes=2"]
    assert not store.check([second[3]._over]), "it waits for its own launcher"
    assert not store.check([second[2]._run]), "it waits for what the first machine says now"
    second[2].leave(0)
    assert second[3].wait() == 0


def test_the_store_has_left_by_a_fake_one(store: Any) -> None:
    gone = Start(Worker(3, 4, 1, 2, 1, 2, "none", "127.0.0.1", 1), Gone(), "token")
    for ask in (gone.wait, gone.hear):
        with pytest.raises(LaunchError, match="torchrun: its store has left with the first machine's agent"):
            ask()
    gone.leave(0)  # does not hide what went wrong before


class Gone:
    """Stands in for a store that nobody keeps any more."""

    def wait(self, *_: Any) -> None:
        raise RuntimeError("Connection reset by peer")

    set = wait


@pytest.mark.parametrize("option", ["--seeds", "--simulate"])
def test_what_starts_its_own_processes(workshop: Workshop, option: str) -> None:
    found = workshop.dltk("train", "small.yaml", option, "2" if option == "--seeds" else "2x1", expect=2, **TOLD)
    assert found.err == f"{option}: starts its own processes, and this is one of torchrun's. Leave torchrun out.\n"
