"""Commands in processes of their own: forked from one that has imported everything, and not started for seconds."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATIENCE = 3.0  # times as long as a quiet machine needs


class Command:
    """A `dltk …` under way."""

    def __init__(self, arguments: tuple[str, ...], pid: int, files: Path) -> None:
        self.arguments, self.pid, self._files = arguments, pid, files

    @property
    def out(self) -> str:
        """What it has printed so far."""
        return self._files.with_suffix(".out").read_text()

    @property
    def err(self) -> str:
        """What it has printed to stderr so far."""
        return self._files.with_suffix(".err").read_text()

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        file = self._files.with_suffix(".code")
        return int(file.read_text()) if file.exists() else None

    @property
    def ended(self) -> float:
        """When it had left (seconds since 1970)."""
        return self._files.with_suffix(".code").stat().st_mtime

    def signal(self, number: int) -> None:
        """Send a signal to this process alone."""
        os.kill(self.pid, number)

    def end(self, expect: int | None = 0, timeout: float = 100) -> "Command":
        """Wait until it has left, with the exit code expected, and all processes of its session with it."""
        wait_until(lambda: self.code is not None, f"dltk {self.arguments} to end", timeout, self.kill)
        assert expect is None or self.code == expect, f"exit {self.code}\n{self.out}\n{self.err}"
        wait_until(lambda: not self.processes(), f"the processes that dltk {self.arguments} left", 5, self.kill)
        return self

    def processes(self) -> list[int]:
        """The processes of its session that are still there."""
        return [pid for pid, (_, session) in processes().items() if session == self.pid]

    def kill(self) -> None:
        """End it and its session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def processes() -> dict[int, tuple[int, int]]:
    """Every living process: parent and session."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if fields[0] not in "ZX":
                found[int(path.parent.name)] = (int(fields[1]), int(fields[3]))
    return found


def wait_until(
    true: Callable[[], Any], what: str, timeout: float = 60, before_failing: Callable[[], Any] = bool
) -> None:
    """Wait for a condition, so many seconds on a machine that does nothing else, and longer on others."""
    timeout *= PATIENCE
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            before_failing()
            raise AssertionError(f"waited {timeout} s for {what}")
        time.sleep(0.02)


class Server:
    """Forks a process for each command (`warm.py`)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder  # of what the commands print
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(Path(__file__).with_name("warm.py"))]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, text=True, env=environment, start_new_session=True, **pipes)
        self._number = 0

    def close(self) -> None:
        """End the server."""
        self._process.stdin.close()
        self._process.wait(10)

    def start(
        self, *arguments: str, folder: Path, user: int = 0, cold_ranks: bool = False, **environment: str
    ) -> Command:
        """Start `dltk …` in a folder; as another user, where root does; its ranks as the launcher starts them."""
        self._number += 1
        files = self._folder / f"said-{self._number}"
        for name in (".out", ".err"):
            files.with_suffix(name).touch()
            files.with_suffix(name).chmod(0o666)
        request = {
            "arguments": arguments, "folder": str(folder), "environment": environment, "user": user,
            "cold_ranks": cold_ranks,
            "out": f"{files}.out", "err": f"{files}.err", "code": f"{files}.code",
        }  # fmt: skip
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return Command(arguments, int(self._process.stdout.readline()), files)
