"""`dltk sweep`: a recipe with several values of some settings, a run for each combination."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dltk.cli import terminal
from dltk.cli.runs import headline, outline
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
    on: str = typer.Option("here", metavar="here", help="Where the runs train: one after another on this machine."),
    dry_run: bool = typer.Option(False, "--dry-run", help="List the runs, and make none."),
    as_json: bool = typer.Option(False, "--json", help="Print the list of runs as JSON."),
) -> int:
    """Train a recipe with every combination of some settings' values, and compare the results.

    Each combination is a run named by its values, in one W&B group. Started again, it trains only what is missing.
    """
    from dltk.launch.sweep import Axes, expand

    if on not in PLACES:
        raise LaunchError("", "--on", f"there is no '{on}'", f"Choices: {', '.join(PLACES)}.")
    torch_is_here = importlib.util.find_spec("torch") is not None  # a login node may have none
    points = expand(Axes.read(axes), recipe, *(rest or []), check_model=torch_is_here)
    if dry_run:
        _list(points, as_json)
        return ExitCode.DONE
    with terminal.only_json(as_json):
        code = PLACES[on](points)
    _list(points, as_json)
    return code


def _list(points: "Sequence[Point]", as_json: bool) -> None:
    """The runs, where each stands, and its one number that tells most."""
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


def _here(points: "Sequence[Point]") -> ExitCode:
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


PLACES: dict[str, "Callable[[Sequence[Point]], ExitCode]"] = {"here": _here}
