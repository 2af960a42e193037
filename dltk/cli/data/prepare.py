"""`dltk data prepare`: known data sets as shards."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

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
    damaged_told,
    report,
    settings_of,
)
from dltk.cli.data.progress import bar
from dltk.errors import DataError

if TYPE_CHECKING:
    from dltk.data.prepare import KnownSet

commands = typer.Typer()


@commands.command(
    "prepare",
    epilog="Examples:\n\ndltk data prepare imagenet2012 --source /archives --to /data/imagenet2012 --resize 256 "
    "--processes 16\n\ndltk data prepare multi30k --languages en-de --to /data/multi30k\n\n"
    "dltk data prepare rendered --to /data/rendered\n\n`dltk data list` names the sets.",
)
def prepare(
    name: str = typer.Argument(help="The set; see `dltk data list`."),
    source: Path | None = typer.Option(
        None, help="Folder with its archives; some sets are fetched where it is left out."
    ),
    to: Path | None = typer.Option(None, help="Folder of the set; default: NAME under DLTK_DATA."),
    languages: str | None = typer.Option(None, metavar="FROM-TO", help="Of a set of translations that has several."),
    sha256: list[str] = typer.Option(
        [], metavar="ARCHIVE=HASH", help="Of an archive to fetch whose hash is not known."
    ),
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
    from dltk.data.prepare import Origin

    known = _known(name)
    if known.source and not known.fetches and source is None:
        raise DataError("", "--source", f"is missing: {known.source}", "Name it.")
    if source is not None and not known.source:
        raise DataError("", "--source", f"{name} is made by rule, from no files", "Leave it out.")
    if languages is not None and known.languages is None:
        raise DataError("", "--languages", f"{name} has no choice of languages", "Leave it out.")
    if sha256 and not known.fetches:
        raise DataError("", "--sha256", f"{name} is not fetched", "Leave it out.")
    if to is None:
        if not os.environ.get("DLTK_DATA"):
            raise DataError("", "--to", "is missing", "Give the folder of the set, or set DLTK_DATA.")
        to = Path(os.environ["DLTK_DATA"], name)
    origin = Origin(folder=source, languages=_pair(languages), hashes=dict(map(_hash, sha256)))
    settings = settings_of(resize, square, quality, megabytes, processes, seed, max_bad)
    with damaged_told(), bar("samples", quiet=as_json) as tell:
        made = known.prepare(origin, to, settings, tell)
    report(made, to, as_json)


def _known(name: str) -> "KnownSet":
    from difflib import get_close_matches

    from dltk.data.prepare import SETS

    if name not in SETS:
        close = get_close_matches(name, SETS, 1)
        remedy = f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(SETS)}."
        raise DataError("", name, "is no known set", remedy)
    return SETS[name]


def _pair(languages: str | None) -> tuple[str, str] | None:
    if languages is None:
        return None
    source, _, target = languages.partition("-")
    if not (source.isalpha() and target.isalpha()):
        raise DataError("", "--languages", f"'{languages}' are no two languages", "Give them as en-fr.")
    return source, target


def _hash(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise DataError("", "--sha256", f"'{text}' names no hash of 64 digits", "Give it as ARCHIVE=HASH.")
    return name, value.lower()
