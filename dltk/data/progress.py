"""How long work on data tells what it does."""

from typing import Protocol


class Progress(Protocol):
    """Hears how much is done."""

    def __call__(self, done: int, of: int | None = None, what: str = "samples", /) -> None:
        """So many, of how many if that is known, of what."""


def silent(done: int, of: int | None = None, what: str = "samples", /) -> None:
    """Tell nobody."""
