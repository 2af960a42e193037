"""Who asked to leave is remembered, and the handlers go back to whoever had them."""

import os
import signal
import threading

import pytest

from dltk.trainer.signals import SIGNALS, Signals, blocked


@pytest.mark.parametrize(
    ("sent", "remembered"),
    [
        ([signal.SIGUSR1], signal.SIGUSR1),
        ([signal.SIGTERM, signal.SIGUSR1], signal.SIGTERM),
        ([signal.SIGTERM, signal.SIGINT], signal.SIGINT),  # a person weighs more than the batch system
        ([signal.SIGINT, signal.SIGTERM], signal.SIGINT),
    ],
)
def test_what_is_remembered(sent: list[signal.Signals], remembered: signal.Signals) -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Signals(say=False) as signals:
        for number in sent:
            os.kill(os.getpid(), number)
        assert signals.received == remembered
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_blocked_signals_come_when_they_are_taken() -> None:
    with blocked():
        # To this thread: a signal to the process may go to any other, which has not blocked it.
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        with Signals() as signals:
            assert signals.received == signal.SIGTERM


def test_another_thread_leaves_them_alone() -> None:
    def take() -> None:
        with Signals():
            found.append(signal.getsignal(signal.SIGTERM))

    found: list[object] = []
    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]
