"""What the rates of a loader's parts say about it, and that they are measured on real pictures."""

from pathlib import Path

import pytest

from dltk.data.bench import DECODING, READING, REST, Rates, bench
from dltk.data.datamodule import DataModule
from dltk.data.shards.dataset import Shards
from dltk.data.views import RandomResizedCrop


def rates(**changed: object) -> Rates:
    given = {"decode": 1000.0, "read": 50_000.0, "megabytes": 5000.0, "read_decode": 980.0, "cores": 4}
    return Rates(**{**given, "loader": {0: 900.0, 1: 950.0, 4: 3600.0, 8: 3500.0}, **changed})  # type: ignore[arg-type]


def test_a_share_is_of_the_cores_that_work() -> None:
    found = rates()
    assert found.best == 4
    assert [found.share(count) for count in (0, 1, 4, 8)] == pytest.approx([0.9, 0.95, 0.9, 0.875])
    assert found.cores_needed(9000) == pytest.approx(10)


def test_the_part_that_takes_most_of_the_time_holds_the_loader_back() -> None:
    assert rates().held_back_by == DECODING
    assert rates(read=300.0, loader={1: 220.0}).held_back_by == READING
    assert rates(loader={1: 200.0}).held_back_by == REST
    parts = rates(loader={1: 500.0}).seconds(1)
    assert sum(parts.values()) == pytest.approx(1 / 500)


def test_every_part_is_measured_on_packed_pictures(packed: Path) -> None:
    settings = {"folder": packed.name, "image_size": 48}
    more = {"augment": RandomResizedCrop(), "data_dir": str(packed.parent), "steps": 10**9, "whole_run": True}
    said: list[str] = []
    data = DataModule(Shards, settings, batch=8, **more)  # type: ignore[arg-type]
    found = bench(data, seconds=0.1, workers=[0], say=said.append)
    assert said[0] == DECODING
    assert list(found.loader) == [0]
    assert None not in (found.decode, found.read, found.megabytes, found.read_decode)
    assert found.read > found.decode  # type: ignore[operator]
    assert min(found.loader[0], found.read_decode) > 0  # type: ignore[type-var]
