"""The attempts of a run, also those that could not say how they ended."""

import os
from pathlib import Path

from dltk.run.ledger import Ledger


def test_an_attempt_is_one_object(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    number = ledger.begin({"host": "a", "world_size": 2, "step": 10})
    ledger.note(number, "launch.devices: 1 -> 2")
    ledger.end(number, "done", 0, 30)
    (attempt,) = Ledger(tmp_path / "ledger.jsonl").attempts()
    assert number == attempt["attempt"] == 1
    assert (attempt["host"], attempt["world_size"]) == ("a", 2)
    assert (attempt["first_step"], attempt["step"], attempt["steps"]) == (10, 30, 20)
    assert (attempt["reason"], attempt["exit_code"], attempt["notes"]) == ("done", 0, ["launch.devices: 1 -> 2"])
    assert attempt["start"] <= attempt["end"]


def test_a_killed_attempt_gets_its_end_from_the_next(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.begin({})
    ledger.last_heartbeat = 1e9
    assert ledger.begin({}) == 2
    first, second = ledger.attempts()
    assert first["reason"] == "unknown, last heartbeat 2001-09-09T01:46:40Z"
    assert (first["exit_code"], first["end"]) == (None, "2001-09-09T01:46:40Z")
    assert second["end"] is None


def test_without_a_heartbeat_the_last_metrics_say_when(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.begin({})
    os.utime(tmp_path / "ledger.jsonl", (5e8, 5e8))
    (tmp_path / "metrics.jsonl").touch()
    os.utime(tmp_path / "metrics.jsonl", (1e9, 1e9))
    ledger.begin({})
    assert ledger.attempts()[0]["end"] == "2001-09-09T01:46:40Z"


def test_torn_and_foreign_lines_are_borne(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.end(ledger.begin({}), "done", 0, 1)
    with (tmp_path / "ledger.jsonl").open("a") as file:
        file.write('{"attempt": "x", "event": "start"}\n[]\n{"attempt": 2, "event": "sta')
    assert len(ledger.attempts()) == 1
    assert ledger.begin({}) == 2
    assert [attempt["attempt"] for attempt in ledger.attempts()] == [1, 2]
