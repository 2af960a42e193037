"""Work beside the training: one piece at a time on a thread of its own, whose error comes back to who asked."""

import threading
from collections.abc import Callable


class Background:
    """Runs one piece of work at a time.

    The thread is no daemon: an interpreter that ends waits for it.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Begin, once the work before is done. Raises that one's error."""
        self.finish()
        self._thread = threading.Thread(target=self._run, args=(work,), name=self._name)
        self._thread.start()

    def check(self) -> None:
        """Raise the error of work that is done; returns at once while it lasts."""
        if self._thread is not None and not self._thread.is_alive():
            self.finish()

    def wait(self) -> None:
        """Wait until the work is done, and keep its error."""
        if self._thread is not None:
            self._thread.join()

    def finish(self) -> None:
        """Wait until the work is done. Raises its error, once."""
        self.wait()
        self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._error = error
