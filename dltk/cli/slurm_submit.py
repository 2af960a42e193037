"""`dltk submit --on slurm`: runs as a job of Slurm's, or as an array of them."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dltk.cli import terminal
from dltk.cli.handing import created, planned_folders, require_no_job, taken_away_on_failure, tell_how_to_follow
from dltk.errors import ExitCode, LaunchError

if TYPE_CHECKING:
    from dltk.launch.slurm import Job
    from dltk.recipe import Recipe
    from dltk.run.folder import RunFolder

LOCAL_DISKS = ("tmpfs", "ramfs")


def submit_to_slurm(
    wanted: "Recipe",
    run: "RunFolder | None",
    seeds: int | None,
    chain: int,
    dependency: str | None,
    dry_run: bool,
    test_only: bool,
) -> int:
    """Hand a run, new or not, or one for each seed, to Slurm."""
    from dltk.launch import slurm
    from dltk.launch.opening import changes

    require_place(wanted)
    changed = {} if run is None else changes(run, wanted, extend=False)
    planned = job_of(wanted, planned_folders(wanted, run, seeds), (Path.cwd(),), dependency, changed)
    if dry_run:
        terminal.write(planned.script())
        return ExitCode.DONE
    planned.script()  # whose mistakes are found before there is a folder
    _warn_of_losses(wanted, run, slurm.require_room(planned, wanted.origin))
    if test_only:
        terminal.say(_tested(planned))
        return ExitCode.DONE
    if run is None:
        _submit_new(wanted, planned.runs, dependency, chain)
        return ExitCode.DONE
    require_no_job(run, "slurm", dependency)
    hand_over(wanted, [run], dependency, chain, changed)
    return ExitCode.DONE


def require_place(wanted: "Recipe") -> None:
    """See that every machine of a job sees the run's folder, and how many processes each starts."""
    launch, place = wanted["launch"], Path(wanted["runs_dir"]).absolute()
    if launch["devices"] == "auto":
        what = "the job must say how many processes a machine starts"
        raise LaunchError("", "launch.devices", what, "Give --gpus-per-node 8, or launch.devices=2 for CPUs.")
    if launch["accelerator"] == "auto":
        what = "the login node does not tell what the others have"
        raise LaunchError("", "launch.accelerator", what, "Give --gpus-per-node, or launch.accelerator=cpu.")
    if launch["nodes"] == 1:
        return
    for folder in wanted["site"]["local"]:
        if place.is_relative_to(folder):
            what = f"{place} lies in {folder}, which each machine has of its own"
            raise LaunchError("", "runs_dir", what, "Choose a folder that all machines share.")
    if _filesystem(place) in LOCAL_DISKS:
        what = f"{place} lies in this machine's memory, and the job has {launch['nodes']} machines"
        raise LaunchError("", "runs_dir", what, "Choose a folder that all machines share.")


def _filesystem(path: Path) -> str:
    """The kind of file system that a path lies in; empty where this system does not tell."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return ""
    inside = [(len(fields[1]), fields[2]) for fields in mounts if path.is_relative_to(fields[1])]
    return max(inside, default=(0, ""))[1]


def _warn_of_losses(wanted: "Recipe", run: "RunFolder | None", partition: Mapping[str, str]) -> None:
    """One line on what preemption and the end of the time may cost, by what saving has taken before."""
    from dltk.launch import slurm
    from dltk.run.folder import find_runs

    like = find_runs(Path(wanted["runs_dir"]) / wanted.name) if run is None else [run]
    seconds, slowest = max(((one.longest_save or 0.0, one.path) for one in like), default=(0.0, None))
    lost = slurm.losses(partition, slurm.configuration(), wanted["site"], seconds)
    if lost:
        measured = f" (measured in {slowest})" if any("saving has" in line for line in lost) else ""
        terminal.note(f"Partition '{partition['PartitionName']}': {'; '.join(lost)}{measured}.")


def _submit_new(wanted: "Recipe", planned: tuple[Path, ...], dependency: str | None, chain: int) -> None:
    """Make the folders of new runs and submit them; where that fails, they are taken away again."""
    made: list[RunFolder] = []
    with taken_away_on_failure(made):
        made += (created(wanted, path, len(planned)) for path in planned)
        hand_over(wanted, made, dependency, chain)


def _numbered(paths: tuple[Path, ...], folder: Path) -> tuple[Path, ...]:
    """Runs as an array names them, by their number in it; those of a sweep get links of such names."""
    numbered = tuple(f"seed-{number}" for number in range(len(paths)))
    if len(paths) == 1 or numbered == tuple(path.name for path in paths):
        return paths
    folder.mkdir()
    for name, path in zip(numbered, paths, strict=True):
        (folder / name).symlink_to(path)
    return tuple(folder / name for name in numbered)


def job_of(
    wanted: "Recipe",
    runs: tuple[Path, ...],
    code: tuple[Path, ...],
    dependency: str | None,
    changed: Mapping[str, Any] = MappingProxyType({}),
) -> "Job":
    """The job of some runs, whose folders may not be there yet.

    Args:
        wanted: the recipe of all of them.
        runs: their folders.
        code: where their code lies.
        dependency: as sbatch takes it.
        changed: settings that differ from those that a run was begun with.
    """
    from dltk.launch.opening import as_settings
    from dltk.launch.slurm import Job

    place = {f"launch.{key}": wanted["launch"][key] for key in ("nodes", "devices", "accelerator")}
    # What is said of the site, the job's script has done when the training begins.
    place |= {key: value for key, value in changed.items() if not key.startswith("site.")}
    settings = tuple(as_settings(place))
    places = wanted["runs_dir"], wanted["data_dir"] or os.environ.get("DLTK_DATA"), wanted["data"].get("cache")
    named = [*(run.parent for run in runs), *(Path(place) for place in places if place)]
    # A link may lie in a folder that is mounted, and lead out of it.
    folders = tuple(dict.fromkeys(path for one in named for path in (one.absolute(), one.resolve())))
    return Job(f"dltk-{wanted.name}", runs, code, wanted["launch"], wanted["site"], settings, dependency, folders)


def _tested(planned: "Job") -> str:
    import tempfile

    from dltk.launch import slurm

    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "train.sbatch"
        script.write_text(planned.script())
        return slurm.test(script)


def hand_over(
    wanted: "Recipe",
    runs: "list[RunFolder]",
    dependency: str | None = None,
    chain: int = 1,
    changed: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Copy the code, write the script, hand it to Slurm, and say how to follow."""
    from dltk.launch import slurm
    from dltk.launch.snapshot import snapshot
    from dltk.run import phases
    from dltk.run.atomic import replace_file

    first = runs[0]
    phases.begin("folder")
    folder = first.new_job()
    code = tuple(snapshot(Path.cwd(), folder / "code", terminal.note))
    paths = tuple(run.path.absolute() for run in runs)
    for path in paths:
        (path / "logs").mkdir(exist_ok=True)  # Slurm writes nothing where the folder of its log is missing
    folder.mkdir(parents=True, exist_ok=True)
    first.keep_versions(folder)
    script = folder / "train.sbatch"
    replace_file(script, job_of(wanted, _numbered(paths, folder / "runs"), code, dependency, changed).script())
    phases.end()
    seconds, job = phases.taken(), ""  # of all its runs, and of each job of a chain
    for _ in range(chain):
        job = slurm.submit(script, *([f"--dependency=afterany:{job}"] if job else []))
        for seed, run in enumerate(runs):
            run.note_job("slurm", f"{job}_{seed}" if len(runs) > 1 else job, str(script), seconds)
        terminal.say(f"submitted as job {job}")
    for run in runs:
        terminal.say(run.path)
    tell_how_to_follow(first)
