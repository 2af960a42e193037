"""`dltk reproduce`: does what a recipe claims hold? From runs that are there, or trained for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dltk.cli import terminal
from dltk.cli.runs import find_some
from dltk.cli.train import require_trainable, train_one
from dltk.cli.validate import SOURCES_HELP
from dltk.errors import ExitCode, LaunchError, RecipeError

if TYPE_CHECKING:
    from dltk.compare.claims import Witness
    from dltk.recipe import Recipe
    from dltk.run.claim import Claim, Verdict
    from dltk.run.folder import RunFolder

commands = typer.Typer()


@commands.command(
    rich_help_panel="Measure",
    epilog="Examples:\n\ndltk reproduce mlp_digits\n\n"
    "dltk reproduce mlp_digits --seeds 3 cluster/ddp.yaml launch.devices=2\n\n"
    "dltk reproduce lenet5_digits --existing\n\n"
    "dltk reproduce lenet5_digits --from 'runs/lenet5_digits/seed-*' --existing --json\n\n"
    "Exit codes: 0 where the claim holds, 1 where it does not or remains untested.",
)
def reproduce(
    sources: list[str] = typer.Argument(metavar="RECIPE [OVERLAY…] [KEY=VALUE…]", help=SOURCES_HELP),
    seeds: int | None = typer.Option(None, min=1, help="How many; default: as many as the claim needs."),
    given: list[str] | None = typer.Option(
        None, "--from", metavar="RUN", help="Take this run, or the runs of this folder or pattern; default: RECIPE's."
    ),
    existing: bool = typer.Option(False, "--existing", help="Judge the runs that are there, and train none."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> int:
    """Tell whether a recipe's claim holds: PASS, FAIL or UNTESTED, with the interval over the seeds.

    Runs that are there are taken, the seeds that are missing are trained. What would change the result is refused.
    """
    from dataclasses import replace

    wanted, claim = _claimed(sources)
    count = claim.seeds if seeds is None else seeds
    claim = replace(claim, seeds=count)
    found = _found(wanted, claim, given)
    if not existing and _measurable(claim):
        with terminal.only_json(as_json):
            code = _train_missing(sources, wanted, found, count)
        if code is not ExitCode.DONE:
            return code
        found = _found(wanted, claim, given, trained=True)
    judged = _judged(found, claim)
    if as_json:
        terminal.emit(_plain(wanted, claim, found, judged))
    else:
        _show(found, claim, judged)
    return ExitCode.DONE if judged.text == "PASS" else ExitCode.CRASHED


def _claimed(sources: Sequence[str]) -> "tuple[Recipe, Claim]":
    """The recipe of today, and its claim.

    Raises:
        RecipeError: it claims nothing.
        LaunchError: what is changed of it would change the result, or the claim.
    """
    from dltk import recipe
    from dltk.run.claim import Claim

    alone = recipe.load(sources[0], check_model=False)
    wanted = recipe.load(*sources, check_model=False)
    for key, old, new in recipe.difference(alone.settings, wanted.settings):
        if not recipe.harmless(key) or key.partition(".")[0] in ("claim", "name"):
            what = f"the claim is of {old!r}, not of {new!r}"
            raise LaunchError(sources[0], key, what, "Leave it out; `dltk compare` says what another setting does.")
    claim = wanted.settings["claim"]
    if not claim or claim["metric"] is None:
        remedy = "`dltk list` shows which recipes claim something."
        raise RecipeError(sources[0], "claim", "there is none, so nothing can be reproduced", remedy)
    return wanted, Claim(**claim)


def _found(wanted: "Recipe", claim: "Claim", given: Sequence[str] | None, *, trained: bool = False) -> "list[Witness]":
    """What the runs say that were named, else those of the recipe's folder; also its own, where they were trained now.

    Raises:
        LaunchError: a run that was named has other settings, or runs have other data.
    """
    from dltk.compare.claims import other_settings, witnesses
    from dltk.run.folder import find_runs

    own = Path(wanted.settings["runs_dir"]) / wanted.name
    runs: list[RunFolder] = []
    if given:
        problems: list[str] = []
        runs = find_some(given, problems)
        for problem in problems:
            terminal.note(problem)
    for run in runs:
        for key, there, claimed in other_settings(run, wanted)[:1]:
            raise LaunchError(run.path, key, f"the run has {there!r}, the claim is of {claimed!r}", "Leave it out.")
    if not given or trained:
        runs += find_runs(own)
    return witnesses(runs, wanted, claim)


def _measurable(claim: "Claim") -> bool:
    from dltk.compare.claims import unmeasurable

    return unmeasurable(claim) is None


def _train_missing(sources: Sequence[str], wanted: "Recipe", found: "Sequence[Witness]", count: int) -> ExitCode:
    """Train seeds from 0 on until there are as many as needed."""
    there = {one.seed for one in found if one.value is not None}
    missing = [seed for seed in range(count) if seed not in there][: max(0, count - len(there))]
    if missing:
        from dltk import recipe

        cost = (wanted.settings["claim"] or {}).get("cost")
        said = f" (about {cost} each where it was measured)" if cost else ""
        require_trainable(recipe.load(*sources))  # before anything is made for it
        terminal.note(f"seeds {', '.join(map(str, missing))} of {wanted.name} are trained{said}")
    for seed in missing:
        _, _, code = train_one([*sources, f"train.seed={seed}", f"run=seed-{seed}"], None, False)
        if code is not ExitCode.DONE:
            return code
    return ExitCode.DONE


def _judged(found: "Sequence[Witness]", claim: "Claim") -> "Verdict":
    from dltk.compare.claims import unmeasurable, untested
    from dltk.run.claim import verdict

    values = [one.value for one in found if one.value is not None]
    reason = unmeasurable(claim) or next((one.why for one in found if one.why), None)
    return untested(claim, reason) if reason and not values else verdict(values, claim)


def _plain(wanted: "Recipe", claim: "Claim", found: "Sequence[Witness]", judged: "Verdict") -> dict[str, Any]:
    from dataclasses import asdict

    runs = [{"run": str(one.run.path), "seed": one.seed, "value": one.value, "why": one.why} for one in found]
    return {"recipe": wanted.name, "claim": asdict(claim), "runs": runs, **asdict(judged), "verdict": judged.text}


def _show(found: "Sequence[Witness]", claim: "Claim", judged: "Verdict") -> None:
    if found:
        rows = [(one.run.path, one.seed, terminal.number(one.value), one.why or "counts") for one in found]
        terminal.show(terminal.table(["run", ">seed", f">{claim.metric}", "verdict"], rows))
    terminal.say(judged.line)
