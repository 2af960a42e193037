"""Where the time between a command and the first step goes: seconds by phase, in this process, imports left out.

A phase ends where the next one begins. What Python spends on importing modules is none of it: it is the machine's
disk's, and lies wherever a module happens to be used first.
"""

import builtins
import contextlib
import time
from collections.abc import Iterator
from typing import Any

_seconds: dict[str, float] = {}
_import = builtins.__import__


class _Imports:
    """Seconds spent in import statements, while they are counted."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._inside = False

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Stands in for `builtins.__import__`."""
        if self._inside:  # an import of an import
            return _import(*arguments, **named)
        self._inside, began = True, time.perf_counter()
        try:
            return _import(*arguments, **named)
        finally:
            self._inside = False
            self.seconds += time.perf_counter() - began


_imports = _Imports()
_current: list[tuple[str, float, float]] = []  # at most one: its name, when it began, seconds of imports then


def begin(name: str) -> None:
    """A phase begins, and the one before it ends; one that comes again adds up."""
    end()
    builtins.__import__ = _imports
    _current.append((name, time.perf_counter(), _imports.seconds))


def end() -> None:
    """The current phase ends."""
    builtins.__import__ = _import
    for name, began, imports in _current:
        spent = time.perf_counter() - began - (_imports.seconds - imports)
        _seconds[name] = _seconds.get(name, 0.0) + max(0.0, spent)
    _current.clear()


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """A phase that lasts as long as a `with` block."""
    begin(name)
    try:
        yield
    finally:
        end()


def taken() -> dict[str, float]:
    """Seconds by phase since this was asked last."""
    seconds = {name: round(spent, 3) for name, spent in _seconds.items()}
    _seconds.clear()
    return seconds
