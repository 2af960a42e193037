"""An attempt on several machines that see the same run folder: each starts its processes, the first one leads.

The leader holds the run's lease, chooses the checkpoint, writes the ledger, and publishes where all meet; the others
wait for that and answer, and only then do processes start. A machine that leaves before says so, that nobody waits for
it. What they tell one another lies in the run folder's `logs`, so no machine needs a connection to another's launcher,
and the number of files that are looked at does not grow with the processes. Each file names its attempt: what an
earlier one left means nothing.
"""

import contextlib
import functools
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dltk.errors import ExitCode, LaunchError
from dltk.launch.processes import GRACE, LOOK, Alarm, Group, Left, free_port, verdict, watched
from dltk.launch.rank import FINE, leave_with, say
from dltk.run import phases
from dltk.run.atomic import read_object, replace_file, to_json
from dltk.run.folder import RunFolder
from dltk.run.lease import Heart, holder, sign_of_life
from dltk.run.ledger import clock_text
from dltk.trainer.signals import Signals

COMING = 600.0  # seconds that machines wait for one another, and for a shared disk to show what was written
PARENT = "DLTK_SIMULATION"  # of the environment where one process simulates the machines: its number
SHOWN = 90.0  # seconds after which a shared disk shows what another machine wrote when it left


@dataclass(frozen=True)
class Node:
    """Which machine of an attempt this is."""

    number: int  # from 0
    count: int
    job: str  # what tells the attempt from every other
    address: str  # by which the others reach this machine

    @classmethod
    def of_slurm(cls, environment: Mapping[str, str]) -> "Node":
        """As Slurm tells a task of a step that has one task on each node.

        Raises:
            LaunchError: this is no such task.
        """
        try:
            tasks, count = int(environment["SLURM_STEP_NUM_TASKS"]), int(environment["SLURM_STEP_NUM_NODES"])
            restart = environment.get("SLURM_RESTART_COUNT", "0")
            job = f"slurm {environment['SLURM_JOB_ID']}.{restart}"
            number = int(environment["SLURM_PROCID"])
        except (KeyError, ValueError) as error:
            what = f"is no task of a Slurm step: {error} is missing or wrong"
            raise LaunchError("", "this process", what, "It is started by `dltk submit`.") from None
        if tasks != count:
            what = f"{tasks} tasks on {count} nodes, and each node starts its own processes"
            raise LaunchError("", "srun", what, "Give srun --ntasks-per-node=1.")
        return cls(number, count, job, environment.get("SLURMD_NODENAME") or socket.gethostname())


def leave_with_parent(environment: Mapping[str, str]) -> None:
    """End this machine's launcher, if it is a simulation's, when that is gone: nobody would end it then."""
    if PARENT in environment:
        leave_with(int(environment[PARENT]))


@dataclass(frozen=True)
class _Meeting:
    """What the leader of an attempt tells the others."""

    job: str
    token: str  # of the lease
    accelerator: str
    local: int  # processes of each machine
    address: str
    port: int
    restart: str | None  # the checkpoint to go on from


@contextlib.contextmanager
def leading(path: Path, node: Node) -> Iterator[None]:
    """Show the others that the first machine lives, and tell them when it leaves: it may never begin to train.

    Args:
        path: the run's folder, which may be none.
        node: the first machine.
    """
    if node.count == 1 or not (path / "recipe.yaml").is_file():
        yield
        return
    sign = _sign(path / "logs")
    record = functools.partial(sign_of_life, job=node.job)
    with contextlib.suppress(OSError, LaunchError):  # what is wrong with the disk will be said
        sign.parent.mkdir(exist_ok=True)
        replace_file(sign, record())
    heart = Heart(sign, record)
    try:
        yield
    finally:
        heart.stop()
        with contextlib.suppress(OSError, LaunchError):
            sign.unlink(missing_ok=True)  # first: a process that is gone behind it would count as dead
            replace_file(path / "logs" / "meeting.json", to_json({"job": node.job, "over": True}))


def lead(
    folder: RunFolder, node: Node, accelerator: str, local: int, restart: Path | None, signals: Signals
) -> tuple[ExitCode, str]:
    """Train on all machines, as the first of them; the exit code and the reason of all processes.

    Raises:
        DltkError: the user's mistake that one of them found, or one that does not come.
    """
    group = Group(local, 0, node.count, node.address, free_port(node.address))
    logs = folder.path / "logs"
    meeting = _Meeting(
        node.job, folder.token, accelerator, local, group.address, group.port, str(restart) if restart else None
    )
    replace_file(logs / "meeting.json", to_json(asdict(meeting)))
    alarm = Alarm(folder, node.job)
    try:
        with phases.phase("rendezvous"):
            early = _gathered(logs, node, signals)
        folder.note_seconds(phases.taken())
        left = {} if early else watched(folder, _command(folder.path, meeting), accelerator, group, signals, alarm)
    except BaseException:
        alarm.ring()  # the others' processes may wait for this machine's
        raise
    failed = any(how.code not in FINE for how in left.values())
    if failed or early:
        alarm.ring()
    if early:
        return early
    deadline = time.monotonic() + (2 * GRACE if failed else SHOWN)
    for number in range(1, node.count):
        left |= _left_on(logs, number, node.job, deadline) or _lost(group, number)
    return verdict(folder, left)


def follow(path: Path, node: Node, signals: Signals) -> ExitCode:
    """Train on all machines, as one of the others; the gravest code of this machine's processes.

    Raises:
        LaunchError: there is no such run, or the leader does not come.
    """
    logs = RunFolder.open(path).path / "logs"
    meeting = _meet(logs, node, signals)
    if signals.received is not None and meeting is None:
        _tell(logs, node, {"gone": signals.received})
        return ExitCode.PREEMPTED
    if meeting is None:
        dead = _dead_leader(logs, node.job)
        what = f"died (last heartbeat {clock_text(dead)})" if dead else "left"
        say(f"{path}: the first of {node.count} machines {what} before the training began")
        return ExitCode.CRASHED if dead else ExitCode.DONE  # where it left, its own code is that of all
    folder = RunFolder.open(path, token=meeting.token)
    alarm = Alarm(folder, node.job)
    group = Group(meeting.local, node.number, node.count, meeting.address, meeting.port)
    _tell(logs, node, {"here": node.address})
    try:
        left = watched(folder, _command(path, meeting), meeting.accelerator, group, signals, alarm)
    except BaseException:
        alarm.ring()
        raise
    _tell(logs, node, {"left": {str(rank): [how.code, how.at] for rank, how in left.items()}})
    codes = [how.code for how in left.values()]
    return ExitCode(max(codes)) if all(code in FINE for code in codes) else ExitCode.CRASHED


def _command(path: Path, meeting: _Meeting) -> list[str]:
    return [sys.executable, "-m", "dltk.launch.rank", str(path), *([meeting.restart] if meeting.restart else [])]


def _meet(logs: Path, node: Node, signals: Signals) -> _Meeting | None:
    """What the leader tells; None when it has left or died, or this machine is told to leave before."""
    deadline = time.monotonic() + COMING
    while time.monotonic() < deadline and signals.received is None:
        said = read_object(logs / "meeting.json")
        if said and said.get("job") == node.job:
            return None if said.get("over") else _Meeting(**said)
        if _dead_leader(logs, node.job):
            return None
        time.sleep(LOOK / 2)
    if signals.received is not None:
        return None
    what = f"no word of the first of {node.count} machines within {COMING:.0f} s"
    raise LaunchError(logs.parent, "", what, "Look into its log, and whether all machines see the same folder.")


def _sign(logs: Path) -> Path:
    """Where the first machine shows that it lives."""
    return logs / "leader.json"


def _dead_leader(logs: Path, job: str) -> float | None:
    """The last heartbeat of an attempt's leader (seconds since 1970), which has died."""
    record = holder(_sign(logs))
    if not record or record.get("job") != job or record["alive"]:
        return None
    # Another machine's heartbeats come late through a shared disk, and its clock may differ.
    elsewhere = record.get("host") != socket.gethostname()
    return None if elsewhere and time.time() - record["heartbeat"] < SHOWN else record["heartbeat"]


def _gathered(logs: Path, node: Node, signals: Signals) -> tuple[ExitCode, str] | None:
    """Wait for the others' answers; the end of all when one of them, or this one, was told to leave before.

    Raises:
        LaunchError: one does not come.
    """
    missing, deadline = set(range(1, node.count)), time.monotonic() + COMING
    while missing:
        told = signals.received
        for number in sorted(missing):
            said = _said(logs, number, node.job)
            told = told or said.get("gone")
            missing -= {number} if said else set()
        if told is not None:
            name = signal.Signals(told).name
            return (ExitCode.INTERRUPTED if told == signal.SIGINT else ExitCode.PREEMPTED), name
        if missing and time.monotonic() > deadline:
            which = ", ".join(str(number + 1) for number in sorted(missing))
            what = f"no word of machine {which} of {node.count} within {COMING:.0f} s"
            raise LaunchError(logs.parent, "", what, "Look into the job's log: Python may not start there.")
        time.sleep(LOOK / 2)
    return None


def _ends(logs: Path, number: int) -> Path:
    return logs / f"node-{number}.json"


def _tell(logs: Path, node: Node, what: dict[str, Any]) -> None:
    """Let the leader know."""
    replace_file(_ends(logs, node.number), to_json({"job": node.job, **what}))


def _said(logs: Path, number: int, job: str) -> dict[str, Any]:
    """What another machine told last in this attempt; nothing as long as it is silent."""
    said = read_object(_ends(logs, number)) or {}
    return said if said.get("job") == job else {}


def _left_on(logs: Path, number: int, job: str, deadline: float) -> dict[int, Left]:
    """How the processes of another machine left; nothing when it doesn't tell in time."""
    while True:
        told = _said(logs, number, job).get("left")
        if told is not None:
            return {int(rank): Left(code, at) for rank, (code, at) in told.items()}
        if time.monotonic() > deadline:
            return {}
        time.sleep(LOOK / 2)


def _lost(group: Group, number: int) -> dict[int, Left]:
    """The processes of a machine that does not answer count as killed."""
    ranks = range(number * group.local, (number + 1) * group.local)
    return dict.fromkeys(ranks, Left(-9, time.time()))
