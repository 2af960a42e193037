"""`dltk list`: the architectures and the recipes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from dltk import catalogue
from dltk.cli import terminal
from dltk.errors import DltkError

commands = typer.Typer()


@commands.command("list", rich_help_panel="Look", epilog="Example:\n\ndltk list --json")
def list_(
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """List the networks with their papers, and the recipes with their claims."""
    models = [
        {"name": row.name, "paper": row.paper, "task": row.task, "parameters": row.parameters}
        for row in catalogue.MODELS.values()
    ]
    recipes = listed_recipes()
    if as_json:
        terminal.emit({"models": models, "recipes": recipes})
        return
    rows = [(m["name"], f"{m['parameters']:,}" if m["parameters"] else "–", m["task"], m["paper"]) for m in models]
    terminal.show(terminal.table(["|model", ">parameters", "|task", "paper"], rows))
    terminal.show(
        terminal.table(
            ["|recipe", "|model", "|data", "claim", ">cost"],
            [(r["name"], r["model"], r["data"], claim_text(r["claim"]), cost_text(r["cost"])) for r in recipes],
        )
    )
    terminal.say("dltk show NAME describes one, dltk train RECIPE trains it.")


def listed_recipes() -> list[dict[str, Any]]:
    """What each recipe says of itself; one that cannot be read gets a note instead."""
    from dltk import recipe

    found = []
    for path in recipe.recipes():
        try:
            found.append(_outline(path))
        except DltkError as error:
            terminal.note(error)
    return found


def _outline(path: Path) -> dict[str, Any]:
    """Read without merging and checking, which `show` and `validate` do."""
    from dltk.recipe.yaml12 import read

    settings, _ = read(path.read_text(encoding="utf-8"), str(path))
    settings = settings if isinstance(settings, dict) else {}
    claim = settings.get("claim")
    return {
        "name": settings.get("name") or path.stem,
        "path": str(path),
        "model": (settings.get("model") or {}).get("architecture"),
        "data": (settings.get("data") or {}).get("name"),
        "claim": claim,
        "cost": (claim or {}).get("cost"),
    }


def claim_text(claim: Mapping[str, Any] | None) -> str:
    """A claim in a few words: `top1_error 0.7 ± 0.4`."""
    if not claim:
        return "–"
    name = str(claim.get("metric", "")).removeprefix("test/")
    tolerance = claim.get("tolerance")
    return f"{name} {claim.get('value')}" + (f" ± {tolerance}" if tolerance is not None else "")


def cost_text(cost: object) -> str:
    """Seconds in words; text as it is."""
    return terminal.seconds_text(cost) if isinstance(cost, int | float) else str(cost or "–")
