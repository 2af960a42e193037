"""One process of a run, before it trains."""

from collections.abc import Iterator

import pytest
import torch

from dltk.launch.rank import set_threads

CORES = 12


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine of twelve cores; the tests after this file get their threads back."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(CORES)), raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("said", "threads"),
    [("3", 3), ("4,2", 4), (" 5 , 2,1", 5), ("", 6), ("0", 6), ("-3", 6), ("many", 6), ("2.5", 6), (",4", 6)],
)
def test_threads_as_openmp_reads_them(said: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    set_threads({"launch": {"threads": None}}, local=2)
    assert torch.get_num_threads() == threads


def test_the_recipe_goes_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    set_threads({"launch": {"threads": 7}}, local=2)
    assert torch.get_num_threads() == 7
