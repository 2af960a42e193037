"""The processes of a run on this machine: started, watched, told to leave, and what they say of their end."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dltk.errors import DltkError, ExitCode
from dltk.launch.rank import FINE, End, say
from dltk.run.atomic import read_object, replace_file, to_json
from dltk.run.folder import RunFolder
from dltk.trainer.signals import Signals, blocked

# Variables by which a launcher tells a process its place; what another launcher said must not count.
PLACE = (
    *("MASTER_ADDR", "MASTER_PORT", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK"),
    *("GROUP_RANK", "OMP_NUM_THREADS"),
)
GRACE = 10.0  # seconds that the other processes get when one has failed
SAVING = 300.0  # seconds more, while one of them still writes the checkpoint of an earlier step
POLL = 0.02  # seconds between two looks at the processes
LOOK = 0.5  # seconds between two looks at what other machines say


@dataclass(frozen=True)
class Group:
    """The processes of this machine among those of all machines that train together."""

    local: int  # processes of each machine
    node: int = 0  # number of this machine
    nodes: int = 1  # machines
    address: str = "127.0.0.1"  # of the first machine
    port: int = 0  # where the processes meet there

    @property
    def world(self) -> int:
        """Processes on all machines."""
        return self.local * self.nodes

    @property
    def ranks(self) -> range:
        """The numbers of this machine's processes."""
        return range(self.node * self.local, (self.node + 1) * self.local)


@dataclass(frozen=True)
class Left:
    """How the launcher saw a process leave."""

    code: int  # negative for a signal
    at: float | None = None  # seconds since 1970; None where a launcher killed it


def run_processes(
    folder: RunFolder, command: list[str], accelerator: str, group: Group, signals: Signals
) -> tuple[ExitCode, str]:
    """Start one process for each device of this machine and wait for all; one that fails ends the others.

    Returns:
        The exit code and the reason of all.

    Raises:
        DltkError: the user's mistake that one of them found.
    """
    return verdict(folder, watched(folder, command, accelerator, group, signals))


def watched(
    folder: RunFolder,
    command: list[str],
    accelerator: str,
    group: Group,
    signals: Signals,
    alarm: "Alarm | None" = None,
) -> dict[int, Left]:
    """Start one process for each device of this machine and wait for all; one that fails ends the others.

    Args:
        folder: keeps what they print and how they end, in `logs`.
        command: what each runs; it ends by `rank.serve`.
        accelerator: `cpu` or `cuda`.
        group: which of all processes they are.
        signals: are passed on.
        alarm: rings on every machine when a process of any has failed.

    Returns:
        How each left, by rank.
    """
    for rank in group.ranks:
        End.path(folder.path, rank).unlink(missing_ok=True)
    ranks: dict[int, subprocess.Popen[bytes]] = {}
    with _none_left(ranks):
        with contextlib.ExitStack() as stack, blocked():
            for rank, environment in _environments(group, accelerator, folder.token):
                log = stack.enter_context(_log(folder, rank).open("ab")) if rank else None
                ranks[rank] = _start(command, environment, log)
        died = _wait(folder, ranks, signals, alarm)
    folder.require_lease()  # else the ends are those of another launcher's processes
    return {rank: Left(process.returncode, died.get(rank)) for rank, process in ranks.items()}


class Alarm:
    """A file in the run folder by which the machines of an attempt hear that a process of one has failed.

    Args:
        folder: the run's.
        job: of the attempt; another's alarm means nothing.
    """

    def __init__(self, folder: RunFolder, job: str) -> None:
        self._path, self._job = folder.path / "logs" / "failed.json", job
        self._looked = 0.0

    def ring(self) -> None:
        """Tell the others."""
        replace_file(self._path, to_json({"job": self._job}))

    def rings(self) -> bool:
        """Whether one of them has told; looks twice a second at most."""
        if time.monotonic() - self._looked < LOOK:
            return False
        self._looked = time.monotonic()
        return (read_object(self._path) or {}).get("job") == self._job


def _start(command: list[str], environment: dict[str, str], log: IO[bytes] | None) -> "subprocess.Popen[bytes]":
    """One process, in a session of its own; what it prints goes to the log where there is one."""
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def _environments(group: Group, accelerator: str, token: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Each process's rank and environment: its numbers, where they meet, its share of the cores, the lease's token."""
    port = group.port or free_port(group.address)
    shared: dict[str, Any] = {"MASTER_ADDR": group.address, "MASTER_PORT": port}
    shared |= {"WORLD_SIZE": group.world, "LOCAL_WORLD_SIZE": group.local, "NODE_RANK": group.node}
    shared |= {"DLTK_ACCELERATOR": accelerator, "DLTK_LAUNCHER": os.getpid(), "DLTK_LEASE": token}
    shared["OMP_NUM_THREADS"] = max(1, (os.cpu_count() or 1) // group.local)
    for local, rank in enumerate(group.ranks):
        said = {**shared, "RANK": rank, "LOCAL_RANK": local}
        yield rank, {**os.environ, **{name: str(value) for name, value in said.items()}}


def forget_place(environment: MutableMapping[str, str]) -> list[str]:
    """Take away what another launcher, or a container's start, has said of this process's place; a line for each."""
    found = [name for name in PLACE if name in environment]
    return [f"dltk: {name}={environment.pop(name)} of the environment is not used" for name in found]


def _log(folder: RunFolder, rank: int) -> Path:
    return folder.path / "logs" / f"rank-{rank}.log"


def _wait(
    folder: RunFolder, ranks: dict[int, "subprocess.Popen[bytes]"], signals: Signals, alarm: Alarm | None
) -> dict[int, float]:
    """Wait for all processes, passing signals on; when one fails, the others get a grace period and are then killed.

    Returns:
        When each process was seen to have ended, but for those killed here.
    """
    died: dict[int, float] = {}
    told: int | None = None
    deadline: float | None = None
    while len(died) < len(ranks):
        died |= {rank: time.time() for rank, one in ranks.items() if rank not in died and one.poll() is not None}
        if signals.received != told:
            told = signals.received
            _tell(ranks, told)
        if deadline is None and _failing(folder, ranks):
            deadline = time.monotonic() + GRACE
            if alarm is not None:
                alarm.ring()
        if deadline is None and alarm is not None and alarm.rings():
            deadline = time.monotonic() + GRACE
        late = 0.0 if deadline is None else time.monotonic() - deadline
        if late > SAVING or (late > 0 and not _saving(folder, ranks)):
            _kill(ranks)
            break
        time.sleep(POLL)
    return died


def _tell(ranks: Mapping[int, "subprocess.Popen[bytes]"], number: int | None) -> None:
    for process in ranks.values():
        if number is not None and process.poll() is None:
            process.send_signal(number)


def _saving(folder: RunFolder, ranks: Mapping[int, "subprocess.Popen[bytes]"]) -> bool:
    """Whether a living process has a checkpoint under way."""
    alive = [process.pid for process in ranks.values() if process.returncode is None]
    return any(any(folder.checkpoints.path.glob(f".writing-*-{pid}")) for pid in alive)


def _failing(folder: RunFolder, ranks: Mapping[int, "subprocess.Popen[bytes]"]) -> bool:
    """Whether a process has failed: it is dead, or has said that it will be."""
    if any(process.returncode not in (None, *FINE) for process in ranks.values()):
        return True
    said = [End.read(folder.path, rank) for rank in ranks if End.path(folder.path, rank).exists()]
    return any(end is not None and end.code not in FINE for end in said)


def verdict(folder: RunFolder, left: Mapping[int, Left]) -> tuple[ExitCode, str]:
    """One code and reason for all processes: those of the one that failed first, else the gravest.

    Raises:
        DltkError: the user's mistake that it found.
    """
    ends = {rank: End.read(folder.path, rank) for rank in left}
    failed = [rank for rank, how in left.items() if how.code not in FINE]
    if not failed:
        code, rank = max((how.code, -rank) for rank, how in left.items())
        end = ends[-rank]
        return ExitCode(code), end.reason if end else "stopped"
    first = min(failed, key=lambda rank: _order(left[rank], ends[rank]))
    end = ends[first]
    if end is not None and end.mistake is not None:
        raise DltkError(*end.mistake)
    reason = f"rank {first} of {len(left)} failed: {end.reason if end else _death(left[first].code)}"
    say(f"{folder.path}: {reason}")
    if end is not None and end.trace:
        say(end.trace.rstrip())
    elif end is None and first and _log(folder, first).is_file():
        say("\n".join(_log(folder, first).read_text(errors="replace").splitlines()[-20:]))
    return ExitCode.CRASHED, reason


def _order(left: Left, end: End | None) -> tuple[int, float]:
    """Sorts failed processes by what came first.

    A signal from outside (out of memory, a broken library) comes before every exception, for no peer's failure sends
    one, but for SIGABRT, by which NCCL ends a process that waits in vain.
    """
    if left.at is None:
        return 2, 0.0  # killed by a launcher
    outside = left.code < 0 and left.code != -signal.SIGABRT
    return (0 if outside else 1), end.time if end else left.at


def _death(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


@contextlib.contextmanager
def _none_left(ranks: Mapping[int, "subprocess.Popen[bytes]"]) -> Iterator[None]:
    """Kill the processes that still run in the end, whatever happens."""
    try:
        yield
    finally:
        _kill(ranks)


def _kill(ranks: Mapping[int, "subprocess.Popen[bytes]"]) -> None:
    """Kill what still runs, each process with all that it started in its session."""
    for process in ranks.values():
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port of this machine that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1" if address == "127.0.0.1" else "", 0))
        return int(probe.getsockname()[1])
