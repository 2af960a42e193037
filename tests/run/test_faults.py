"""What machines do: kill -9 at any moment, full disks, folders without rights."""

import contextlib
import errno
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dltk.errors import LaunchError
from dltk.run import atomic, checkpoint
from dltk.run.checkpoint import Checkpoints
from dltk.run.folder import RunFolder
from dltk.run.lease import Lease, require
from dltk.run.metrics_log import MetricsLog

# An attempt at a run without end: resumes, logs each step, saves every second one. It forks itself, so that torch is
# imported once; a child kills itself so many seconds after the moment it is told: its fork, or its line in the ledger.
ATTEMPTS = textwrap.dedent("""
    import os, signal, sys
    import torch
    from dltk.run.folder import RunFolder

    def attempt(path, moment, seconds):
        if moment == "fork":
            signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM kills, as -9 does, without asking Python
        run = RunFolder.open(path)
        with run.lease():
            newest = run.checkpoints.newest()
            assert not run.checkpoints.warnings, run.checkpoints.warnings
            step = run.checkpoints.load(newest)["step"] if newest else 0
            run.metrics.rewind(step)
            run.ledger.begin({"step": step})
            if moment == "line":
                signal.setitimer(signal.ITIMER_REAL, seconds)
            while True:
                step += 1
                run.metrics.append(step=step, epoch=0, samples=step, time=0.0, loss=1 / step, filler="x" * 200)
                run.write_summary({"step": step})
                if step % 2 == 0:
                    state = {"step": step, "weights": torch.full((50_000,), float(step))}
                    run.checkpoints.write(step, state, {"metric": {"loss": 1 / step}})
                    run.checkpoints.prune(2, 1, "loss")

    torch.save({"a": torch.zeros(1)}, sys.argv[1] + "/warm")  # what torch imports late
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            try:
                moment, seconds = line.split()
                attempt(sys.argv[1], moment, float(seconds))
            finally:
                os._exit(7)
        status = os.waitpid(child, 0)[1]
        print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status), flush=True)
""")


def _consistent(run: RunFolder) -> int:
    """Checks everything a killed attempt may have left; returns the newest step."""
    again = RunFolder.open(run.path)
    assert again.status == "lost"
    checkpoints = again.checkpoints
    for path in checkpoints.steps().values():
        assert checkpoints.verify(path) is None, path
    newest = checkpoints.newest()
    steps = [line["step"] for line in again.metrics.read()]
    assert steps == list(range(1, len(steps) + 1))
    if newest is None:
        return 0
    state = checkpoints.load(newest)
    assert newest.name == f"step-{state['step']:08d}"
    assert torch.equal(state["weights"], torch.full((50_000,), float(state["step"])))
    assert len(steps) >= state["step"]
    summary = again.summary()
    assert summary is None or summary["step"] >= state["step"]
    return int(state["step"])


def test_kill_at_any_moment_leaves_what_resumes(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x", {"a": 1}, run="r")
    chance = random.Random(0)
    process = subprocess.Popen(
        [sys.executable, "-c", ATTEMPTS, run.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    reached = 0
    kills = 25
    for kill in range(kills):
        moment = "fork" if kill % 5 == 4 else "line"
        process.stdin.write(f"{moment} {chance.uniform(0.02, 0.25)}\n")
        process.stdin.flush()
        assert int(process.stdout.readline()) == signal.SIGALRM
        step = _consistent(run)
        assert step >= reached, "a checkpoint was lost"
        reached = step
    process.stdin.close()
    process.wait()
    assert reached > 20
    attempts = run.ledger.attempts()
    assert len(attempts) >= kills - 5  # those timed from their fork may end before their first line
    assert all(attempt["reason"].startswith("unknown, last heartbeat") for attempt in attempts[:-1])
    lost = [line["step"] for line in MetricsLog(run.metrics.lost_path).read()]
    assert len(lost) > 0


@pytest.mark.parametrize("moment", ["saved", "hashed", "manifest", "renamed", "pointed"])
def test_kill_at_each_moment_of_a_save(tmp_path: Path, moment: str) -> None:
    code = textwrap.dedent("""
        import os, signal, sys
        import torch
        from pathlib import Path
        from dltk.run import checkpoint
        from dltk.run.checkpoint import Checkpoints
        moment = sys.argv[2]
        checkpoints = Checkpoints(Path(sys.argv[1]))
        checkpoints.write(1, {"step": 1})

        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)

        def before(name, module=checkpoint):
            setattr(module, name, die)

        if moment == "saved":
            torch.save = lambda state, file: (file.write(b"half"), die())
        elif moment == "hashed":
            before("_refuse_unloadable")
        elif moment == "manifest":
            os.rename = die
        elif moment == "renamed":
            before("sync_folder")
        else:
            real = checkpoint.replace_file
            checkpoint.replace_file = lambda path, data: die() if path.name == "LATEST" else real(path, data)
        checkpoints.write(2, {"step": 2})
    """)
    done = subprocess.run([sys.executable, "-c", code, tmp_path, moment], check=False)
    assert done.returncode == -signal.SIGKILL
    checkpoints = Checkpoints(tmp_path)
    expected = 2 if moment in ("renamed", "pointed") else 1
    newest = checkpoints.newest()
    assert newest is not None
    assert checkpoints.load(newest) == {"step": expected}
    assert not checkpoints.warnings
    assert checkpoints.load(checkpoints.write(2, {"step": 2})) == {"step": 2}
    assert (tmp_path / "LATEST").read_text() == "step-00000002\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LATEST", "step-00000001", "step-00000002"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB; needs root and mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk of its own needs root: run as root to test it")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def _fill(disk: Path, leave: int = 0) -> None:
    with (disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    assert os.statvfs(disk).f_bavail == 0
    os.truncate(disk / "filler", (disk / "filler").stat().st_size - leave)


def test_a_full_disk_is_one_line_and_nothing_half(small_disk: Path) -> None:
    run = RunFolder.create(small_disk, "x", {}, run="r")
    run.write_summary({"step": 1})
    run.metrics.append(step=1, epoch=0, samples=1, time=0.0)
    run.checkpoints.write(1, {"step": 1, "weights": torch.zeros(1000)})
    lease = run.lease()
    number = run.ledger.begin({})
    _fill(small_disk)
    before = {path: path.read_bytes() for path in small_disk.rglob("*") if path.is_file()}
    big = {"step": 2, "weights": torch.zeros(100_000)}
    for act in (
        lambda: run.checkpoints.write(2, big),
        lambda: run.write_summary({"step": 2, "filler": "x" * 10_000}),
        lambda: run.request_stop("a", "b" * 10_000, requeue=True),
        lambda: run.metrics.append(step=2, epoch=0, samples=1, time=0.0, filler="x" * 10_000),
        lambda: run.metrics.append(step=1, epoch=0, samples=1, time=0.0, filler="x" * 10_000),
        lambda: run.ledger.note(number, "x" * 10_000),
        lambda: RunFolder.create(small_disk, "x", {"a": "x" * 10_000}, run="other"),
    ):
        with pytest.raises(LaunchError, match=r"no space left on the disk|no room for a checkpoint") as caught:
            act()
        assert "\n" not in str(caught.value)
        assert str(small_disk) in str(caught.value)
        assert {path: path.read_bytes() for path in small_disk.rglob("*") if path.is_file()} == before
    (small_disk / "filler").unlink()
    lease.release()
    run.metrics.append(step=2, epoch=0, samples=1, time=0.0)
    assert [line["step"] for line in run.metrics.read()] == [1, 2]
    run.checkpoints.write(2, big)
    assert run.checkpoints.load(run.checkpoints.newest())["step"] == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("leave", [0, 4096, 60_000, 250_000, 396_000])
def test_a_disk_that_fills_up_while_saving(small_disk: Path, monkeypatch: pytest.MonkeyPatch, leave: int) -> None:
    checkpoints = Checkpoints(small_disk / "checkpoints")
    checkpoints.write(1, {"step": 1})
    _fill(small_disk, leave)
    monkeypatch.setattr(checkpoint.Checkpoints, "_check_room", lambda self, state: None)  # another process took it
    with pytest.raises(LaunchError, match="no space left on the disk") as caught:
        checkpoints.write(2, {"step": 2, "weights": torch.zeros(100_000)})
    assert caught.value.where == str(checkpoints.path / "step-00000002")
    assert sorted(path.name for path in checkpoints.path.iterdir()) == ["LATEST", "step-00000001"]
    assert checkpoints.newest() == checkpoints.path / "step-00000001"


def test_a_bound_on_file_sizes_is_like_a_full_disk(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(1, {"step": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(LaunchError, match="no space left"):
            checkpoints.write(2, {"weights": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LATEST", "step-00000001"]


def test_the_heart_beats_on_a_full_disk(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dltk.run.lease.HEARTBEAT", 0.02)
    lease = Lease(small_disk / "LEASE").acquire()
    _fill(small_disk)
    os.utime(small_disk / "LEASE", (1e9, 1e9))
    deadline = time.time() + 10
    while (small_disk / "LEASE").stat().st_mtime == 1e9:
        assert time.time() < deadline, "no sign of life"
    require(small_disk / "LEASE", lease.token)
    lease.release()
    assert not (small_disk / "LEASE").exists()


@pytest.fixture
def read_only(small_disk: Path) -> Iterator[Path]:
    """A run on a disk that has become read-only, as disks do."""
    run = RunFolder.create(small_disk, "x", {"a": 1}, run="r")
    run.checkpoints.write(1, {"step": 1})
    run.ledger.begin({})
    run.request_stop("a", "b", requeue=False)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    return run.path


def test_a_read_only_run_can_be_read_and_nothing_else(read_only: Path) -> None:
    run = RunFolder.open(read_only)
    assert run.recipe == {"a": 1}
    assert run.status == "lost"
    assert run.checkpoints.load(run.checkpoints.at(1)) == {"step": 1}
    for act in (
        run.lease,
        run.clear_stop,
        lambda: run.ledger.begin({}),
        lambda: run.write_summary({}),
        lambda: run.write_environment({}),
        lambda: run.metrics.append(step=1, epoch=0, samples=1, time=0.0),
        lambda: run.checkpoints.write(2, {"step": 2}),
        lambda: run.predictions_path("test", "single_crop"),
        lambda: RunFolder.create(read_only.parent.parent, "y", {}),
    ):
        with pytest.raises(LaunchError, match="is not writable") as caught:
            act()
        assert "\n" not in str(caught.value)
        assert "runs_dir=DIR" in str(caught.value)


def test_an_interrupted_line_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append(step=1, epoch=0, samples=1, time=0.0)
    before = log.path.read_bytes()
    real = os.write

    def half(handle: int, data: memoryview) -> int:
        if len(data) < 40:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data[: len(data) // 2])

    monkeypatch.setattr(atomic.os, "write", half)
    with pytest.raises(LaunchError, match="no space left"):
        log.append(step=2, epoch=0, samples=1, time=0.0, loss=0.123456789)
    monkeypatch.undo()
    assert log.path.read_bytes() == before
    log.append(step=2, epoch=0, samples=1, time=0.0)
    assert [json.loads(line)["step"] for line in log.path.read_text().splitlines()] == [1, 2]
