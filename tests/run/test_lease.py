"""One training on a run folder, whatever became of the one before."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from dltk.errors import LaunchError
from dltk.run import lease as module
from dltk.run.lease import Lease, LeaseLost, holder, machine, process_start

HOLD = textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from dltk.run.lease import Lease
    Lease(Path(sys.argv[1])).acquire()
    print("held", flush=True)
    time.sleep(60)
""")


@pytest.fixture
def other(tmp_path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "LEASE"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def _write(path: Path, **changes: object) -> None:
    record = {
        "host": os.uname().nodename,
        "pid": os.getpid(),
        "machine": machine(),
        "process": process_start(os.getpid()),
        "started": "then",
        "heartbeat": time.time(),
        "token": "another",
    }
    path.write_text(json.dumps(record | changes))
    old = float(changes.get("heartbeat", time.time()))  # type: ignore[arg-type]
    os.utime(path, (old, old))


def test_a_second_holder_is_refused_by_name(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    with pytest.raises(LaunchError, match="is being trained by process") as caught:
        Lease(tmp_path / "LEASE").acquire()
    line = str(caught.value)
    assert f"process {other.pid} on {os.uname().nodename} since 20" in line
    assert "\n" not in line
    assert line.endswith(f"Wait for it, stop it with `dltk stop {tmp_path}`, or train another run.")
    assert holder(tmp_path / "LEASE")["alive"]  # type: ignore[index]


def test_two_in_one_process_are_two(tmp_path: Path) -> None:
    with Lease(tmp_path / "LEASE"), pytest.raises(LaunchError):
        Lease(tmp_path / "LEASE").acquire()
    assert not list(tmp_path.iterdir())
    with Lease(tmp_path / "LEASE"):  # given back, it can be taken again
        pass


def test_a_killed_holder_is_replaced_at_once_and_named(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert not holder(tmp_path / "LEASE")["alive"]  # type: ignore[index]
    notes: list[str] = []
    with Lease(tmp_path / "LEASE", notes.append) as lease:
        assert lease.previous is not None
        assert lease.previous["pid"] == other.pid
        assert abs(lease.previous["heartbeat"] - time.time()) < 60
    assert f"process {other.pid}" in notes[0]
    assert not list(tmp_path.iterdir())


def test_ctrl_c_gives_it_back(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    other.send_signal(signal.SIGINT)
    other.wait()
    assert not (tmp_path / "LEASE").exists()


def test_a_reused_process_number_is_not_the_holder(tmp_path: Path) -> None:
    _write(tmp_path / "LEASE", process="1")  # our own number, but a process that started at another time
    with Lease(tmp_path / "LEASE") as lease:
        assert lease.previous is not None


@pytest.mark.parametrize(("age", "alive"), [(0, True), (50, True), (70, False)])
def test_on_another_machine_the_heartbeat_decides(tmp_path: Path, age: float, alive: bool) -> None:
    _write(tmp_path / "LEASE", host="elsewhere", pid=1, heartbeat=time.time() - age)
    assert holder(tmp_path / "LEASE")["alive"] == alive  # type: ignore[index]
    if alive:
        with pytest.raises(LaunchError, match="process 1 on elsewhere"):
            Lease(tmp_path / "LEASE").acquire()
    else:
        Lease(tmp_path / "LEASE").acquire().release()


@pytest.mark.parametrize("text", ["", "{", '{"pid": "x", "heartbeat": "y"}', '{"pid": -5}'])
def test_a_damaged_lease_counts_while_it_is_fresh(tmp_path: Path, text: str) -> None:
    (tmp_path / "LEASE").write_text(text)
    with pytest.raises(LaunchError, match="is being trained"):
        Lease(tmp_path / "LEASE").acquire()
    os.utime(tmp_path / "LEASE", (1e9, 1e9))
    Lease(tmp_path / "LEASE").acquire().release()


def test_the_heart_beats_and_notices_a_theft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT", 0.02)
    lease = Lease(tmp_path / "LEASE").acquire()
    first = json.loads((tmp_path / "LEASE").read_text())["heartbeat"]
    deadline = time.time() + 10
    while json.loads((tmp_path / "LEASE").read_text())["heartbeat"] == first:
        assert time.time() < deadline, "no heartbeat"
    os.replace(_stolen(tmp_path), tmp_path / "LEASE")
    module.require(tmp_path / "LEASE", "another")
    with pytest.raises(LeaseLost) as caught:
        module.require(tmp_path / "LEASE", lease.token)
    assert str(caught.value).startswith(
        f"{tmp_path / 'LEASE'}: process {os.getpid()} on {os.uname().nodename} trains this run since then; it took it "
    )
    time.sleep(0.2)  # ten beats, which leave the lease to its new holder
    lease.release()
    assert json.loads((tmp_path / "LEASE").read_text())["token"] == "another"  # not ours to remove


def test_a_lease_taken_and_given_back_is_lost_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT", 0.02)
    with Lease(tmp_path / "LEASE") as lease:
        (tmp_path / "LEASE").unlink()
        with pytest.raises(LeaseLost, match=r"taken this run over and has left it again.*Train again"):
            module.require(tmp_path / "LEASE", lease.token)
        time.sleep(0.2)
        assert not (tmp_path / "LEASE").exists(), "taken again"
    assert lease.token == "", "nothing is required of who holds nothing"


def _stolen(folder: Path) -> Path:
    _write(folder / "stolen")
    return folder / "stolen"


def _race(path: Path, ready: "multiprocessing.synchronize.Barrier", won: "multiprocessing.Queue[int]") -> None:
    ready.wait()
    try:
        Lease(path).acquire()
    except LaunchError:
        won.put(0)
    else:
        won.put(1)
        time.sleep(1.5)


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_at_once_one_wins(tmp_path: Path, stale: bool) -> None:
    for round_ in range(3):
        path = tmp_path / f"LEASE{round_}"
        if stale:
            _write(path, process="1")
        context = multiprocessing.get_context("fork")
        ready, won = context.Barrier(6), context.SimpleQueue()
        processes = [context.Process(target=_race, args=(path, ready, won)) for _ in range(6)]
        for process in processes:
            process.start()
        assert sum(won.get() for _ in processes) == 1
        for process in processes:
            process.kill()
            process.join()
