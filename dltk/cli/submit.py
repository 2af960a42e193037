"""`dltk submit`: a run on a cluster, or on this machine without the shell."""

import importlib.util
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dltk.cli import terminal
from dltk.cli.handing import created, planned_folders, require_no_job, taken_away_on_failure, tell_how_to_follow
from dltk.cli.runs import find_run, is_run
from dltk.errors import ExitCode, LaunchError

if TYPE_CHECKING:
    from dltk.recipe import Recipe
    from dltk.run.folder import RunFolder

commands = typer.Typer()


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
    from dltk.cli.slurm_submit import submit_to_slurm

    wanted, run = _wanted(sources, added(site, nodes, gpus_per_node, time))
    return submit_to_slurm(wanted, run, seeds, chain or 1, dependency, dry_run, bool(test_only))


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
    (planned,) = planned_folders(wanted, run, None)
    changed = {} if run is None else changes(run, wanted, extend=False)
    if dry_run:
        terminal.write(shlex.join(detached.command(planned, changed)) + "\n")
        return ExitCode.DONE
    require_trainable(wanted)
    if run is not None:
        require_no_job(run, "here")
    made = created(wanted, planned, 1) if run is None else run
    with taken_away_on_failure([made] if run is None else []):
        job = detached.start(made, changed, terminal.note)
    terminal.say(f"started as process {job}")
    terminal.say(made.path)
    tell_how_to_follow(made)
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
