"""`dltk data prepare`: known data sets as shards."""

import os
from pathlib import Path

import typer

from dltk.cli.data.pack import (
    AS_JSON,
    MAX_BAD,
    MEGABYTES,
    PROCESSES,
    QUALITY,
    RESIZE,
    SEED,
    SQUARE,
    report,
    settings_of,
)
from dltk.cli.data.progress import bar
from dltk.errors import DataError

commands = typer.Typer()


@commands.command(
    "prepare",
    epilog="Examples:\n\ndltk data prepare imagenet2012 --source /archives --to /data/imagenet2012 --resize 256 "
    "--processes 16\n\ndltk data prepare rendered --to data/rendered\n\n`dltk data list` names the sets.",
)
def prepare(
    name: str = typer.Argument(help="The set; see `dltk data list`."),
    source: Path | None = typer.Option(None, help="Where its archives lie, for a set that is not made by rule."),
    to: Path | None = typer.Option(None, help="Folder of the set; default: NAME under DLTK_DATA."),
    resize: int | None = RESIZE,
    square: bool = SQUARE,
    quality: int = QUALITY,
    megabytes: float = MEGABYTES,
    processes: int = PROCESSES,
    seed: int = SEED,
    max_bad: int = MAX_BAD,
    as_json: bool = AS_JSON,
) -> None:
    """Make a known data set into shards. What was cut off goes on by the same command."""
    from difflib import get_close_matches

    from dltk.data.prepare import SETS

    if name not in SETS:
        close = get_close_matches(name, SETS, 1)
        remedy = f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(SETS)}."
        raise DataError("", name, "is no known set", remedy)
    known = SETS[name]
    if known.source and source is None:
        raise DataError("", "--source", f"is missing: {known.source}", "Name it.")
    if to is None:
        if not os.environ.get("DLTK_DATA"):
            raise DataError("", "--to", "is missing", "Give the folder of the set, or set DLTK_DATA.")
        to = Path(os.environ["DLTK_DATA"], name)
    settings = settings_of(resize, square, quality, megabytes, processes, seed, max_bad)
    with bar("samples", quiet=as_json) as tell:
        made = known.prepare(source, to, settings, tell)
    report(made, to, as_json)
