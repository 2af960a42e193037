"""`torchrun … -m dltk train …`: torchrun's first process on each machine is that machine's launcher, the others wait.

So the processes that train are started, watched and ended as by `dltk train` and by a job of Slurm, whoever started the
launchers. torchrun's own store carries the run's folder to the other machines, and the exit code to those that wait.
"""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from dltk.launch.nodes import Node
from dltk.launch.processes import forget_place

RUN = "dltk/run"  # of the store: the folder, also for processes that torchrun starts again
FOREVER = timedelta(days=3650)
_OWN = ("TORCHELASTIC_", "ROLE_", "GROUP_")


@dataclass(frozen=True)
class Worker:
    """Which of torchrun's processes this is."""

    local: int  # number on its machine
    processes: int  # on each machine
    machine: int  # number of its machine
    machines: int
    restart: int  # how often torchrun has started all of them again
    job: str
    address: str  # of the first machine
    port: int  # of the store there

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> "Worker | None":
        """As torchrun tells its processes; None in any other."""
        if "TORCHELASTIC_RUN_ID" not in environment:
            return None
        names = ("LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT")
        local, processes, machine, machines, restart = (int(environment[name]) for name in names)
        job = f"torchrun {environment['TORCHELASTIC_RUN_ID']}.{restart}"
        place = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
        return cls(local, processes, machine, machines, restart, job, *place)

    @property
    def node(self) -> Node | None:
        """This machine among several; None where it is the only one."""
        return None if self.machines == 1 else Node(self.machine, self.machines, self.job, self.address)

    @property
    def settings(self) -> list[str]:
        """How many processes and machines there are, as a recipe says it."""
        return [f"launch.devices={self.processes}", f"launch.nodes={self.machines}"]

    def store(self) -> Any:
        """torchrun's own, which its agent on the first machine keeps."""
        from torch.distributed import TCPStore

        return TCPStore(self.address, self.port, is_master=False, wait_for_workers=False)

    def wait(self) -> int:
        """Wait until this machine's launcher has left; its exit code."""
        store, key = self.store(), self._over
        store.wait([key], FOREVER)
        return int(store.get(key))

    def leave(self, store: Any, code: int) -> None:
        """Let those that wait on this machine leave."""
        store.set(self._over, str(code))

    @property
    def _over(self) -> str:
        return f"dltk/{self.restart}/over/{self.machine}"


def known_run(store: Any) -> Path | None:
    """The run that an earlier start of the same torchrun trained."""
    return Path(store.get(RUN).decode()) if store.check([RUN]) else None


def forget(environment: MutableMapping[str, str]) -> None:
    """Take away what torchrun said: to the processes started from here this one's word counts."""
    for name in [name for name in environment if name.startswith(_OWN)]:
        del environment[name]
    forget_place(environment)
