"""A bar for long work on data."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from dltk.data.prepare import Progress


@contextlib.contextmanager
def bar(what: str, total: int | None = None, quiet: bool = False) -> Iterator["Progress"]:
    """A bar on a terminal, nothing elsewhere; yields what tells it how much is done, of how much, and of what."""
    console = Console(file=sys.stderr, highlight=False)
    if quiet or not console.is_terminal:
        yield _nothing
        return
    from rich import progress as rich

    columns = rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn()
    with rich.Progress(*columns, rich.TimeRemainingColumn(), console=console) as shown:
        row = shown.add_task(what, total=total)

        def tell(done: int, of: int | None = None, of_what: str = what, /) -> None:
            if of_what != shown.tasks[0].description:
                shown.reset(row, description=of_what)  # the time that is left is another's
            shown.update(row, completed=done, total=total if of is None else of)

        yield tell


def _nothing(done: int, of: int | None = None, what: str = "", /) -> None:
    pass
