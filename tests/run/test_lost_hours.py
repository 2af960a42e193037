"""Device-hours that were lost between attempts."""

import pytest

from dltk.run.ledger import clock_text, lost_hours

BEGAN = 1_790_000_000
LINES = [{"step": step, "time": BEGAN + 10 + step} for step in range(10, 400, 10)]


def attempt(first: int | None, start: int, end: int | None, step: int | None = None, world: int | None = 4) -> dict:
    moment = [None if at is None else clock_text(BEGAN + at) for at in (start, end)]
    return {"start": moment[0], "end": moment[1], "first_step": first, "step": step, "world_size": world}


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [
        ([attempt(0, 0, 400, 390)], [None]),  # nothing says that it was lost
        ([attempt(0, 0, 250), attempt(200, 300, None)], [250 - 210, None]),  # killed 40 s behind step 200
        ([attempt(0, 0, 250), attempt(0, 300, 310)], [250, None]),  # nothing of it was kept
        ([attempt(0, 0, 250, 240), attempt(240, 300, None)], [0, None]),  # it saved as it left
        ([attempt(0, 0, 250), attempt(None, 300, None)], [None, None]),
        ([attempt(0, 0, 250, world=None), attempt(0, 300, None)], [None, None]),
        ([], []),
    ],
)
def test_what_an_attempt_lost(attempts: list[dict], seconds: list[float | None]) -> None:
    wanted = [None if one is None else 4 * one / 3600 for one in seconds]
    assert lost_hours(attempts, LINES) == [None if one is None else pytest.approx(one) for one in wanted]
