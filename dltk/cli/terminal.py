"""What commands print: tables and lines for people, JSON for programs."""

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

WIDEST = 10_000  # columns of a table that no terminal shows


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """The reader has left (`dltk list | head`); a training must go on all the same."""
        silence_stdout()


def silence_stdout() -> None:
    """Send what is still printed nowhere, also what Python flushes when it leaves."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def console() -> Console:
    """Standard output; 80 columns where it is no terminal, unless COLUMNS says otherwise."""
    return _Console(highlight=False, markup=False, emoji=False)


def plain(text: object) -> str:
    """Text from elsewhere on one line, without what would steer the terminal."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def say(line: object = "", style: str | None = None) -> None:
    """Print one line as it is, never wrapped."""
    console().print(Text(plain(line), style=style or ""), soft_wrap=True)


def write(text: str) -> None:
    """Print text of several lines, without what would steer the terminal."""
    kept = (c if c.isprintable() or c in "\n\t" else "" if c == "\r" else "\N{REPLACEMENT CHARACTER}" for c in text)
    sys.stdout.write("".join(kept))
    sys.stdout.flush()


def note(line: object) -> None:
    """Print one line beside the output proper: to standard error."""
    print(plain(line), file=sys.stderr, flush=True)


def show(thing: RenderableType) -> None:
    """Print a table or another drawing of rich's; a table that goes into a file or a pipe is as wide as it needs."""
    out = console()
    if isinstance(thing, Table) and not out.is_terminal and "COLUMNS" not in os.environ:
        out.width = max(out.width, out.measure(thing, options=out.options.update(width=WIDEST)).maximum)
    out.print(thing)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> Table:
    """A table of plain text; a column whose name begins with `>` is set right, with `|` is never folded.

    Args:
        columns: headings.
        rows: a cell is text, or anything of rich's.
        title: above it.
    """
    made = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False, padding=(0, 1))
    for column in columns:
        made.add_column(
            column.lstrip(">|"),
            justify="right" if column.startswith(">") else "left",
            no_wrap=column.startswith((">", "|")),
            overflow="fold",
        )
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row))
    return made


def emit(answer: Any) -> None:
    """Print an answer as JSON; numbers that are not finite become null."""
    try:
        print(json.dumps(_finite(answer), ensure_ascii=False, indent=2), flush=True)
    except BrokenPipeError:
        silence_stdout()


@contextlib.contextmanager
def only_json(wanted: bool) -> Iterator[None]:
    """While it lasts, whatever libraries print goes to standard error, so that stdout holds the answer alone."""
    with contextlib.redirect_stdout(sys.stderr) if wanted else contextlib.nullcontext():
        yield


def number(value: object) -> str:
    """A number as short as it is clear; text stays."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "–" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def seconds_text(seconds: float) -> str:
    """A length of time in the unit that suits it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
