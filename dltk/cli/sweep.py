"""`dltk sweep`: a recipe with several values of some settings, a run for each combination."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dltk.cli import terminal
from dltk.cli.runs import headline
from dltk.cli.submit import added, require_own
from dltk.errors import ExitCode, LaunchError

if TYPE_CHECKING:
    from dltk.launch.sweep import Point

commands = typer.Typer()


@commands.command(
    rich_help_panel="Train",
    epilog="Examples:\n\ndltk sweep lenet5_digits axes.yaml --dry-run\n\n"
    "dltk sweep lenet5_digits axes.yaml train.epochs=5\n\nwith axes.yaml:\n\n"
    "optimizer.lr: [0.1, 0.01]\n\ntrain.seed: [0, 1, 2]",
)
def sweep(
    recipe: str = typer.Argument(metavar="RECIPE", help="A recipe (file or name)."),
    axes: Path = typer.Argument(metavar="AXES", help="A YAML file of section.setting: [value, …]; seeds are one."),
    rest: list[str] | None = typer.Argument(
        None, metavar="[OVERLAY…] [KEY=VALUE…]", help="Merged over the recipe, the same for all runs."
    ),
    on: str = typer.Option(
        "here", metavar="here|slurm|ray", help="One run after another here, an array of Slurm jobs, or jobs of Ray."
    ),
    site: Path | None = typer.Option(None, help="An overlay that says how the cluster wants its jobs (section site)."),
    nodes: int | None = typer.Option(None, min=1, help="Slurm: machines of each run."),
    gpus_per_node: int | None = typer.Option(None, min=1, help="Slurm: CUDA devices of each machine."),
    time_limit: str | None = typer.Option(None, "--time", metavar="24:00:00", help="Slurm: of each job."),
    address: str | None = typer.Option(None, metavar="http://HEAD:8265", help="Ray: its job server."),
    workers: int | None = typer.Option(None, min=1, help="Ray: processes that train a run together, at most."),
    min_workers: int | None = typer.Option(None, min=1, help="Ray: and at least."),
    dry_run: bool = typer.Option(False, "--dry-run", help="List the runs, and make none."),
    as_json: bool = typer.Option(False, "--json", help="Print the list of runs as JSON."),
) -> int:
    """Train a recipe with every combination of some settings' values, and compare the results.

    Each combination is a run named by its values, in one W&B group. Started again, it trains only what is missing.
    """
    from dltk.launch.sweep import Axes, expand

    if on not in PLACES:
        raise LaunchError("", "--on", f"there is no '{on}'", f"Choices: {', '.join(PLACES)}.")
    given = {"--nodes": nodes, "--gpus-per-node": gpus_per_node, "--time": time_limit, "--site": site}
    given |= {"--address": address, "--workers": workers, "--min-workers": min_workers}
    own, train_there = PLACES[on]
    require_own(on, own, given)
    torch_is_here = importlib.util.find_spec("torch") is not None  # a login node may have none
    place = added(site, nodes, gpus_per_node, time_limit)
    points = expand(Axes.read(axes), recipe, *(rest or []), *place, check_model=torch_is_here)
    if dry_run:
        _list(points, as_json)
        return ExitCode.DONE
    with terminal.only_json(as_json):
        code = train_there(points, given)
    _list(points, as_json)
    return code


def _list(points: "Sequence[Point]", as_json: bool) -> None:
    """The runs, where each stands, and its one number that tells most."""
    from dltk.compare.listing import outline

    nothing = {"status": "missing", "step": 0, "metrics": {}}
    listed: list[dict[str, Any]] = []
    for point in points:
        run = point.run
        about = {"run": point.path.name, "path": str(point.path), "recipe": point.wanted.name}
        listed.append({**about, **(nothing if run is None else outline(run)), "values": dict(point.values)})
    if as_json:
        terminal.emit(listed)
        return
    rows = [(one["run"], one["status"], terminal.number(one["step"]), headline(one["metrics"])) for one in listed]
    terminal.show(terminal.table(["run", "|status", ">step", "result"], rows))
    terminal.say(points[0].path.parent)


def _here(points: "Sequence[Point]", given: Mapping[str, Any]) -> ExitCode:
    """One run after another on this machine."""
    from dltk import recipe
    from dltk.cli.validate import data_facts, total_steps
    from dltk.launch.here import devices
    from dltk.launch.sweep import is_missing, train_missing

    looked: list[Any] = []
    for point in points:  # mistakes are found before there is a folder
        settings = recipe.resolve_place(point.wanted.settings)
        devices(settings["launch"])
        about = [settings[section] for section in ("data", "model", "batch", "train")]
        about[3] = {**about[3], "seed": 0}
        if about not in looked:
            looked.append(about)
            total_steps(settings, data_facts(settings))
    missing = [point for point in points if is_missing(point)]
    terminal.say(f"{len(points)} runs, {len(missing)} to train")
    place = {point.path: number for number, point in enumerate(missing, 1)}

    def tell(point: "Point") -> None:
        terminal.say(f"{place.get(point.path, '?')} of {len(missing)}: {point.path}")

    return train_missing(points, tell)


def _slurm(points: "Sequence[Point]", given: Mapping[str, Any]) -> ExitCode:
    """One array of jobs for all that is missing and has no job."""
    from dltk.cli.slurm_submit import hand_over, job_of, require_place
    from dltk.launch import slurm
    from dltk.launch.opening import changes
    from dltk.launch.sweep import is_missing

    first = points[0].wanted
    for point in points:
        for key in ("nodes", "devices", "accelerator"):
            if point.wanted["launch"][key] != first["launch"][key]:
                what = "differs between runs of one array"
                raise LaunchError("", f"launch.{key}", what, "Make a sweep of each.")
    require_place(first)
    waiting = [point for point in points if is_missing(point)]
    waiting = [point for point in waiting if (run := point.run) is None or not slurm.active(run)]
    terminal.say(f"{len(points)} runs, {len(waiting)} to submit")
    if not waiting:
        return ExitCode.DONE
    # All runs of an array get the same settings: what one of them changes of its place, the others have already.
    changed = {
        key: value
        for point in waiting
        if (run := point.run) is not None
        for key, value in changes(run, point.wanted, extend=False).items()
    }
    planned = job_of(first, (waiting[0].path.absolute(),), (Path.cwd(),), None, changed)
    planned.script()
    slurm.require_room(planned, first.origin)
    hand_over(first, [point.made() for point in waiting], changed=changed)
    return ExitCode.DONE


def _ray(points: "Sequence[Point]", given: Mapping[str, Any]) -> ExitCode:
    """A job of Ray's server for each run that is missing and has no job."""
    from dltk.cli.ray_submit import address_of, hand_over, workers_of
    from dltk.launch import ray_jobs
    from dltk.launch.opening import changes
    from dltk.launch.sweep import is_missing

    address = address_of(given["--address"])
    if not ray_jobs.is_server(address):
        raise LaunchError("", "--address", f"'{address}' is no job server's", "Give the cluster's, http://HEAD:8265.")
    most = given["--workers"] or 1
    asked = {point.path: workers_of(point.wanted, most, given["--min-workers"]) for point in points}
    ray_jobs.require_reachable(address)
    waiting = [point for point in points if is_missing(point)]
    waiting = [p for p in waiting if p.run is None or ray_jobs.state(p.run).get("JobState") not in ray_jobs.ACTIVE]
    terminal.say(f"{len(points)} runs, {len(waiting)} to submit")
    for point in waiting:
        run = point.made()
        changed = changes(run, point.wanted, extend=False)
        job = hand_over(point.wanted, run, asked[point.path], address, changed)
        terminal.say(f"submitted as job {job}: {point.path}")
    return ExitCode.DONE


# Where a sweep can train: the options of each, and who does it.
PLACES: dict[str, "tuple[tuple[str, ...], Callable[[Sequence[Point], Mapping[str, Any]], ExitCode]]"] = {
    "here": ((), _here),
    "slurm": (("--site", "--nodes", "--gpus-per-node", "--time"), _slurm),
    "ray": (("--site", "--address", "--workers", "--min-workers"), _ray),
}
