"""`dltk submit`, `status`, `logs`: runs on a cluster, or on this machine without the shell."""

import importlib.util
import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import typer

from dltk.cli import terminal
from dltk.cli.runs import RUN_HELP, find_run, is_run
from dltk.errors import ExitCode, LaunchError

if TYPE_CHECKING:
    from dltk.launch.slurm import Job
    from dltk.recipe import Recipe
    from dltk.run.folder import RunFolder

commands = typer.Typer()
LOCAL_DISKS = ("tmpfs", "ramfs")
ACTIVE = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED")  # of a job that has not left


@commands.command(
    rich_help_panel="Clusters",
    epilog="Examples:\n\ndltk submit lenet5_digits --on slurm --nodes 2 --dry-run\n\n"
    "dltk submit alexnet_imagenet2012 --on slurm --site cluster/mysite.yaml --nodes 4 --gpus-per-node 8 "
    "--time 24:00:00\n\ndltk submit alexnet_imagenet2012 --on ray --address http://head:8265 --workers 16 "
    "--min-workers 8\n\ndltk submit lenet5_digits --on here\n\n"
    "dltk submit runs/alexnet_imagenet2012/first --time 12:00:00",
)
def submit(
    sources: list[str] = typer.Argument(
        metavar="RECIPE|RUN [OVERLAY…] [KEY=VALUE…]", help="As dltk train takes them; a run goes on in a new job."
    ),
    on: str = typer.Option(
        "slurm", metavar="slurm|ray|here", help="Where; here: this machine, also without the shell."
    ),
    site: Path | None = typer.Option(None, help="An overlay that says how the cluster wants its jobs (section site)."),
    nodes: int | None = typer.Option(None, min=1, help="Machines (launch.nodes)."),
    gpus_per_node: int | None = typer.Option(None, min=1, help="CUDA devices of each (launch.devices)."),
    time_limit: str | None = typer.Option(None, "--time", metavar="24:00:00", help="Of one job (site.time)."),
    seeds: int | None = typer.Option(None, min=2, help="An array of jobs: seeds 0 … N-1, as runs seed-0 …"),
    chain: int = typer.Option(1, min=1, help="So many jobs, each going on when the one before has left."),
    dependency: str | None = typer.Option(None, metavar="afterok:123", help="Begin only then, as sbatch takes it."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Print the script, and submit nothing."),
    test_only: bool = typer.Option(False, "--test-only", help="Let Slurm check the script and say when it could run."),
    address: str | None = typer.Option(
        None,
        metavar="http://HEAD:8265",
        help="Ray: its job server; or HEAD:6379, auto, local: drive the run from here.",
    ),
    workers: int | None = typer.Option(None, min=1, help="Ray: processes that train together, at most."),
    min_workers: int | None = typer.Option(None, min=1, help="Ray: and at least; more join when there is room."),
) -> int:
    """Hand a run to a cluster, or start it detached on this machine, with a copy of the code as it is now."""
    if on not in PLACES:
        raise LaunchError("", "--on", f"there is no '{on}'", f"Choices: {', '.join(PLACES)}.")
    given = {
        **{"--nodes": nodes, "--gpus-per-node": gpus_per_node, "--time": time_limit, "--seeds": seeds},
        **{"--chain": chain if chain > 1 else None, "--dependency": dependency, "--test-only": test_only or None},
        **{"--address": address, "--workers": workers, "--min-workers": min_workers},
    }
    own, submit_there = PLACES[on]
    require_own(on, own, given)
    return submit_there(sources, site, dry_run, **{name.strip("-").replace("-", "_"): given[name] for name in own})


def require_own(on: str, own: Sequence[str], given: Mapping[str, Any]) -> None:
    """See that only options of the chosen cluster are given.

    Raises:
        LaunchError: one belongs to another.
    """
    for option, value in given.items():
        if value is not None and option not in own:
            remedy = f"With {on} there are: {', '.join(own)}." if own else "Leave it out."
            raise LaunchError("", option, f"does not belong to --on {on}", remedy)


def _to_ray(
    sources: list[str],
    site: Path | None,
    dry_run: bool,
    address: str | None,
    workers: int | None,
    min_workers: int | None,
) -> int:
    """A job of Ray's server, or a driver in this process."""
    from dltk.cli.ray_submit import submit_to_ray

    wanted, run = _wanted(sources, added(site, None, None, None))
    if run is not None and not dry_run:
        require_no_job(run, "ray")
    return submit_to_ray(wanted, run, address, workers, min_workers, dry_run)


def _to_slurm(
    sources: list[str],
    site: Path | None,
    dry_run: bool,
    nodes: int | None,
    gpus_per_node: int | None,
    time: str | None,
    seeds: int | None,
    chain: int | None,
    dependency: str | None,
    test_only: bool | None,
) -> int:
    """A job of Slurm's, or an array of them."""
    from dltk.launch import slurm
    from dltk.launch.opening import changes

    time_limit, chain = time, chain or 1
    wanted, run = _wanted(sources, added(site, nodes, gpus_per_node, time_limit))
    require_place(wanted)
    changed = {} if run is None else changes(run, wanted, extend=False)
    planned = job_of(wanted, _planned(wanted, run, seeds), (Path.cwd(),), dependency, changed)
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


def _to_here(sources: list[str], site: Path | None, dry_run: bool) -> int:
    """A process of this machine in a session of its own."""
    from dltk.cli.train import require_trainable
    from dltk.launch import detached
    from dltk.launch.opening import changes

    wanted, run = _wanted(sources, added(site, None, None, None))
    if wanted["launch"]["nodes"] > 1:
        what = f"{wanted['launch']['nodes']} asked, and this is one machine"
        raise LaunchError("", "launch.nodes", what, "Submit it to a cluster: --on slurm.")
    if wanted["launch"]["container"] is not None:
        remedy = "Submit it from inside the container, with launch.container=null."
        raise LaunchError("", "launch.container", "is entered by a cluster's jobs, and this is none", remedy)
    (planned,) = _planned(wanted, run, None)
    changed = {} if run is None else changes(run, wanted, extend=False)
    if dry_run:
        terminal.write(shlex.join(detached.command(planned, changed)) + "\n")
        return ExitCode.DONE
    require_trainable(wanted)
    if run is not None:
        require_no_job(run, "here")
    made = _created(wanted, planned, 1) if run is None else run
    try:
        job = detached.start(made, changed, terminal.note)
    except BaseException:
        if run is None and not made.jobs():
            shutil.rmtree(made.path, ignore_errors=True)
        raise
    terminal.say(f"started as process {job}")
    terminal.say(made.path)
    _tell_how_to_follow(made)
    return ExitCode.DONE


# Where a run can be handed to: its own options, and who does it.
PLACES: dict[str, tuple[tuple[str, ...], "Callable[..., int]"]] = {
    "slurm": (
        ("--nodes", "--gpus-per-node", "--time", "--seeds", "--chain", "--dependency", "--test-only"),
        _to_slurm,
    ),
    "ray": (("--address", "--workers", "--min-workers"), _to_ray),
    "here": ((), _to_here),
}


def added(site: Path | None, nodes: int | None, gpus: int | None, limit: str | None) -> list[Any]:
    """What the options say, as sources of a recipe."""
    added: list[Any] = [] if site is None else [str(site)]
    added += [] if nodes is None else [f"launch.nodes={nodes}"]
    added += [] if gpus is None else [f"launch.devices={gpus}", "launch.accelerator=cuda"]
    return added + ([] if limit is None else [f"site.time='{limit}'"])


def _wanted(sources: list[str], added: list[Any]) -> "tuple[Recipe, RunFolder | None]":
    """The checked recipe, and the run that exists already."""
    from dltk import recipe
    from dltk.run import phases

    torch_is_here = importlib.util.find_spec("torch") is not None  # a login node may have none
    if not is_run(sources[0]):
        with phases.phase("compose"):
            return recipe.load(*sources, *added, check_model=torch_is_here), None
    run = find_run(sources[0])
    if run.status in ("running", "done"):
        remedy = "Wait for it, or `dltk stop` it." if run.status == "running" else "Lengthen it: dltk train --extend."
        raise LaunchError(run.path, "", f"is {run.status}", remedy)
    with phases.phase("compose"):
        return recipe.load(run.path / "recipe.yaml", *sources[1:], *added, check_model=False, going_on=True), run


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


def _planned(wanted: "Recipe", run: "RunFolder | None", seeds: int | None) -> tuple[Path, ...]:
    """The run folders, which may not be there yet."""
    if run is not None:
        return (run.path.absolute(),)
    folder = Path(wanted["runs_dir"]).absolute() / wanted.name
    if seeds is not None:
        return tuple(folder / f"seed-{seed}" for seed in range(seeds))
    return (folder / (wanted["run"] or "RUN"),)


def _submit_new(wanted: "Recipe", planned: tuple[Path, ...], dependency: str | None, chain: int) -> None:
    """Make the folders of new runs and submit them; where that fails, they are taken away again."""
    made: list[RunFolder] = []
    try:
        made += (_created(wanted, path, len(planned)) for path in planned)
        hand_over(wanted, made, dependency, chain)
    except BaseException:
        for run in made:
            if not run.jobs():
                shutil.rmtree(run.path, ignore_errors=True)
        raise


def _created(wanted: "Recipe", planned: Path, count: int) -> "RunFolder":
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
    _tell_how_to_follow(first)


def _tell_how_to_follow(run: "RunFolder") -> None:
    terminal.note(f"Follow it: dltk logs -f {run.path}; dltk status {run.path}")


def job_state(run: "RunFolder") -> dict[str, Any]:
    """What the cluster knows of a run's last job, by Slurm's names; nothing where it has forgotten it."""
    from dltk.launch import detached, ray_jobs, slurm

    if detached.last_job(run) is not None:
        return detached.state(run)
    if ray_jobs.last_job(run) is not None:
        return ray_jobs.state(run)
    jobs = slurm.jobs_of(run)
    return dict(slurm.state(jobs[-1])) if jobs else {}


@commands.command(rich_help_panel="Clusters", epilog="Example:\n\ndltk status lenet5_digits/seed-0")
def status(
    run: str = typer.Argument(help=RUN_HELP), as_json: bool = typer.Option(False, "--json", help="Print JSON.")
) -> None:
    """Where a run stands, and what the cluster says of its job."""
    from dltk.compare.listing import outline

    found = find_run(run)
    jobs, known = [job["id"] for job in found.jobs()], job_state(found)
    said = {**outline(found), "job": jobs[-1] if jobs else None, "state": known.get("JobState")}
    said |= {"why": known.get("Reason"), "nodes": known.get("NodeList"), "restarts": known.get("Restarts")}
    said |= {"run_time": known.get("RunTime"), "time_limit": known.get("TimeLimit")}
    if as_json:
        terminal.emit(said)
        return
    terminal.say(f"{found.path}: {said['status']}, step {said['step']}")
    terminal.say(_job_line(said))
    if jobs and said["state"] not in ACTIVE and said["status"] in ("preempted", "interrupted", "lost"):
        on = found.jobs()[-1]["on"]
        terminal.note(f"Go on with: dltk submit {found.path}" + (f" --on {on}" if on != "slurm" else ""))


def _job_line(said: Mapping[str, Any]) -> str:
    """What the cluster says of a run's last job."""
    if said["job"] is None:
        return "It was submitted to no cluster."
    if said["state"] is None:
        return f"job {said['job']}: no longer known to the cluster"
    line = f"job {said['job']}: {said['state']} ({said['why']})"
    if said["run_time"] is None:  # Slurm alone tells one
        return line
    where = f" on {said['nodes']}" if said["nodes"] not in (None, "", "(null)") else ""
    return f"{line}{where}, {said['run_time']} of {said['time_limit']}, {said['restarts']} restarts"


@commands.command(rich_help_panel="Clusters", epilog="Example:\n\ndltk logs -f lenet5_digits/seed-0")
def logs(
    run: str = typer.Argument(help=RUN_HELP),
    follow: bool = typer.Option(False, "-f", "--follow", help="Go on until the job has left."),
    rank: int | None = typer.Option(None, min=0, help="What one process printed, instead of the job."),
) -> None:
    """Print what a run's job has printed."""
    found = find_run(run)
    name = "*.out" if rank is None else f"rank-{rank}.log"
    files = sorted((found.path / "logs").glob(name), key=lambda path: path.stat().st_mtime)
    if not files and not (follow and found.jobs()):
        raise LaunchError(found.path, "logs", f"there is no {name}", "Its job has not begun, or it was not submitted.")
    for text in _lines(found, name, follow):
        terminal.write(text)


def _lines(run: "RunFolder", name: str, follow: bool) -> Iterator[str]:
    """The newest log's text, piece by piece, until its job has left."""
    place, newest = 0, None
    while True:
        over = not follow or job_state(run).get("JobState") not in ACTIVE
        files = sorted((run.path / "logs").glob(name), key=lambda path: path.stat().st_mtime)
        if files:
            place = place if files[-1] == newest else 0  # the next job of a chain has a log of its own
            newest = files[-1]
            with newest.open("rb") as file:
                file.seek(place)
                data = file.read()
            place += len(data)
            if data:
                yield data.decode(errors="replace")
        if over:
            return
        time.sleep(1)
