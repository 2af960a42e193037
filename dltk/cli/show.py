"""`dltk show`: a recipe with the origin of each value, a network as a table of layers, a run."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dltk import catalogue
from dltk.cli import terminal
from dltk.errors import LaunchError, RecipeError

if TYPE_CHECKING:
    from dltk.recipe import Recipe

commands = typer.Typer()
NAMING = ("model", "task", "data", "data.augment", "optimizer", "schedule")  # sections that name a thing
SECTIONS = (*NAMING, "batch", "train", "checkpoint", "log", "launch", "site", "claim")


@commands.command(
    rich_help_panel="Look",
    epilog="Examples:\n\ndltk show lenet5\n\ndltk show lenet5_digits train.epochs=5 --lr\n\n"
    "dltk show lenet5_digits --settings optimizer",
)
def show(
    thing: list[str] = typer.Argument(
        metavar="NAME|FILE|RUN [OVERLAY…] [KEY=VALUE…]",
        help="A run folder, a recipe (file or name), a network (name or package.module:Name).",
    ),
    lr: bool = typer.Option(False, "--lr", help="Draw the learning rate over the run."),
    png: Path | None = typer.Option(None, help="With --lr: save the drawing as a picture."),
    settings: str | None = typer.Option(
        None, metavar="SECTION", help="List a section's settings: type, default, meaning."
    ),
    layers: bool = typer.Option(False, "--layers", help="The recipe's network as a table of layers."),
    deepspeed: bool = typer.Option(False, "--deepspeed", help="DeepSpeed's configuration as a recipe makes it (JSON)."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Describe a network, a recipe or a run."""
    name, *rest = thing
    architecture = _architecture(name, rest)
    if architecture is not None and (lr or png):
        raise RecipeError("", name, "is a network, which has no learning rate", "Name a recipe.")
    if deepspeed:
        _show_deepspeed(name, None if architecture is not None else _recipe(thing))
    elif settings is not None:
        given = _recipe(thing).settings if architecture is None else _sections_of(architecture)
        _show_settings(given, settings, as_json)
    elif architecture is not None:
        _show_model(architecture, dict(_default_settings(architecture, rest)), as_json)
    elif lr or png:
        _show_schedule(_recipe(thing), png, as_json)
    elif layers:
        from dltk.recipe.network import image_shape

        shown = _recipe(thing)
        model = dict(shown.settings["model"])
        _show_model(model.pop("architecture"), model, as_json, image_shape(shown.settings))
    else:
        _show_recipe(_recipe(thing), as_json, origins=not _is_run(name))


def _architecture(name: str, rest: list[str]) -> str | None:
    """The network that a name means; None for a run or a recipe, which come first when they are files."""
    if Path(name).exists():
        return None
    if name in catalogue.MODELS or (":" in name and "=" not in name):
        return name
    from dltk import recipe

    if (Path("runs") / name / "recipe.yaml").is_file():
        return None
    try:
        recipe.find(name)
    except RecipeError:
        known = [*catalogue.MODELS, *(path.stem for path in recipe.recipes())]
        close = get_close_matches(name, known, n=1)
        remedy = f"Did you mean '{close[0]}'?" if close else "`dltk list` lists networks and recipes."
        raise RecipeError("", name, "is no run folder, recipe or network", remedy) from None
    return None


def _recipe(thing: list[str]) -> "Recipe":
    from dltk import recipe
    from dltk.cli.runs import find_run

    if _is_run(thing[0]):
        frozen = find_run(thing[0]).path / "recipe.yaml"
        if len(thing) > 1:
            raise LaunchError(thing[0], "", "the recipe of a run is frozen", "Show a recipe file with changes instead.")
        return recipe.thaw(frozen)
    shown = recipe.load(*thing, check_model=False)  # a recipe's network may be anybody's code: showing executes none
    for line in shown.notes:
        terminal.note(line)
    return shown


def _is_run(name: str) -> bool:
    return Path(name).is_dir() or (Path("runs") / name / "recipe.yaml").is_file()


# Recipes


def _show_recipe(shown: "Recipe", as_json: bool, origins: bool) -> None:
    """A table of settings, with the place of each unless all stand in one file, as a run's do."""
    from rich.text import Text

    if as_json:
        terminal.emit(shown.settings)
        return
    rows = []
    for key, text in _flat(shown.settings):
        origin = _origin(shown.origin, key)
        style = "dim" if origin == "default" else ""
        rows.append(tuple(Text(terminal.plain(cell), style) for cell in (key, text, origin)[: 3 if origins else 2]))
    headings = ["|setting", "value", "from"][: 3 if origins else 2]
    terminal.show(terminal.table(headings, rows, title=f"recipe {shown.name}"))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys and their values as they would be written."""
    from dltk.recipe.yaml12 import flow

    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", flow(value)


def _origin(origin: Mapping[str, str], key: str) -> str:
    """Where a value comes from; parts of a list or map that has one origin share it."""
    while key and key not in origin:
        key = key.rpartition(".")[0]
    text = origin.get(key, "default")
    if not text.startswith("/"):
        return text
    short = "/".join(text.split("/")[-2:])  # of a file elsewhere, its folder and name
    return short if len(short) <= 32 else text.rpartition("/")[2]


# Strategies


def _show_deepspeed(name: str, shown: "Recipe | None") -> None:
    """What DeepSpeed is given on this machine."""
    from dltk import recipe
    from dltk.cli.layers import make_model
    from dltk.cli.validate import processes
    from dltk.trainer.strategies.deepspeed_config import STAGES, configuration

    strategy = None if shown is None else shown["launch"]["strategy"]
    if shown is None or strategy not in STAGES:
        what = "is a network" if shown is None else f"has launch.strategy {strategy}"
        remedy = f"Lay an overlay over a recipe: dltk show {name if shown else 'RECIPE'} deepspeed-3 --deepspeed."
        raise RecipeError("", name, f"{what}, which gives DeepSpeed nothing", remedy)
    settings = recipe.resolve_place(shown.settings)
    model = dict(settings["model"])
    network = make_model(model.pop("architecture"), model)
    parameters, world = sum(parameter.numel() for parameter in network.parameters()), processes(settings)
    terminal.emit(configuration(settings, world, parameters))


# Settings


def _sections_of(architecture: str) -> dict[str, Any]:
    row = catalogue.MODELS.get(architecture)
    return {"model": {"architecture": architecture}, "task": {"name": row.task if row else "classification"}}


def _show_settings(settings: Mapping[str, Any], section: str, as_json: bool) -> None:
    from dltk import recipe

    if section not in SECTIONS:
        close = get_close_matches(section, SECTIONS, n=1)
        remedy = (f"Did you mean '{close[0]}'? " if close else "") + f"Sections: {', '.join(SECTIONS)}."
        raise RecipeError("", "--settings", f"there is no section '{section}'", remedy)
    chosen: Any = settings
    for part in section.split("."):
        chosen = chosen.get(part) or {}
    if section == "data.augment" and not isinstance(chosen, Mapping):
        remedy = "Choose one of " + ", ".join(f"data.augment={name}" for name in catalogue.TRANSFORMS) + "."
        raise RecipeError("", "--settings", "data.augment is none, which has no settings", remedy)
    name = next((chosen[key] for key in ("architecture", "name") if key in chosen), None)
    with recipe.without_imports():
        found = recipe.settings_of(section, name if section in NAMING else None)
    if as_json:
        terminal.emit([{"name": s.name, "type": s.kind_text, "default": s.default_text, "help": s.help} for s in found])
        return
    rows = [(s.name, s.kind_text, s.default_text, s.help) for s in found]
    title = f"{section}: {name}" if name else section
    terminal.show(terminal.table(["|setting", "type", "default", "meaning"], rows, title=title))


# Networks


def _default_settings(architecture: str, changes: list[str]) -> Iterator[tuple[str, Any]]:
    """The constructor's arguments: the catalogue's, then the command line's."""
    from dltk import recipe
    from dltk.recipe.yaml12 import read_value

    row = catalogue.MODELS.get(architecture)
    yield from dict(row.settings if row else {}).items()
    known = [setting.name for setting in recipe.settings_of("model", architecture)] if changes else []
    for change in changes:
        key, equals, text = change.partition("=")
        key = key.removeprefix("model.")
        if not equals:
            raise RecipeError("", change, "is no key=value", f"Write it like num_classes=10 after {architecture}.")
        if row is not None and key not in known:
            close = get_close_matches(key, known, n=1)
            remedy = f"Did you mean '{close[0]}'?" if close else f"Settings: {', '.join(known)}."
            raise RecipeError(f"override '{change}'", "", f"no setting '{key}' in {architecture}", remedy)
        yield key, read_value(text, f"override '{change}'")


def _show_model(architecture: str, settings: dict[str, Any], as_json: bool, image: Sequence[int] | None = None) -> None:
    import inspect
    import sys

    from dltk.cli.layers import count, image_shape, make_model, trace

    row = catalogue.MODELS.get(architecture)
    with terminal.only_json(as_json):
        model = make_model(architecture, settings)
        found = trace(model, image_shape(model, image))
    if as_json:
        terminal.emit(
            {
                "name": architecture,
                "paper": row.paper if row else None,
                "task": row.task if row else None,
                "settings": settings,
                "parameters": count(model),
                "layers": [
                    {"name": f.name, "output": f.output, "parameters": f.parameters, "type": f.kind, "paper": f.paper}
                    for f in found
                ],
            }
        )
        return
    named = any(layer.paper for layer in found)
    rows = [
        (
            layer.name + (f" ×{layer.calls}" if layer.calls not in (0, 1) else ""),
            *([layer.paper] if named else []), layer.kind,
            " × ".join(map(str, layer.output)) if layer.output else "?", f"{layer.parameters:,}",
        )
        for layer in found
    ]  # fmt: skip
    title = f"{architecture}({', '.join(f'{key}={value}' for key, value in settings.items())})"
    headings = ["layer", *(["paper"] if named else []), "type", "|output", ">parameters"]
    terminal.show(terminal.table(headings, rows, title=title))
    terminal.say(f"trainable parameters: {count(model):,}")
    if row is not None and row.task == "fit":
        terminal.say("It is fitted at once: its numbers come with the data.")
    module = inspect.getdoc(sys.modules[type(model).__module__])
    _show_paper(row.paper if row else None, module or "")


def _show_paper(paper: str | None, module: str) -> None:
    """The reference, and what the file says of its differences from it."""
    from rich.text import Text

    if paper:
        terminal.show(Text(f"Paper: {paper}"))
    departs = module.find("Departs from")
    if departs >= 0:
        terminal.show(Text(" ".join(module[departs:].split("\n\n")[0].split())))


# The learning rate


def _show_schedule(shown: "Recipe", png: Path | None, as_json: bool) -> None:
    from dltk.cli.plot import curve
    from dltk.cli.validate import data_facts, total_steps
    from dltk.optim import curve as points
    from dltk.recipe import complaint, constructor_of

    settings = shown.settings
    if not settings.get("optimizer"):
        raise RecipeError("", shown.name, "has no optimizer, so no learning rate", "Name a recipe that has one.")
    with terminal.only_json(as_json):
        facts = data_facts(settings) if settings["train"]["epochs"] is not None else None
    total = total_steps(settings, facts)
    assert total is not None, "a recipe has epochs or steps"
    chosen = settings.get("schedule") or {"name": "constant"}
    name = chosen["name"]
    try:
        with terminal.only_json(as_json):
            schedule = constructor_of("schedule", chosen)()
    except (ValueError, TypeError) as error:
        raise complaint("schedule", chosen, error, shown.origin) from None
    rate = settings["optimizer"].get("lr", 1.0)
    steps, factors = points(schedule, total, 400)
    rates = [rate * factor for factor in factors]
    if png is not None:
        _save_schedule(png, steps, rates, f"{shown.name}: {name}")
    if as_json:
        terminal.emit({"schedule": name, "steps": list(steps), "lr": rates})
        return
    terminal.say(f"{shown.name}: learning rate over {total:,} steps ({name})")
    for line in curve([*steps, total], [*rates, rates[-1]]):
        terminal.say(line)
    if name == "plateau":
        terminal.say("It falls whenever validation stalls; drawn is what is known before.")
    if png is not None:
        terminal.say(str(png))


def _save_schedule(path: Path, steps: Any, rates: list[float], title: str) -> None:
    from dltk.cli.figures import figure, save

    sheet = figure(7, 3.2)
    axes = sheet.add_subplot()
    axes.plot(steps, rates, color="#2563a8", linewidth=2, drawstyle="steps-post")
    axes.set(xlabel="step", ylabel="learning rate", title=title, xlim=(0, steps[-1]), ylim=(0, max(rates) * 1.05 or 1))
    axes.spines[["top", "right"]].set_visible(False)
    save(sheet, path)
