"""`dltk doctor`: is this machine fit to train on?"""

from typing import TYPE_CHECKING, Any

import typer

from dltk.cli import terminal
from dltk.errors import ExitCode

if TYPE_CHECKING:
    from dltk.launch.doctor import Demand, Finding

commands = typer.Typer()
STYLES = {"OK": "green", "WARN": "yellow", "FAIL": "bold red", "INFO": "dim"}


@commands.command(
    rich_help_panel="Train",
    epilog="Examples:\n\ndltk doctor\n\ndltk doctor --recipe vgg16_icons runs_dir=runs\n\ndltk doctor --json",
)
def doctor(
    changes: list[str] = typer.Argument(
        None, metavar="[OVERLAY…] [KEY=VALUE…]", help="With --recipe: merged over it, left to right."
    ),
    recipe: str | None = typer.Option(
        None, metavar="RECIPE", help="Also ask whether this recipe's batches and checkpoints find room."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> int:
    """Look at this machine before it is used, in half a minute; exit code 1 where a training would fail.

    Looks at Python, packages, devices, cores, memory, disk and clock, and measures how fast the disk takes what is
    written and processes sum over each other. Leaves nothing behind.
    """
    with terminal.only_json(as_json):
        demand = _demand(recipe, changes or [])
        from dltk.launch.doctor import examine

        found = {}
        for name, finding in examine(demand):
            found[name] = finding
            if not as_json:
                _show(name, finding)
    failed = [name for name, finding in found.items() if finding.verdict == "FAIL"]
    if as_json:
        terminal.emit({"ok": not failed, "checks": [_row(name, finding) for name, finding in found.items()]})
    else:
        terminal.say(f"{len(failed)} of {len(found)} fail: {', '.join(failed)}" if failed else "nothing fails")
    return ExitCode.CRASHED if failed else ExitCode.DONE


def _demand(name: str | None, changes: list[str]) -> "Demand":
    """What a recipe asks of the machine, or what a usual one does.

    Raises:
        RecipeError: a setting is wrong, or there is no recipe to change.
    """
    from dltk.errors import RecipeError
    from dltk.launch.doctor.demand import Demand, demand_of

    if name is None:
        if changes:
            raise RecipeError("", changes[0], "changes no recipe", "Name one with --recipe.")
        return Demand()
    from dltk import recipe

    loaded = recipe.load(name, *changes)
    return demand_of(recipe.resolve_place(loaded.settings), loaded.name)


def _show(name: str, finding: "Finding") -> None:
    terminal.say(f"{finding.verdict:<6}{name:<15}{finding.says}", style=STYLES[finding.verdict])
    if finding.remedy:
        terminal.say(f"{'':<21}{finding.remedy}")


def _row(name: str, finding: "Finding") -> dict[str, Any]:
    return {
        "check": name,
        "verdict": str(finding.verdict),
        "says": finding.says,
        "remedy": finding.remedy or None,
        "numbers": dict(finding.numbers),
    }
