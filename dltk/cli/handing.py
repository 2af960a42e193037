"""What every way of handing a run over needs: its folder, that no job trains it yet, how to follow it."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dltk.cli import terminal
from dltk.errors import LaunchError

if TYPE_CHECKING:
    from dltk.recipe import Recipe
    from dltk.run.folder import RunFolder


def planned_folders(wanted: "Recipe", run: "RunFolder | None", seeds: int | None) -> tuple[Path, ...]:
    """The run folders, which may not be there yet.

    Raises:
        LaunchError: one for each seed is wanted, and a run or a run's name is given.
    """
    if seeds is not None and (run is not None or wanted["run"]):
        given = run.path if run is not None else f"run={wanted['run']}"
        raise LaunchError("", "--seeds", f"cannot be combined with '{given}'", "It names new runs seed-0 … itself.")
    if run is not None:
        return (run.path.absolute(),)
    folder = Path(wanted["runs_dir"]).absolute() / wanted.name
    if seeds is not None:
        return tuple(folder / f"seed-{seed}" for seed in range(seeds))
    return (folder / (wanted["run"] or "RUN"),)


def created(wanted: "Recipe", planned: Path, count: int) -> "RunFolder":
    """The folder of a new run; of several, each has the seed that its name says."""
    from dltk import recipe
    from dltk.run import phases
    from dltk.run.folder import RunFolder

    name, settings = wanted["run"], wanted.settings
    if count > 1:
        name, seed = planned.name, int(planned.name.removeprefix("seed-"))
        settings = {**settings, "run": name, "train": {**wanted["train"], "seed": seed}}
    with phases.phase("folder"):
        text = recipe.freeze(recipe.Recipe(wanted.name, settings))
        return RunFolder.create(planned.parent.parent, wanted.name, settings, run=name, text=text)


def require_no_job(run: "RunFolder", on: str, dependency: str | None = None) -> None:
    """Two jobs of one run at once would be in each other's way.

    Args:
        run: the run.
        on: where it is to be submitted; a machine without Slurm cannot ask for its jobs there, and says so.
        dependency: of the new job, which lets it follow one of Slurm's.

    Raises:
        LaunchError: it has a job that waits or runs.
    """
    from dltk.launch import detached, ray_jobs, slurm

    if detached.is_active(run) or ray_jobs.state(run).get("JobState") in ray_jobs.ACTIVE:
        last = run.jobs()[-1]
        what = f"its {'process' if last['on'] == 'here' else 'job'} {last['id']} is under way already"
        raise LaunchError(run.path, "", what, "Wait for it, or `dltk cancel` it.")
    if dependency is not None:
        return
    try:
        active = slurm.active(run)
    except LaunchError as error:
        if on == "slurm":
            raise
        terminal.note(f"{run.path}: {error.what}, so whether a job of the run waits there is not known.")
        return
    for job, state in active:
        remedy = f"Wait for it, `dltk cancel` it, or let the new one follow it: --dependency afterany:{job}."
        raise LaunchError(run.path, "", f"its job {job} is {state} already", remedy)


def tell_how_to_follow(run: "RunFolder") -> None:
    """Say by which commands a run is followed."""
    terminal.note(f"Follow it: dltk logs -f {run.path}; dltk status {run.path}")


@contextlib.contextmanager
def taken_away_on_failure(new: "Sequence[RunFolder]") -> "Iterator[None]":
    """Remove the folders of new runs that came neither to a job nor to an attempt.

    Args:
        new: the runs; more of them may be made meanwhile.
    """
    try:
        yield
    except BaseException:
        for run in new:
            if not run.jobs() and not run.ledger.attempts():
                shutil.rmtree(run.path, ignore_errors=True)
        raise
