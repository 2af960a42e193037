"""The log by columns: what it reads, and that its cache is never stale."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from dltk.compare import brief, columns
from dltk.compare.brief import Brief, Value
from dltk.compare.columns import parse
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
    found = parse((run.path / "metrics.jsonl").read_bytes())
    for name, column in found.columns.items():
        said = [(number, line[name]) for number, line in enumerate(run.metrics.read()) if name in line]
        assert list(zip(column.lines.tolist(), column.values.tolist(), strict=True)) == said
    assert found.texts == {"data/digest": "0000000000000400"}


def test_long_logs_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    data = "".join(json.dumps(line) + "\n" for line in lines(1000)).encode() + LOG
    whole = parse(data)
    monkeypatch.setattr(columns, "AT_ONCE", 7)
    parts = parse(data)
    assert (parts.count, parts.texts) == (whole.count, whole.texts)
    for name, column in whole.columns.items():
        assert parts.columns[name].lines.tolist() == column.lines.tolist()
        np.testing.assert_array_equal(parts.columns[name].values, column.values)


# In brief


def read(run: RunFolder) -> Brief:
    return brief.read(run.path, "val/top1_error", "min")


def same(a: Brief, b: Brief) -> bool:
    numbers = [(one.final, one.best, one.rates, one.texts, list(one.curves)) for one in (a, b)]
    curves = [(a.curves[name], b.curves[name]) for name in a.curves]
    return numbers[0] == numbers[1] and all(
        np.array_equal(x.values, y.values) and all(np.array_equal(x.along[axis], y.along[axis]) for axis in x.along)
        for x, y in curves
    )


def test_a_log_in_brief(tmp_path: Path) -> None:
    found = read(made(tmp_path))
    assert found.final["train/loss"] == Value(1 / 400, 400)
    assert found.best == {"val/top1_error": Value(10.25, 400), "val/loss": Value(10 / 400, 400)}
    assert found.rates == {"time/samples_per_second": 1000.0, "time/mfu": 0.25}
    curve = found.curves["val/loss"]
    assert curve.along["epoch"].tolist() == [1, 2, 3, 4]
    assert curve.along["samples"].tolist() == [3200, 6400, 9600, 12800]
    assert curve.values.tolist() == [0.1, 0.05, 10 / 300, 0.025]


def test_the_cache_is_used_and_made_anew_when_the_log_grew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(tmp_path, log=lines(100))
    first = read(run)
    calls = []
    monkeypatch.setattr(brief, "parse", lambda data: calls.append(1) or parse(data))
    assert same(read(run), first)
    assert calls == []
    RunFolder(run.path).metrics.append(step=110, epoch=1, samples=3520, time=0.0, **{"train/loss": 0.5})
    assert read(run).final["train/loss"] == Value(0.5, 110)
    # The last line may grow without another: a validation met the training there.
    RunFolder(run.path).metrics.append(step=110, epoch=1, samples=3520, time=0.0, **{"val/loss": 0.25})
    assert read(run).final["val/loss"] == Value(0.25, 110)
    assert len(calls) == 2
    assert brief.read(run.path, "val/loss", "max").best["val/loss"].value == 0.25  # as another recipe would choose


@pytest.mark.parametrize("damage", ["torn", "empty", "nonsense", "newer", "short"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, damage: str) -> None:
    run = made(tmp_path)
    whole = read(run)
    cache = run.path / "cache" / "metrics.brief"
    data = cache.read_bytes()
    newer = json.dumps(json.loads(data.partition(b"\n")[0]) | {"format": 99}).encode()
    cache.write_bytes(
        {"torn": data[:40], "empty": b"", "nonsense": b"x\n\n", "newer": newer + b"\n", "short": data[:-80]}[damage]
    )
    assert same(read(run), whole)
    assert cache.read_bytes() == data, "the cache was not mended"


def test_without_a_place_for_the_cache_or_a_log_it_reads_all_the_same(tmp_path: Path) -> None:
    run = made(tmp_path)
    (run.path / "cache").write_text("in the way")
    assert len(read(run).curves["train/loss"].values) == 40
    assert (run.path / "cache").read_text() == "in the way"
    (run.path / "metrics.jsonl").unlink()
    assert read(run).final == {}
