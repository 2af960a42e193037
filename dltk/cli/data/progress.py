"""A bar for long work on data."""

import contextlib
import sys
from collections.abc import Iterator

from rich.console import Console

from dltk.data.progress import Progress, silent


@contextlib.contextmanager
def bar(what: str, total: int | None = None, quiet: bool = False) -> Iterator[Progress]:
    """A bar on a terminal, nothing elsewhere; yields what tells it how much is done, of how much, and of what."""
    console = Console(file=sys.stderr, highlight=False)
    if quiet or not console.is_terminal:
        yield silent
        return
    from rich import progress as rich

    columns = rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn()
    with rich.Progress(*columns, rich.TimeRemainingColumn(), console=console) as shown:
        row = shown.add_task(what, total=total)

        def tell(done: int, of: int | None = None, of_what: str = what, /) -> None:
            nonlocal row
            if of_what != shown.tasks[0].description:  # the number and the time that is left are another's
                shown.remove_task(row)
                row = shown.add_task(of_what, total=of)
            shown.update(row, completed=done, total=of)

        yield tell
