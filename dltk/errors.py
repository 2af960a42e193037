"""The user's mistakes as exceptions, and the exit codes of every command.

A mistake is one line, `<where>: <key or thing>: <what is wrong, with the value>. <what to do>`, printed without a
traceback. Our own mistakes are asserts and keep their traceback.
"""

import enum


class ExitCode(enum.IntEnum):
    """What a dltk process says when it leaves; job scripts decide by it whether to requeue."""

    DONE = 0
    CRASHED = 1
    MISTAKE = 2  # the user's: one clear line has been printed
    PREEMPTED = 85  # saved; requeue me
    HUNG = 86  # stacks have been written
    INTERRUPTED = 130  # Ctrl-C; saved all the same


class DltkError(Exception):
    """A mistake that the user can mend.

    Args:
        where: file and line, override, or folder in which the mistake stands; may be empty.
        key: the setting or thing that is wrong; may be empty.
        what: what is wrong with it, with the value.
        remedy: what to do, as a sentence; may be empty.
    """

    def __init__(self, where: object = "", key: object = "", what: str = "", remedy: str = "") -> None:
        super().__init__(where, key, what, remedy)
        self.where = str(where)
        self.key = str(key)
        self.what = what.rstrip(".")
        self.remedy = remedy

    def __str__(self) -> str:
        """The one line."""
        place = ": ".join(part for part in (self.where, self.key) if part)
        sentence = f"{place}: {self.what}" if place else self.what
        # A question or an exclamation carries its own stop.
        sentence = sentence if sentence.endswith(("?", "!", ":")) else sentence + "."
        return f"{sentence} {self.remedy}".strip()


class RecipeError(DltkError):
    """A recipe, overlay or override asks for something that does not exist or does not fit."""


class DataError(DltkError):
    """Data are missing, damaged or do not fit what was asked."""


class SourceError(DataError):
    """Data cannot be reached or kept: a server, a disk. No sample is to blame, so none is counted as damaged."""


class LaunchError(DltkError):
    """The run cannot start here: a folder, a device, a lease, a checkpoint."""
