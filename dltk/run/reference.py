"""Which checkpoint of a run is meant: `best`, `newest` or a step; on a command line behind the run, as `RUN@best`."""

from pathlib import Path

from dltk.errors import LaunchError
from dltk.run.folder import RunFolder


def find_checkpoint(folder: RunFolder, which: str) -> Path:
    """The directory of a run's `best` (by the recipe's monitored metric), `newest` (or `last`) or numbered checkpoint.

    Raises:
        LaunchError: there is none, or it is damaged.
    """
    if which == "best":
        wanted = folder.recipe["checkpoint"]
        path = folder.checkpoints.best(wanted["monitor"], wanted["mode"]) or folder.checkpoints.newest()
    elif which in ("last", "newest"):
        path = folder.checkpoints.newest()
    elif which.isdecimal():
        path = folder.checkpoints.at(int(which))
    else:
        raise LaunchError(folder.path, "checkpoint", f"'{which}' is none of best, last or a step")
    if path is None:
        raise LaunchError(folder.path, "checkpoint", f"there is no '{which}' checkpoint", "Train the run first.")
    return path


def split_reference(text: str) -> tuple[str, str | None]:
    """`RUN@WHICH` as its two parts; the second is None where there is no `@`, or it belongs to a folder's name."""
    run, at, which = text.rpartition("@")
    if not at or "/" in which or Path(text).exists():
        return text, None
    return run, which
