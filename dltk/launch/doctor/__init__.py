"""Looks at a machine before it is used: `dltk doctor`. In half a minute; leaves no process and no file behind.

Each check is one function that gives one finding. Those that need torch are left out where it cannot be imported.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from dltk.launch.doctor import devices, exchange, machine, packages, storage, tracking
from dltk.launch.doctor.demand import Demand, demand_of
from dltk.launch.doctor.finding import Finding, Verdict, fail

__all__ = ["Demand", "Finding", "Verdict", "demand_of", "examine"]


class Check(NamedTuple):
    """A check by its name."""

    name: str
    run: Callable[[], Finding]
    needs_torch: bool = False


def checks(demand: Demand) -> tuple[Check, ...]:
    """All checks, of a machine that is asked for so much."""
    return (
        Check("python", packages.python),
        Check("packages", packages.required),
        Check("extras", packages.extras),
        Check("compiler", packages.compiler),
        Check("cores", partial(machine.cores, demand)),
        Check("memory", partial(machine.memory, demand)),
        Check("open files", partial(machine.open_files, demand)),
        Check("port", partial(machine.port, demand)),
        Check("disk", partial(storage.speed, demand)),
        Check("room", partial(storage.room, demand)),
        Check("clock", partial(storage.clock, demand)),
        Check("wandb", tracking.wandb),
        Check("shared memory", partial(machine.shared_memory, demand), needs_torch=True),
        Check("devices", devices.cuda, needs_torch=True),
        Check("all-reduce", exchange.all_reduce, needs_torch=True),
    )


def examine(demand: Demand) -> Iterator[tuple[str, Finding]]:
    """Run all checks in turn; the name and finding of each as soon as it is known."""
    broken: str | None = None
    for check in checks(demand):
        if check.needs_torch and broken is None:
            broken = packages.importable("torch") or ""
            if broken:
                yield "torch", fail(broken, packages.AGAIN)
        if not (check.needs_torch and broken):
            yield check.name, check.run()
