"""`torchrun … -m dltk train …`: torchrun's first process on each machine is that machine's launcher, the others wait.

So the processes that train are started, watched and ended as by `dltk train` and by a job of Slurm, whoever started the
launchers. torchrun's own store carries the run's folder to the other machines, and the exit code to those that wait.

torchrun may start all processes again, when one has failed or a machine comes or leaves, and tells them no number by
which that start differs from the one before; its store stays. So all of them meet in the store first: each gets a
token of this start from the first one, which is part of whatever they tell one another from then on.
"""

import contextlib
import json
import secrets
import time
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from dltk.errors import LaunchError
from dltk.launch.nodes import Node
from dltk.launch.processes import POLL, forget_place

RUN = "dltk/run"  # of the store: what the first machine trains, also for processes that torchrun starts again
ASKED = "dltk/asked"  # how many processes, of all starts, have asked for a token
FOREVER = timedelta(days=3650)
_OWN = ("TORCHELASTIC_", "ROLE_", "GROUP_")


@dataclass(frozen=True)
class Worker:
    """Which of torchrun's processes this is."""

    rank: int  # number among all
    world: int  # processes on all machines
    local: int  # number on its machine
    processes: int  # on each machine
    machine: int  # number of its machine
    machines: int
    name: str  # of the job, which torchrun's user may give
    address: str  # of the first machine
    port: int  # of the store there

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> "Worker | None":
        """As torchrun tells its processes; None in any other.

        Raises:
            LaunchError: torchrun keeps no store that all of them reach.
        """
        if "TORCHELASTIC_RUN_ID" not in environment:
            return None
        if environment.get("TORCHELASTIC_USE_AGENT_STORE") == "False":
            what = "is False, and by torchrun's own store its processes meet"
            remedy = "Start torchrun without TORCH_DISABLE_SHARE_RDZV_TCP_STORE."
            raise LaunchError("", "TORCHELASTIC_USE_AGENT_STORE", what, remedy)
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE")
        rank, world, local, processes, machine, machines = (int(environment[name]) for name in names)
        job, place = environment["TORCHELASTIC_RUN_ID"], (environment["MASTER_ADDR"], int(environment["MASTER_PORT"]))
        return cls(rank, world, local, processes, machine, machines, job, *place)

    @property
    def settings(self) -> list[str]:
        """How many processes and machines there are, as a recipe says it."""
        return [f"launch.devices={self.processes}", f"launch.nodes={self.machines}"]

    def meet(self) -> "Start":
        """Wait for the other processes of this start."""
        from torch.distributed import TCPStore

        with _reaching():
            store = TCPStore(self.address, self.port, is_master=False, wait_for_workers=False)
            token = self._ask(store) if self.rank else self._answer(store)
        return Start(self, store, token)

    def _ask(self, store: Any) -> str:
        """Get the token from the first process."""
        answer = _answer_to(store.add(ASKED, 1))
        store.wait([answer], FOREVER)
        token = str(store.get(answer).decode())
        store.set(_met(token, self.rank), "")
        return token

    def _answer(self, store: Any) -> str:
        """Give all others a token; those of an earlier start are answered too, and do not hear it any more."""
        token, answered = secrets.token_hex(8), 0
        everyone = [_met(token, rank) for rank in range(1, self.world)]
        while everyone and not store.check(everyone):
            asked = store.add(ASKED, 0)
            for number in range(answered + 1, asked + 1):
                store.set(_answer_to(number), token)
            answered = asked
            time.sleep(POLL)
        return token


@dataclass(frozen=True)
class Start:
    """One start of all of torchrun's processes, seen from one of them."""

    worker: Worker
    store: Any  # torchrun's own, which its agent on the first machine keeps
    token: str  # tells this start from every other

    @property
    def node(self) -> Node | None:
        """This machine among several; None where it is the only one."""
        worker = self.worker
        job = f"torchrun {worker.name}.{self.token}"
        return None if worker.machines == 1 else Node(worker.machine, worker.machines, job, worker.address)

    def tell(self, words: Sequence[str]) -> None:
        """Let the other machines, and later starts, know what is trained: the run's folder, then `key=value`."""
        for key in (RUN, self._run):
            self.store.set(key, json.dumps(list(words)))

    def hear(self) -> list[str]:
        """What the first machine trains.

        Raises:
            LaunchError: it has left before it knew.
        """
        with _reaching():
            self.store.wait([self._run], FOREVER)
            return _words(self.store, self._run)

    def before(self) -> list[str] | None:
        """What an earlier start of the same torchrun trained."""
        return _words(self.store, RUN) if self.store.check([RUN]) else None

    def wait(self) -> int:
        """Wait until this machine's launcher has left; its exit code.

        Raises:
            LaunchError: the store has gone with the first machine.
        """
        with _reaching():
            self.store.wait([self._over], FOREVER)
            return int(self.store.get(self._over))

    def leave(self, code: int) -> None:
        """Let those that wait on this machine leave."""
        with contextlib.suppress(RuntimeError):  # they see for themselves that the store is gone
            self.store.set(self._over, str(code))

    @property
    def _run(self) -> str:
        return f"dltk/{self.token}/run"

    @property
    def _over(self) -> str:
        return f"dltk/{self.token}/over/{self.worker.machine}"


def forget(environment: MutableMapping[str, str]) -> None:
    """Take away what torchrun said: to the processes started from here this one's word counts."""
    for name in [name for name in environment if name.startswith(_OWN)]:
        del environment[name]
    forget_place(environment)


def _words(store: Any, key: str) -> list[str]:
    return [str(word) for word in json.loads(store.get(key))]


def _answer_to(number: int) -> str:
    return f"dltk/token/{number}"


def _met(token: str, rank: int) -> str:
    return f"dltk/{token}/met/{rank}"


@contextlib.contextmanager
def _reaching() -> Iterator[None]:
    """One line where the store is not reached any more."""
    try:
        yield
    except RuntimeError:
        what = "its store has left with the first machine's agent"
        raise LaunchError("", "torchrun", what, "Look into what that machine printed.") from None
