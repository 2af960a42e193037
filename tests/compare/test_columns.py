"""The log by columns: what it reads, and that its cache is never stale."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from dltk.compare import columns
from dltk.compare.columns import parse, read
from dltk.run.folder import RunFolder
from tests.compare.generated import lines, made

LOG = b"""{"step": 1, "train/loss": 2.5, "data/digest": "1234567890123456"}
{"step": 2, "train/loss": "NaN", "val/loss": 1, "data/digest": "12e4567890123456", "odd": [1]}

[3]
{"step": 3, "val/loss": "Infinity", "train/loss": 1.5, "flag": true, "none": null}
{"step": 4, "train/lo"""


def test_lines_of_several_shapes_become_columns() -> None:
    found = parse(LOG)
    assert found.count == 3
    assert found.columns["step"].values.tolist() == [1, 2, 3]
    loss = found.columns["train/loss"]
    assert (loss.lines.tolist(), loss.values[[0, 2]].tolist()) == ([0, 1, 2], [2.5, 1.5])
    assert math.isnan(loss.values[1])
    assert found.columns["val/loss"].lines.tolist() == [1, 2]
    assert found.columns["val/loss"].values.tolist() == [1.0, math.inf]
    assert found.texts == {"data/digest": "12e4567890123456"}, "a digest that looks like a number is none"
    assert sorted(found.columns) == ["flag", "step", "train/loss", "val/loss"]
    assert found.along("val/loss", np.array([2])).tolist() == [math.inf]
    assert np.isnan(found.along("val/loss", np.array([0]))).all()
    assert parse(b"").count == parse(b"\n\xff\n{").count == 0


def test_columns_are_what_the_log_says(tmp_path: Path) -> None:
    run = made(tmp_path)
    for _ in range(2):  # from the log, and from the cache
        found = read(run.path)
        for name, column in found.columns.items():
            said = [(number, line[name]) for number, line in enumerate(run.metrics.read()) if name in line]
            assert list(zip(column.lines.tolist(), column.values.tolist(), strict=True)) == said
        assert found.texts == {"data/digest": "0000000000000400"}


def test_the_cache_is_used_and_made_anew_when_the_log_grew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(tmp_path, log=lines(100))
    assert read(run.path).count == 10
    calls = []
    monkeypatch.setattr(columns, "parse", lambda data: calls.append(1) or parse(data))
    assert (read(run.path).count, calls) == (10, [])
    RunFolder(run.path).metrics.append(step=110, epoch=1, samples=3520, time=0.0, **{"train/loss": 0.5})
    assert read(run.path).last("train/loss") == 0.5
    # The last line may grow without another: a validation met the training there.
    RunFolder(run.path).metrics.append(step=110, epoch=1, samples=3520, time=0.0, **{"val/loss": 0.25})
    assert (read(run.path).last("val/loss"), len(calls)) == (0.25, 2)


@pytest.mark.parametrize("damage", ["torn", "empty", "nonsense", "newer", "short"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, damage: str) -> None:
    run = made(tmp_path)
    whole = read(run.path).columns
    cache = run.path / "cache" / "metrics.columns"
    data = cache.read_bytes()
    head, _, rest = data.partition(b"\n")
    newer = json.dumps(json.loads(head) | {"format": 99}).encode()
    cache.write_bytes(
        {"torn": data[:40], "empty": b"", "nonsense": b"x\n\n", "newer": newer + b"\n", "short": data[:-80]}[damage]
    )
    assert read(run.path).columns.keys() == whole.keys()
    assert cache.read_bytes() == data, "the cache was not mended"
    assert rest


def test_without_a_place_for_the_cache_or_a_log_it_reads_all_the_same(tmp_path: Path) -> None:
    run = made(tmp_path)
    (run.path / "cache").write_text("in the way")
    assert read(run.path).count == 40
    assert (run.path / "cache").read_text() == "in the way"
    (run.path / "metrics.jsonl").unlink()
    assert read(run.path).count == 0
