"""Work on a thread: one piece at a time, its error raised once, to whoever asks next."""

import threading

import pytest

from dltk.trainer.background import Background


def test_the_next_piece_waits_for_the_one_before() -> None:
    work, may_end, done = Background("test"), threading.Event(), []
    work.start(lambda: (may_end.wait(10), done.append(1)))
    work.check()  # does not wait
    assert done == []
    threading.Timer(0.05, may_end.set).start()
    work.start(lambda: done.append(2))
    work.finish()
    assert done == [1, 2]
    work.finish()


def fail() -> None:
    raise OSError("the disk is gone")


@pytest.mark.parametrize("ask", [Background.check, Background.finish, lambda work: work.start(fail)])
def test_an_error_comes_with_the_next_call_and_once(ask) -> None:
    work = Background("test")
    work.start(fail)
    work.wait()  # keeps it
    with pytest.raises(OSError, match="the disk is gone"):
        ask(work)
    work.check()
    work.finish()
