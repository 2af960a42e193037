"""A group of workers of Ray Train: how many there may be, what each is told, and why it leaves.

Imports nothing slow: whoever submits asks it, and so do the driver and Ray's controller, which train nothing.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dltk.errors import LaunchError
from dltk.trainer.config import sharing

DRIVER = "the driver"  # who asks to stop when the driver itself is told to leave


@dataclass(frozen=True)
class Order:
    """What the driver tells every worker."""

    path: str  # of the run folder, which all nodes see
    token: str  # of the driver's lease
    accelerator: str  # cpu or cuda
    changed: Mapping[str, Any]  # settings of the place, by dotted key
    folder: str  # that the run was submitted from, to which relative paths of the recipe belong
    job: str  # of Ray


class Leaving(Exception):
    """The group has saved and left, to be started again."""


class PeerLost(Exception):
    """Another process of the group is gone."""


class Crashed(Exception):
    """This process has failed by itself, or found a mistake of the user's: the same would happen again."""


def work(order: Mapping[str, Any]) -> None:
    """Train as one worker; what Ray Train calls on each of a group.

    Args:
        order: the fields of an `Order`.

    Raises:
        Leaving: saved, start the group again.
        PeerLost: another worker is gone.
        Crashed: do not start it again.
    """
    from dltk.launch.ray_worker import train_as_worker

    train_as_worker(Order(**order))


@dataclass(frozen=True)
class Workers:
    """How many workers a group may have."""

    most: int
    least: int
    cpus: int = 1  # of each

    def sizes(self, settings: Mapping[str, Any]) -> list[int]:
        """The numbers that fit a recipe, rising.

        Raises:
            LaunchError: there is none.
        """
        return sizes(self.least, self.most, settings["batch"]["global"], *sharing(settings["launch"]))

    def skipped(self, settings: Mapping[str, Any]) -> str:
        """A line on the numbers that are left out; empty where there is none."""
        fit = self.sizes(settings)
        out = [count for count in range(self.least, self.most + 1) if count not in fit]
        if not out:
            return ""
        given = f"batch.global={settings['batch']['global']}"
        return f"groups of {_words(fit)} workers; {_words(out)} do not divide {given} and are skipped"


def _words(numbers: list[int]) -> str:
    texts = [str(number) for number in (numbers if len(numbers) < 8 else [*numbers[:3], "…", *numbers[-2:]])]
    return ", ".join(texts)


def require_ray() -> None:
    """See that Ray is installed.

    Raises:
        LaunchError: it is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise LaunchError("", "--on ray", "Ray is not installed", "Install the extra: dltk[ray].")


def sizes(least: int, most: int, batch: int, key: str = "", together: int = 1) -> list[int]:
    """Numbers of workers from `least` to `most` that divide the global batch, and are whole groups.

    Args:
        least: workers.
        most: workers.
        batch: global.
        key: that says how many have the network together.
        together: how many do.

    Raises:
        LaunchError: there is none.
    """
    if least > most:
        raise LaunchError("", "--min-workers", f"{least} is more than the {most} of --workers", f"Set at most {most}.")
    fit = [count for count in range(1, batch + 1) if batch % count == 0 and count % together == 0]
    found = [count for count in fit if least <= count <= most]
    if found:
        return found
    near = [*[count for count in fit if count < least][-1:], *[count for count in fit if count > most][:1]]
    what = f"{most} does not divide" if least == most else f"no number from {least} to {most} divides"
    what += f" batch.global={batch}" + (f" by groups of {key}={together}" if together > 1 else "")
    remedy = f"Set {' or '.join(map(str, near))}." if near else f"Change batch.global or {key}."
    raise LaunchError("", "--workers", what, remedy)
