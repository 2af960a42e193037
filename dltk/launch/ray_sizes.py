"""How many workers a group of Ray Train may have. Imports nothing slow, for whoever submits asks it too."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dltk.errors import LaunchError


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
        return sizes(self.least, self.most, settings["batch"]["global"], settings["launch"].get("tensor", 1))

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


def sizes(least: int, most: int, batch: int, sharing: int = 1) -> list[int]:
    """Numbers of workers from `least` to `most` that divide the global batch, and are whole groups of `sharing`.

    Raises:
        LaunchError: there is none.
    """
    if least > most:
        raise LaunchError("", "--min-workers", f"{least} is more than the {most} of --workers", f"Set at most {most}.")
    fit = [count for count in range(1, batch + 1) if batch % count == 0 and count % sharing == 0]
    found = [count for count in fit if least <= count <= most]
    if found:
        return found
    near = [*[count for count in fit if count < least][-1:], *[count for count in fit if count > most][:1]]
    what = f"{most} does not divide" if least == most else f"no number from {least} to {most} divides"
    what += f" batch.global={batch}" + (f" by groups of launch.tensor={sharing}" if sharing > 1 else "")
    remedy = f"Set {' or '.join(map(str, near))}." if near else "Change batch.global or launch.tensor."
    raise LaunchError("", "--workers", what, remedy)
