"""The signals that ask a training to leave. Imports nothing slow: the handlers stand before torch is imported.

SIGTERM, SIGUSR1 and SIGUSR2 mean preemption, SIGINT means that somebody pressed Ctrl-C. The first one is only
remembered: the training saves at its next step and leaves. A second Ctrl-C leaves at once.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from dltk.errors import ExitCode

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


class Signals:
    """Remembers the signal that asks this process to leave, while its `with` block lasts.

    Outside of the main thread, where Python takes no signals, it does nothing.

    Args:
        say: whether to tell the person at the terminal that Ctrl-C was heard.
    """

    def __init__(self, say: bool = True) -> None:
        self.received: int | None = None
        self.say = say
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        """Take the signals, also those that came while they were blocked."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give them back to whoever had them."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGINT:
            self.received = self.received or number  # whoever pressed Ctrl-C wants no requeue
            return
        if self.received == signal.SIGINT:
            os._exit(ExitCode.INTERRUPTED)
        self.received = number
        if self.say:  # print() may be under way already
            os.write(2, b"\nCtrl-C: saving at the next step, then leaving. Once more leaves at once.\n")


@contextlib.contextmanager
def blocked() -> Iterator[None]:
    """Hold the signals back. A process started meanwhile holds them back too, until its own `Signals` take them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
