"""`dltk train`: train a recipe, or go on with a run."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dltk.cli import terminal
from dltk.cli.runs import find_run
from dltk.cli.validate import SOURCES_HELP, batch_text, data_facts, length_text, sizes_text, total_steps
from dltk.errors import ExitCode, LaunchError, RecipeError

if TYPE_CHECKING:
    from dltk.run.folder import RunFolder

commands = typer.Typer()


@commands.command(
    rich_help_panel="Train",
    epilog="Examples:\n\ndltk train lenet5_digits\n\n"
    "dltk train lenet5_digits train.epochs=5 optimizer.lr=0.01 run=short\n\n"
    "dltk train recipes/mlp_digits.yaml cluster/ddp.yaml launch.devices=2\n\n"
    "dltk train --fork runs/lenet5_digits/short@120 optimizer.lr=0.001",
)
def train(
    sources: list[str] | None = typer.Argument(
        None,
        metavar="RECIPE|RUN [OVERLAY…] [KEY=VALUE…]",
        help=f"{SOURCES_HELP} Or a run folder, to go on with it.",
    ),
    fork: str | None = typer.Option(None, metavar="RUN[@STEP]", help="Begin a new run from a checkpoint of another."),
    extend: bool = typer.Option(False, "--extend", help="Let a run become longer: train.epochs or train.steps."),
    seeds: int | None = typer.Option(None, min=1, help="Train seeds 0 … N-1, as runs seed-0 …; those done are kept."),
) -> int:
    """Train a recipe to its end, and print the result beside its claim.

    A run that was stopped goes on where it was. run=NAME and runs_dir=DIR choose the run folder, the last line printed.
    """
    sources = sources or []
    if not sources and fork is None:
        raise RecipeError("", "RECIPE", "is missing", "Give a recipe or a run: dltk train lenet5_digits.")
    if sources and (Path("runs") / sources[0] / "recipe.yaml").is_file():
        sources = [str(Path("runs") / sources[0]), *sources[1:]]
    if fork is not None:
        parent, at, step = fork.partition("@")
        fork = f"{find_run(parent).path}{at}{step}"
    if seeds is not None:
        return _train_seeds(sources, seeds, fork, extend)
    folder, code = _train_one(sources, fork, extend)
    _conclude(folder, code)
    return code


def _train_seeds(sources: list[str], seeds: int, fork: str | None, extend: bool) -> int:
    """One run after another; a stop or a crash ends the row."""
    from dltk.launch.here import is_run

    taken = [text for text in sources if text.startswith(("run=", "train.seed="))]
    if fork or taken or is_run(sources[0]):
        what = taken[0] if taken else "--fork" if fork else sources[0]
        raise LaunchError("", "--seeds", f"cannot be combined with '{what}'", "It names the runs seed-0 … itself.")
    for seed in range(seeds):
        folder, code = _train_one([*sources, f"train.seed={seed}", f"run=seed-{seed}"], None, extend)
        if code is not ExitCode.DONE:
            break
    _conclude(folder, code)
    return code


def _train_one(sources: list[str], fork: str | None, extend: bool) -> tuple["RunFolder", ExitCode]:
    from dltk.launch import here

    if fork is None and not here.is_run(sources[0]):
        from dltk import recipe

        data_facts(recipe.load(*sources).settings)  # before a folder is made: a mistake leaves nothing behind
    folder, changed = here.open_run(sources, fork=fork, extend=extend)
    if folder.status == "done" and not extend:
        terminal.say(f"{folder.path}: is done already; --extend with more train.epochs lengthens it.")
        return folder, ExitCode.DONE
    _announce(folder, changed)
    return folder, here.attempt(folder, changed)


# What it will do


def _announce(folder: "RunFolder", changed: Mapping[str, Any]) -> None:
    """Print once what is about to happen."""
    from rich.table import Table
    from rich.text import Text

    from dltk import recipe
    from dltk.cli.layers import count, make_model
    from dltk.launch.here import devices

    settings = recipe.resolve_place(_changed(recipe.thaw(folder.path / "recipe.yaml").settings, changed))
    facts = data_facts(settings)
    steps = total_steps(settings, facts)
    model = dict(settings["model"])
    name = model.pop("architecture")
    accelerator, world = devices(settings["launch"])
    restart = folder.checkpoints.newest()
    begins = f"from step {int(restart.name.removeprefix('step-')):,}" if restart else "from the beginning"
    rows = {
        "network": f"{name}, {count(make_model(name, model)):,} trainable parameters",
        "data": f"{settings['data']['name']}, {sizes_text(facts.sizes)}",
        "length": f"{length_text(settings, steps)}, {begins}",
        "batch": batch_text(settings, world),
        "device": f"{accelerator}, {world} process{'es' if world != 1 else ''}, {settings['train']['precision']}",
        "tracking": f"W&B {settings['log']['wandb']}",
        "run": str(folder.path),
    }
    grid = Table.grid(padding=(0, 2))
    for key, text in rows.items():
        grid.add_row(Text(key, style="bold"), Text(terminal.plain(text), overflow="fold"))
    terminal.show(grid)


def _changed(settings: dict[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with what this attempt changes of its place."""
    for key, value in changed.items():
        *sections, last = key.split(".")
        inner = settings
        for name in sections:
            inner = inner[name]
        inner[last] = value
    return settings


# What came of it


def _conclude(folder: "RunFolder", code: ExitCode) -> None:
    """The result beside its claim, and the run folder as the last line."""
    if code is ExitCode.DONE:
        _show_result(folder)
    else:
        attempts = folder.ledger.attempts()
        reason = attempts[-1]["reason"] if attempts else "unknown"
        terminal.note(f"not finished: {reason}. Go on with: dltk train {folder.path}")
    terminal.say(folder.path)


def _show_result(folder: "RunFolder") -> None:
    from dltk.run.claim import Claim, verdict

    metrics = (folder.summary() or {}).get("metrics", {})
    settings = folder.recipe
    shown = {name: value for name, value in metrics.items() if name.startswith("test/")}
    judged = None
    if settings.get("claim"):
        claim = Claim(**settings["claim"])
        judged = verdict(list(same_recipe(folder, claim.metric).values()), claim)
    rows = []
    for name, value in shown.items():
        mine = judged is not None and name == settings["claim"]["metric"]
        claimed = f"{claim.value:g} ± {claim.tolerance:g}" if mine else "–"
        rows.append((name, terminal.number(value), claimed, judged.text if mine and judged else "–"))
    terminal.show(terminal.table(["metric", ">value", ">claim", "|verdict"], rows))
    if judged is not None:
        terminal.say(judged.line)


def same_recipe(folder: "RunFolder", metric: str) -> dict[int, float]:
    """A metric by seed, from every finished run of the same recipe (the seed apart) beside this one."""
    from dltk import recipe
    from dltk.errors import DltkError
    from dltk.run.folder import find_runs

    wanted = recipe.recipe_hash(folder.recipe)
    found: dict[int, float] = {}
    for run in find_runs(Path(folder.path).absolute().parent):
        try:
            if recipe.recipe_hash(run.recipe) != wanted:
                continue
        except DltkError:  # a damaged neighbour is no reason to keep this run's result back
            continue
        value = (run.summary() or {}).get("metrics", {}).get(metric)
        if isinstance(value, int | float) and run.status == "done":
            found[run.recipe["train"]["seed"]] = float(value)
    return dict(sorted(found.items()))
