"""The metrics of a run: each step once, torn lines borne, lost lines kept apart."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dltk.run.metrics_log import MetricsLog


def _append(log: MetricsLog, step: int, **metrics: float) -> None:
    log.append(step=step, epoch=0, samples=step * 8, time=step / 2, **metrics)


def _steps(log: MetricsLog) -> list[int]:
    return [line["step"] for line in log.read()]


def test_lines_are_objects_with_the_four_fields(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    _append(log, 1, **{"train/loss": 0.5})
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line == {"step": 1, "epoch": 0, "samples": 8, "time": 0.5, "train/loss": 0.5}


def test_training_and_validation_of_one_step_share_a_line(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    _append(log, 1, loss=0.5)
    _append(log, 2, loss=0.25)
    _append(log, 2, error=3.0)
    _append(MetricsLog(log.path), 2, again=1.0)  # another process
    assert _steps(log) == [1, 2]
    assert log.last() == {"step": 2, "epoch": 0, "samples": 16, "time": 1.0, "loss": 0.25, "error": 3.0, "again": 1.0}


def test_an_earlier_step_is_our_own_mistake(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    _append(log, 2)
    with pytest.raises(AssertionError, match="rewind"):
        _append(log, 1)


def test_what_json_cannot_say_comes_back(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    _append(log, 1, a=math.nan, b=math.inf, c=-math.inf)

    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads(log.path.read_text(), parse_constant=refuse)  # strict JSON
    line = log.read()[0]
    assert math.isnan(line["a"])
    assert (line["b"], line["c"]) == (math.inf, -math.inf)


@pytest.mark.parametrize("cut", range(1, 30, 4))
def test_a_torn_last_line_is_passed_over_and_cut_off(tmp_path: Path, cut: int) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for step in (1, 2, 3):
        _append(log, step)
    log.path.write_bytes(log.path.read_bytes()[:-cut])
    left = [1, 2, 3] if cut == 1 else [1, 2]  # only the line end is missing
    assert _steps(MetricsLog(log.path)) == left
    assert MetricsLog(log.path).last()["step"] == left[-1]  # type: ignore[index]
    _append(MetricsLog(log.path), 4)
    assert [json.loads(text)["step"] for text in log.path.read_text().splitlines()] == [*left, 4]


def test_the_last_line_is_found_behind_a_long_one(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append(step=1, epoch=0, samples=0, time=0, text="x" * 300_000)
    assert log.last()["step"] == 1  # type: ignore[index]
    log.path.write_bytes(log.path.read_bytes() + b'{"step": 2, "tor' + b"n" * 200_000)
    assert log.last()["step"] == 1  # type: ignore[index]


def test_rewind_moves_later_and_damaged_lines(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for step in (1, 2):
        _append(log, step)
    with log.path.open("ab") as file:
        file.write(b"\x00\xff garbage\n[1]\n" + b'{"no": "step"}\n')
    _append(log, 5)
    assert log.rewind(2) == 4
    assert _steps(log) == [1, 2]
    lost = [json.loads(text) for text in log.lost_path.read_text().splitlines()]
    assert [line.get("step") for line in lost] == [None, None, None, 5]
    assert log.rewind(2) == 0
    _append(log, 3)  # goes on
    assert _steps(log) == [1, 2, 3]


def test_a_rewind_killed_halfway_repeats_without_duplicates(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for step in range(1, 6):
        _append(log, step)
    before = log.path.read_bytes()
    log.rewind(2)
    log.path.write_bytes(before)  # as if killed before the log was replaced
    log.rewind(2)
    assert _steps(log) == [1, 2]
    assert _steps(MetricsLog(log.lost_path)) == [3, 4, 5]


@settings(max_examples=40)
@given(
    attempts=st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8), st.integers(0, 40)), min_size=1, max_size=6),
)
def test_any_history_leaves_each_step_once_and_loses_no_line(
    tmp_path_factory: pytest.TempPathFactory, attempts: list[tuple[int, int, int]]
) -> None:
    log = MetricsLog(tmp_path_factory.mktemp("log") / "metrics.jsonl")
    written: set[tuple[int, int]] = set()
    last = 0
    for number, (length, back, torn) in enumerate(attempts):
        log = MetricsLog(log.path)
        checkpoint = max(0, last - back)
        log.rewind(checkpoint)
        assert _steps(log) == sorted(set(_steps(log)))
        assert all(step <= checkpoint for step in _steps(log))
        for step in range(checkpoint + 1, checkpoint + length + 1):
            log.append(step=step, epoch=0, samples=step, time=number, attempt=number)
            written.add((number, step))
        last = checkpoint + length
        with log.path.open("ab") as file:
            file.write(b'{"step": 99, "torn": "........................'[:torn])
    log.rewind(last)
    everywhere = log.read() + MetricsLog(log.lost_path).read()
    found = [(line["attempt"], line["step"]) for line in everywhere if "step" in line]
    assert sorted(found) == sorted(written)
    assert _steps(log) == list(range(1, last + 1))
