"""`dltk compare`: what differs between runs, and whether the results differ by more than chance."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import typer

from dltk.cli import terminal
from dltk.cli.runs import find_any
from dltk.errors import LaunchError

if TYPE_CHECKING:
    from dltk.compare.comparison import Comparison
    from dltk.compare.seen import Seen

commands = typer.Typer()


@commands.command(
    rich_help_panel="Runs",
    epilog="Examples:\n\ndltk train mlp_digits --seeds 3\n\n"
    "dltk train mlp_digits --seeds 3 name=slow optimizer.lr=0.01\n\n"
    "dltk compare mlp_digits slow\n\n"
    "dltk compare 'mlp_digits/seed-*' slow/seed-0 --metric test/top1_error --markdown\n\n"
    "dltk compare runs --by optimizer.lr --png sweep.png\n\n"
    "dltk compare mlp_digits/seed-0 --html report.html\n\n"
    "Runs with the same settings but for the seed are one group. Differences are the group's less the baseline's, the "
    "first group's that has the metric, unless said otherwise.",
)
def compare(
    names: list[str] = typer.Argument(
        metavar="RUN…",
        help="Run folders, names RECIPE/RUN or RECIPE below ./runs, folders of runs, patterns, or what W&B kept "
        "of other projects (a folder, or a .wandb file).",
    ),
    by: list[str] | None = typer.Option(None, metavar="KEY", help="Group by this setting; may be given several times."),
    metric: list[str] | None = typer.Option(
        None, metavar="NAME", help="Compare this metric, and draw its curve; the first one's differences are tested."
    ),
    baseline: str | None = typer.Option(None, metavar="GROUP|RUN", help="What the others are measured against."),
    axis: Literal["step", "samples", "epoch", "hours"] = typer.Option("step", "--axis", help="Of the curves."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    as_csv: bool = typer.Option(False, "--csv", help="Print a line for each run, separated by commas."),
    as_markdown: bool = typer.Option(False, "--markdown", help="Print tables in Markdown, the best in bold."),
    as_latex: bool = typer.Option(False, "--latex", help="Print the table of results in LaTeX."),
    png: Path | None = typer.Option(None, metavar="FILE", help="Draw curves and results: .png, .pdf or .svg."),
    html: Path | None = typer.Option(
        None,
        metavar="FILE",
        help="Write a page with all of it, and recipes, pictures, attempts: one file for a browser.",
    ),
) -> None:
    """Compare runs: settings first and only what differs, then results with intervals and tests, curves, cost, claims.

    Of running, crashed and resumed runs what is there is compared.
    """
    forms = {"--json": as_json, "--csv": as_csv, "--markdown": as_markdown, "--latex": as_latex}
    wanted = [name for name, given in forms.items() if given]
    if len(wanted) > 1:
        raise LaunchError("", wanted[1], f"cannot be combined with '{wanted[0]}'", "Ask for one of them.")
    runs, found = _found(names, Asked(tuple(by or ()), tuple(metric or ()), baseline, axis), html is not None)
    if png is not None:
        from dltk.cli.figures import save
        from dltk.cli.sheet import draw_comparison

        save(draw_comparison(found), png)
    if html is not None:
        from dltk.cli.page import made
        from dltk.run.atomic import refusing, replace_file

        with refusing(html, "cannot write"):
            html.parent.mkdir(parents=True, exist_ok=True)
        replace_file(html, made(found, runs))
    _print(found, wanted[0] if wanted else "")
    for path in (png, html):
        if path is not None:
            terminal.note(path)


class Asked(NamedTuple):
    """What the options say."""

    by: tuple[str, ...]
    metrics: tuple[str, ...]
    baseline: str | None
    axis: str


def _found(names: list[str], asked: Asked, every_curve: bool) -> "tuple[list[Seen], Comparison]":
    """The runs that are there and can be read, and the comparison."""
    problems: list[str] = []
    runs = find_any(names, problems)
    from dltk.compare import comparison
    from dltk.compare.seen import Wanted, see_all

    wanted = Wanted(curves=asked.metrics or None)
    if every_curve:
        from dltk.cli.page import points

        wanted = Wanted(curves=("*",), points=points(len(runs)))
    # One run that was named is read or refused; of many, those that can be read are compared.
    seen = see_all(runs, wanted, problems if len(runs) > 1 else None)
    for problem in problems:
        terminal.note(problem)
    if not seen:
        raise LaunchError("", "", "none of these runs can be read", "`dltk runs` lists the runs.")
    keys = tuple(key for text in asked.by for key in text.split(","))
    whole = comparison.Asked(by=keys, metrics=asked.metrics, baseline=asked.baseline, axis=asked.axis)
    return seen, comparison.compare(seen, whole)


def _print(found: "Comparison", form: str) -> None:
    if form == "--json":
        from dltk.compare.comparison import plain

        terminal.emit(plain(found))
        return
    if not form:
        from dltk.cli.compared import show

        show(found)
        return
    from dltk.cli import tables

    make: dict[str, Any] = {"--csv": tables.comma_separated, "--markdown": tables.markdown, "--latex": tables.latex}
    terminal.write(make[form](found))
