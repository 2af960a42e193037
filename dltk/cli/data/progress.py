"""A bar for long work on data."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console


@contextlib.contextmanager
def bar(what: str, total: int | None = None, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """A bar on a terminal, nothing elsewhere; yields what tells it how much is done, of how much."""
    console = Console(file=sys.stderr, highlight=False)
    if quiet or not console.is_terminal:
        yield _nothing
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        row = progress.add_task(what, total=total)

        def tell(done: int, of: int | None = total) -> None:
            progress.update(row, completed=done, total=of)

        yield tell


def _nothing(done: int, of: int | None = None) -> None:
    pass
