"""An attempt on several machines that see the same run folder: each starts its processes, the first one leads.

The leader holds the run's lease, chooses the checkpoint, writes the ledger, and publishes where all meet; the others
wait for that. What they tell one another lies in the run folder's `logs`, so no machine needs a connection to another's
launcher, and the number of files that are looked at does not grow with the processes.
"""

import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dltk.errors import ExitCode, LaunchError
from dltk.launch.processes import GRACE, LOOK, Alarm, Group, Left, free_port, verdict, watched
from dltk.launch.rank import FINE
from dltk.run.atomic import read_object, replace_file, to_json
from dltk.run.folder import RunFolder
from dltk.trainer.signals import Signals

COMING = 600.0  # seconds that the others wait for the leader, and for a shared disk to show what it wrote


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


def lead(
    folder: RunFolder, node: Node, accelerator: str, local: int, restart: Path | None, signals: Signals
) -> tuple[ExitCode, str]:
    """Train on all machines, as the first of them; the exit code and the reason of all processes.

    Raises:
        DltkError: the user's mistake that one of them found.
    """
    group = Group(local, 0, node.count, node.job, node.address, free_port(node.address))
    logs = folder.path / "logs"
    for number in range(1, node.count):
        _ends(logs, number).unlink(missing_ok=True)
    meeting = _Meeting(
        node.job, folder.token, accelerator, local, group.address, group.port, str(restart) if restart else None
    )
    replace_file(logs / "meeting.json", to_json(asdict(meeting)))
    alarm = Alarm(folder, node.job)
    left = watched(folder, _command(folder.path, meeting), accelerator, group, signals, alarm)
    if any(how.code not in FINE for how in left.values()):
        alarm.ring()
    deadline = time.monotonic() + 2 * GRACE
    for number in range(1, node.count):
        left |= _left_on(logs, number, node.job, deadline) or _lost(group, number)
    return verdict(folder, left)


def follow(path: Path, node: Node, signals: Signals) -> ExitCode:
    """Train on all machines, as one of the others; the gravest code of this machine's processes.

    Raises:
        LaunchError: the leader does not come.
    """
    meeting = _meet(path, node, signals)
    if meeting is None:
        return ExitCode.PREEMPTED
    folder = RunFolder.open(path, token=meeting.token)
    group = Group(meeting.local, node.number, node.count, node.job, meeting.address, meeting.port)
    left = watched(folder, _command(path, meeting), meeting.accelerator, group, signals, Alarm(folder, node.job))
    told = {str(rank): [how.code, how.at] for rank, how in left.items()}
    replace_file(_ends(path / "logs", node.number), to_json({"job": node.job, "left": told}))
    codes = [how.code for how in left.values()]
    return ExitCode(max(codes)) if all(code in FINE for code in codes) else ExitCode.CRASHED


def _command(path: Path, meeting: _Meeting) -> list[str]:
    return [sys.executable, "-m", "dltk.launch.rank", str(path), *([meeting.restart] if meeting.restart else [])]


def _meet(path: Path, node: Node, signals: Signals) -> _Meeting | None:
    """What the leader tells; None when this machine is told to leave before."""
    deadline = time.monotonic() + COMING
    while time.monotonic() < deadline and signals.received is None:
        said = read_object(path / "logs" / "meeting.json")
        if said and said.get("job") == node.job:
            return _Meeting(**said)
        time.sleep(LOOK / 2)
    if signals.received is not None:
        return None
    what = f"no word of the first of {node.count} machines within {COMING:.0f} s"
    raise LaunchError(path, "", what, "Look into its log, and whether all machines see the same folder.")


def _ends(logs: Path, number: int) -> Path:
    return logs / f"node-{number}.json"


def _left_on(logs: Path, number: int, job: str, deadline: float) -> dict[int, Left]:
    """How the processes of another machine left; nothing when it doesn't tell in time."""
    while True:
        said = read_object(_ends(logs, number)) or {}
        if said.get("job") == job:
            return {int(rank): Left(code, at) for rank, (code, at) in said["left"].items()}
        if time.monotonic() > deadline:
            return {}
        time.sleep(LOOK / 2)


def _lost(group: Group, number: int) -> dict[int, Left]:
    """The processes of a machine that does not answer count as killed."""
    ranks = range(number * group.local, (number + 1) * group.local)
    return dict.fromkeys(ranks, Left(-9, time.time()))
