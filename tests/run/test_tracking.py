"""W&B beside the training: told everything it should know, nothing else, and never waited for."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dltk.run import tracking
from dltk.run.folder import RunFolder
from dltk.run.tracking import Tracker
from dltk.run.wandb_files import records

KEY = "a5ecre7" + "0" * 33


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "x", {"a": 1}, run="r")


@pytest.fixture
def silent_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server that accepts and never answers, with a login for it."""
    listener = socket.create_server(("127.0.0.1", 0))
    held = []

    def accept() -> None:
        while True:
            try:
                held.append(listener.accept())
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setenv("WANDB_BASE_URL", url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    yield url
    listener.close()
    for connection, _ in held:
        connection.close()


def _history(path: Path) -> list[dict[str, str]]:
    lines = []
    for record in records(path):
        if record.HasField("history"):
            lines.append({(item.key or "/".join(item.nested_key)): item.value_json for item in record.history.item})
    return lines


def test_offline_tells_what_it_should_and_nothing_else(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(sys, "argv", ["dltk", "train", "my-secret-argument"])
    environ = dict(os.environ)
    ids = set()
    for first in (0, 3):  # a training and its resumption
        tracker = Tracker(run, "offline", "project", tags=["t"], group="g", config={"model": {"width": 3}})
        for step in range(first, first + 3):
            tracker.log(step, {"train/loss": 1 / (step + 1)})
        assert tracker.finish(0, 60)
        assert tracker.finish(0, 60)
        assert tracker.warnings == []
        upload = f"`dltk sync {run.path}` uploads later."
        assert (tracker.mode, tracker.note) == ("offline", f"W&B: offline. {upload}")
        ids.add((run.path / "wandb" / "id").read_text().strip())
    assert capfd.readouterr() == ("", "")
    assert dict(os.environ) == environ
    assert len(ids) == 1
    files = sorted((run.path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2
    assert [line["step"] for path in files for line in _history(path)] == ["0", "1", "2", "3", "4", "5"]
    told = list(records(files[0]))
    about = next(record.run for record in told if record.HasField("run"))
    assert (about.run_id, about.project, about.display_name, about.run_group) == (ids.pop(), "project", "r", "g")
    assert {update.key: update.value_json for update in about.config.update}["model"] == '{"width":3}'
    axes = {(record.metric.name or record.metric.glob_name): record.metric.step_metric for record in told}
    assert axes["*"] == "step"
    assert not any(record.HasField("environment") for record in told)
    everything = b"".join(path.read_bytes() for path in (run.path / "wandb").rglob("*") if path.is_file())
    for secret in (b"my-secret-argument", KEY.encode(), b"test_tracking", b"diff --git"):
        assert secret not in everything
    kept = {path.suffix for path in (run.path / "wandb").glob("offline-run-*/files/**/*") if path.is_file()}
    assert kept <= {".log"}


def test_a_server_that_never_answers_costs_two_seconds(run: RunFolder, silent_server: str) -> None:
    begun = time.monotonic()
    mode, note = tracking.decide("auto")
    assert time.monotonic() - begun < 4
    assert (mode, note) == ("offline", "W&B: offline (127.0.0.1 did not answer within 2 s).")


def test_online_without_an_answer_never_stalls(run: RunFolder, silent_server: str) -> None:
    tracker = Tracker(run, "online", init_timeout=1.0)
    slowest = 0.0
    for step in range(500):
        begun = time.perf_counter()
        tracker.log(step, {"train/loss": 1.0})
        slowest = max(slowest, time.perf_counter() - begun)
    assert slowest < 0.5
    assert tracker.finish(0, 60)
    assert tracker.mode == "offline"
    (line,) = tracker.warnings
    assert line.startswith("W&B: offline (")
    assert line.endswith(f"). `dltk sync {run.path}` uploads later.")
    (path,) = (run.path / "wandb").glob("offline-run-*/*.wandb")
    assert len(_history(path)) == 500


def test_a_whole_program_leaves_in_time_and_prints_nothing(run: RunFolder, silent_server: str) -> None:
    code = textwrap.dedent("""
        import os, sys, time
        from dltk.run.folder import RunFolder
        from dltk.run.tracking import Tracker
        tracker = Tracker(RunFolder.open(sys.argv[1]), "online")
        tracker.log(1, {"a": 1.0})
        while tracker._process is None:
            time.sleep(0.01)
        time.sleep(1.0)
        begun = time.monotonic()
        assert not tracker.finish(0, 0.2)
        assert time.monotonic() - begun < 3, time.monotonic() - begun
        assert len(tracker.warnings) == 1
        open(sys.argv[2], "w").write(str(tracker._process.pid))
    """)
    told = run.path / "pid"
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, run.path, told], capture_output=True, timeout=60, check=False)
    took = time.monotonic() - begun
    pid = int(told.read_text())
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert took < 15
    assert not Path(f"/proc/{pid}").exists()


def _wait(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_the_death_of_wandb_is_one_line(run: RunFolder) -> None:
    told: list[str] = []
    tracker = Tracker(run, "offline", warn=told.append)
    tracker.log(0, {"a": 1.0})
    _wait(lambda: tracker._recent, "W&B did not start")
    tracker._revived = True  # as if it had died before
    os.kill(tracker._process.pid, signal.SIGKILL)  # type: ignore[union-attr]
    tracker.log(1, {"a": 1.0})
    _wait(lambda: tracker.mode == "disabled", "its death went unnoticed")
    tracker.log(2, {"a": 1.0})
    assert tracker.finish(0, 5)
    _wait(lambda: told, "nobody was told")
    assert told == tracker.warnings
    assert len(told) == 1
    assert told[0].startswith("W&B has stopped (")


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="finds W&B's service in /proc: run on Linux to test it"
)
def test_signals_to_the_whole_job_lose_no_metrics(run: RunFolder) -> None:
    tracker = Tracker(run, "offline")
    tracker.log(1, {"a": 1.0})
    _wait(lambda: tracker._recent, "W&B did not start")
    service = tracking._children(tracker._process.pid)  # type: ignore[union-attr]
    assert service
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
        for pid in (tracker._process.pid, *service):  # type: ignore[union-attr]
            os.kill(pid, number)
    time.sleep(0.3)
    tracker.log(2, {"a": 1.0})
    assert tracker.finish(0, 30)
    assert tracker.warnings == []
    files = sorted((run.path / "wandb").glob("offline-run-*/*.wandb"))
    assert [line["step"] for path in files for line in _history(path)] == ["1", "2"]


def test_the_death_of_the_training_ends_wandb(run: RunFolder) -> None:
    code = textwrap.dedent("""
        import os, signal, sys, time
        from dltk.run.folder import RunFolder
        from dltk.run.tracking import Tracker
        tracker = Tracker(RunFolder.open(sys.argv[1]), "offline")
        tracker.log(1, {"a": 1.0})
        while tracker._process is None or tracker._queue.qsize():
            time.sleep(0.01)
        print(tracker._process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run([sys.executable, "-c", code, run.path], stdout=subprocess.PIPE, check=False)
    status = Path(f"/proc/{int(done.stdout)}/stat")
    _wait(lambda: not status.exists() or status.read_text().split()[2] == "Z", "W&B outlives its training")


@pytest.mark.parametrize(
    ("asked", "environ", "mode", "words"),
    [
        ("disabled", {}, "disabled", "disabled"),
        ("auto", {}, "offline", "not logged in at api.wandb.ai"),
        ("online", {}, "offline", "not logged in"),
        ("auto", {"WANDB_MODE": "offline"}, "offline", "offline"),
        ("auto", {"WANDB_MODE": "disabled"}, "disabled", "disabled"),
        ("offline", {"WANDB_MODE": "online"}, "offline", "offline"),
        ("auto", {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "http://127.0.0.1:1"}, "offline", "did not answer"),
        ("auto", {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "nonsense"}, "offline", "did not answer"),
        ("online", {"WANDB_API_KEY": KEY, "WANDB_BASE_URL": "http://127.0.0.1:1"}, "online", "online at 127.0.0.1"),
    ],
)
def test_what_a_wish_becomes(
    monkeypatch: pytest.MonkeyPatch, asked: str, environ: dict[str, str], mode: str, words: str
) -> None:
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    found, note = tracking.decide(asked)
    assert found == mode
    assert words in note
    assert "\n" not in note


def test_a_server_that_answers_is_online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listener.accept()
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        connection.close()

    threading.Thread(target=answer, daemon=True).start()
    # The login in a netrc file, the server in W&B's settings file.
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1\n  login user\n  password {KEY}\n")
    (tmp_path / "netrc").chmod(0o600)
    (tmp_path / "settings").write_text(f"[default]\nbase_url = http://127.0.0.1:{listener.getsockname()[1]}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    assert tracking.decide("auto") == ("online", "W&B: online at 127.0.0.1.")
    listener.close()


def test_without_wandb_the_training_goes_on(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    tracker = Tracker(run, "auto")
    tracker.log(1, {"a": 1.0})
    assert tracker.finish(0, 1)
    assert tracker.mode == "disabled"
    assert "not installed" in tracker.note


def test_a_full_disk_turns_wandb_off(run: RunFolder) -> None:
    (run.path / "wandb").touch()  # no folder can be made here
    tracker = Tracker(run, "offline")
    tracker.log(1, {"a": 1.0})
    assert tracker.mode == "disabled"
    assert tracker.note.startswith("W&B is off: ")
    assert "\n" not in tracker.note
