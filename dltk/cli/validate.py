"""`dltk validate`: is a recipe right, and what would it do?"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dltk.cli import terminal
from dltk.errors import DataError, DltkError, ExitCode, RecipeError

if TYPE_CHECKING:
    from dltk.data.dataset import Facts

commands = typer.Typer()
SOURCES_HELP = "A recipe (file or name), then overlays and key=value, merged left to right."


@commands.command(
    rich_help_panel="Train",
    epilog="Examples:\n\ndltk validate lenet5_digits batch.global=64\n\n"
    "dltk validate --data lenet5_digits mlp_digits ddp",
)
def validate(
    sources: list[str] = typer.Argument(metavar="RECIPE… [OVERLAY…] [KEY=VALUE…]", help=SOURCES_HELP),
    data: bool = typer.Option(False, "--data", help="Also see that the data are there and fit."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> int:
    """Check recipes without training: every setting, the network, the arithmetic of the batch.

    Several recipes are checked one by one, each with all overlays and key=value.
    """
    recipes, rest = split_sources(sources)
    with terminal.only_json(as_json):
        answers = [_answer(recipe, rest, data) for recipe in recipes]
    if as_json:
        terminal.emit(answers)
    for answer in [] if as_json else answers:
        for line in answer.get("notes", []):
            terminal.note(line)
        if answer["ok"]:
            terminal.say(f"ok: {answer['recipe']}: {answer['says']}")
        else:
            terminal.note(answer["error"])
    return ExitCode.DONE if all(answer["ok"] for answer in answers) else ExitCode.MISTAKE


def split_sources(sources: list[str]) -> tuple[list[str], list[str]]:
    """Recipes (files that name a network), and overlays and overrides, which hold for each of them."""
    from dltk import recipe
    from dltk.recipe.yaml12 import read

    recipes: list[str] = []
    rest: list[str] = []
    for source in sources:
        if "=" in source and not Path(source).exists():
            rest.append(source)
            continue
        path = recipe.find(source)
        settings, _ = read(path.read_text(encoding="utf-8"), str(path))
        names_model = isinstance(settings, dict) and "architecture" in (settings.get("model") or {})
        (recipes if names_model else rest).append(source)
    if not recipes:
        raise RecipeError("", "RECIPE", f"none of {', '.join(sources)} names a network", "Give a recipe first.")
    return recipes, rest


def _answer(source: str, rest: list[str], data: bool) -> dict[str, Any]:
    from dltk import recipe

    try:
        loaded = recipe.load(source, *rest)
        settings, notes = loaded.settings, list(loaded.notes)
        facts = _facts(settings, must=data)
        steps = total_steps(settings, facts)
        world = processes(settings)
        says = f"{length_text(settings, steps)}, {batch_text(settings, world)}"
        if data and facts is not None:
            says += f", data {sizes_text(facts.sizes)}"
        sizes = facts.sizes if facts is not None else None
        found = {"steps": steps, "processes": world, "sizes": sizes, "says": says, "notes": notes}
        return {"recipe": source, "ok": True, **found}
    except DltkError as error:
        return {"recipe": source, "ok": False, "error": str(error)}


def _facts(settings: Mapping[str, Any], must: bool) -> "Facts | None":
    """The data's sizes; None where they are not here and need not be."""
    try:
        return data_facts(settings)
    except DataError:
        if must:
            raise
        return None


def data_facts(settings: Mapping[str, Any]) -> "Facts":
    """What the data of a recipe are, by opening them.

    Raises:
        DataError: they are not here, or do not fit the network.
    """
    import os

    from dltk import catalogue, recipe
    from dltk.data.dataset import check_data
    from dltk.recipe.schema import resolve, schema_of

    settings = recipe.resolve_place(settings)
    chosen = dict(settings["data"])
    name = chosen.pop("name")
    row = catalogue.DATASETS.get(name)
    target, fixed = (name, {}) if row is None else (row.target, row.settings)
    for key in schema_of("dltk.data.datamodule:DataSettings").settings:
        chosen.pop(key, None)
    facts = check_data(resolve(target), {**chosen, **fixed}, settings.get("data_dir") or os.environ.get("DLTK_DATA"))
    wanted = settings["model"].get("num_classes")
    if facts.classes and isinstance(wanted, int) and facts.classes > wanted:
        raise DataError(
            "", "model.num_classes", f"{wanted} is less than the data's {facts.classes} classes",
            f"Set model.num_classes={facts.classes}.",
        )  # fmt: skip
    return facts


def total_steps(settings: Mapping[str, Any], facts: "Facts | None") -> int | None:
    """Optimiser steps of the whole run; None where they hang on data that are not here.

    Raises:
        DataError: the data cannot be cut into such batches.
    """
    from dltk.data.plan import Plan
    from dltk.data.token_plan import TokenPlan

    train, batch = settings["train"], settings["batch"]
    if facts is None:
        return train["steps"]
    plan: Plan | TokenPlan
    sizes, seed = [facts.sizes["train"]], train["seed"]
    if facts.lengths is not None:
        plan = TokenPlan(sizes, seed=seed, tokens=batch["tokens"], samples=batch["global"], lengths=facts.lengths)
    else:
        plan = Plan(sizes, seed=seed, batch=batch["global"], last=settings["data"].get("last", "drop"))
    if train["epochs"] is None:
        return train["steps"]
    steps = plan.first_step(train["epochs"])
    return steps if train["steps"] is None else min(steps, train["steps"])


def processes(settings: Mapping[str, Any]) -> int:
    """Processes that a recipe would start, on all machines."""
    from dltk.launch.here import devices

    return devices(settings["launch"])[1] * settings["launch"]["nodes"]


def length_text(settings: Mapping[str, Any], steps: int | None) -> str:
    """`20 epochs = 780 steps`."""
    epochs = settings["train"]["epochs"]
    texts = [] if epochs is None else [f"{epochs} epoch{'s' if epochs != 1 else ''}"]
    return " = ".join(texts + ([] if steps is None else [f"{steps:,} steps"]))


def batch_text(settings: Mapping[str, Any], world: int) -> str:
    """`batch 32 = 32 micro × 1 accumulate × 1 process`; `≤` where the shares are uneven."""
    batch = settings["batch"]
    whole, micro, passes = batch["global"], batch["micro"], batch["accumulate"]
    if batch.get("tokens") is not None:
        several = f", {passes} accumulate" if passes is not None else ""
        plural = "es" if world != 1 else ""
        return f"batch ≤ {whole} and ≤ {batch['tokens']:,} tokens{several}, {world} process{plural}"
    if passes is None:
        passes = 1 if micro is None else -(-whole // (micro * world))
    share = -(-whole // (passes * world))
    sign = "=" if share * passes * world == whole else "≤"
    return f"batch {whole} {sign} {share} micro × {passes} accumulate × {world} process{'es' if world != 1 else ''}"


def sizes_text(sizes: Mapping[str, int]) -> str:
    """`train 1,257 · val 180 · test 360`."""
    return " · ".join(f"{name} {size:,}" for name, size in sizes.items())
