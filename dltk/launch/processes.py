"""The processes of a run on this machine: started, watched, told to leave, and what they say of their end."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from dltk.errors import DltkError, ExitCode
from dltk.launch.rank import FINE, End, say
from dltk.run.folder import RunFolder
from dltk.trainer.signals import Signals, blocked

GRACE = 10.0  # seconds that the other processes get when one has failed
POLL = 0.02  # seconds between two looks at the processes


def run_processes(
    folder: RunFolder, command: list[str], accelerator: str, world: int, signals: Signals
) -> tuple[ExitCode, str]:
    """Start one process for each device and wait for all; one that fails ends the others.

    Args:
        folder: keeps what they print and how they end, in `logs`.
        command: what each runs; it ends by `rank.serve`.
        accelerator: `cpu` or `cuda`.
        world: processes.
        signals: are passed on.

    Returns:
        The exit code and the reason of all.

    Raises:
        DltkError: the user's mistake that one of them found.
    """
    for rank in range(world):
        End.path(folder.path, rank).unlink(missing_ok=True)
    ranks: list[subprocess.Popen[bytes]] = []
    with _none_left(ranks):
        with contextlib.ExitStack() as stack, blocked():
            for rank, environment in enumerate(_environments(world, accelerator, folder.token)):
                log = stack.enter_context(_log(folder, rank).open("ab")) if rank else None
                ranks.append(_start(command, environment, log))
        died = _wait(folder, ranks, signals)
    folder.require_lease()  # else the ends are those of another launcher's processes
    return _verdict(folder, [process.returncode for process in ranks], died)


def _start(command: list[str], environment: dict[str, str], log: IO[bytes] | None) -> "subprocess.Popen[bytes]":
    """One process, in a session of its own; what it prints goes to the log where there is one."""
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def _environments(world: int, accelerator: str, token: str) -> Iterator[dict[str, str]]:
    """The environment of each process: its number, where they meet, its share of the cores, the lease's token."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    threads = str(max(1, (os.cpu_count() or 1) // world))
    ours = {"DLTK_ACCELERATOR": accelerator, "DLTK_LAUNCHER": str(os.getpid()), "DLTK_LEASE": token}
    ours["OMP_NUM_THREADS"] = threads
    for rank in range(world):
        numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "NODE_RANK": 0}
        yield {**os.environ, **address, **ours, **{name: str(number) for name, number in numbers.items()}}


def _log(folder: RunFolder, rank: int) -> Path:
    return folder.path / "logs" / f"rank-{rank}.log"


def _wait(folder: RunFolder, ranks: list[subprocess.Popen[bytes]], signals: Signals) -> dict[int, float]:
    """Wait for all processes, passing signals on; when one fails, the others get a grace period and are then killed.

    Returns:
        When each process was seen to have ended, but for those killed here.
    """
    died: dict[int, float] = {}
    told: int | None = None
    deadline: float | None = None
    while len(died) < len(ranks):
        died |= {i: time.time() for i, one in enumerate(ranks) if i not in died and one.poll() is not None}
        if signals.received != told:
            told = signals.received
            _tell(ranks, told)
        if deadline is None and _failing(folder, ranks):
            deadline = time.monotonic() + GRACE
        if deadline is not None and time.monotonic() > deadline:
            _kill(ranks)
            break
        time.sleep(POLL)
    return died


def _tell(ranks: list[subprocess.Popen[bytes]], number: int | None) -> None:
    for process in ranks:
        if number is not None and process.poll() is None:
            process.send_signal(number)


def _failing(folder: RunFolder, ranks: list[subprocess.Popen[bytes]]) -> bool:
    """Whether a process has failed: it is dead, or has said that it will be."""
    if any(process.returncode not in (None, *FINE) for process in ranks):
        return True
    said = [End.read(folder.path, rank) for rank in range(len(ranks)) if End.path(folder.path, rank).exists()]
    return any(end is not None and end.code not in FINE for end in said)


def _verdict(folder: RunFolder, codes: list[int], died: Mapping[int, float]) -> tuple[ExitCode, str]:
    """One code and reason for all processes: those of the one that failed first, else the gravest."""
    ends = [End.read(folder.path, rank) for rank in range(len(codes))]
    failed = [rank for rank, code in enumerate(codes) if code not in FINE]
    if not failed:
        code, rank = max((code, -rank) for rank, code in enumerate(codes))
        end = ends[-rank]
        return ExitCode(code), end.reason if end else "stopped"
    first = min(failed, key=lambda rank: _order(codes[rank], ends[rank], died.get(rank)))
    end = ends[first]
    if end is not None and end.mistake is not None:
        raise DltkError(*end.mistake)
    reason = f"rank {first} of {len(codes)} failed: {end.reason if end else _death(codes[first])}"
    say(f"{folder.path}: {reason}")
    if end is not None and end.trace:
        say(end.trace.rstrip())
    elif end is None and first and _log(folder, first).is_file():
        say("\n".join(_log(folder, first).read_text(errors="replace").splitlines()[-20:]))
    return ExitCode.CRASHED, reason


def _order(code: int, end: End | None, died: float | None) -> tuple[int, float]:
    """Sorts failed processes by what came first.

    A signal from outside (out of memory, a broken library) comes before every exception, for no peer's failure sends
    one, but for SIGABRT, by which NCCL ends a process that waits in vain.
    """
    if died is None:
        return 2, 0.0  # killed by the launcher
    outside = code < 0 and code != -signal.SIGABRT
    return (0 if outside else 1), end.time if end else died


def _death(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


@contextlib.contextmanager
def _none_left(ranks: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Kill the processes that still run in the end, whatever happens."""
    try:
        yield
    finally:
        _kill(ranks)


def _kill(ranks: list[subprocess.Popen[bytes]]) -> None:
    """Kill what still runs, each process with all that it started in its session."""
    for process in ranks:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> int:
    """A TCP port of the loopback device that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
