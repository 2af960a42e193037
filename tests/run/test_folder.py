"""The run folder: whole from its first moment, never overwritten, readable without torch."""

import contextlib
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from dltk.errors import LaunchError
from dltk.run.folder import RunFolder, find_runs

# What YAML 1.1 would read as something else.
HORRORS = {
    "no": "no", "time": "24:00:00", "octal": "010", "date": "2026-11-22", "exponent": "1e-3", "sexagesimal": "1:30",
    "empty": "", "null": None, "tilde": "~", "small": 1e-5, "big": 10**20, "yes": True, "list": ["on", "off", 1.0],
    "unicode": "größe — 字", "newline": "a\nb: c", "interpolation": "${oc.env:SCRATCH}",
}  # fmt: skip


def test_a_new_run_is_whole_and_reads_back(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "runs", "lenet5", HORRORS, run="first", parent="lenet5/old@10")
    again = RunFolder.open(tmp_path / "runs" / "lenet5" / "first")
    assert again.recipe == HORRORS
    assert type(again.recipe["small"]) is float
    assert (again.name, again.status, again.about["parent"]) == ("lenet5/first", "new", "lenet5/old@10")
    assert again.about["format"] == 1
    assert run.stop_request() is run.summary() is None
    assert sorted(entry.name for entry in run.path.iterdir()) == ["recipe.yaml", "run.json"]
    assert [entry.name for entry in run.path.parent.iterdir()] == ["first"]


def test_the_callers_text_is_kept_as_it_is(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x", {"a": 1}, text="a: 1  # said so\n")
    assert (run.path / "recipe.yaml").read_text() == "a: 1  # said so\n"
    assert run.recipe == {"a": 1}


def test_a_taken_name_is_refused_and_left_alone(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x", {"a": 1}, run="r")
    with pytest.raises(LaunchError, match="run: there is a run named 'r' already"):
        RunFolder.create(tmp_path, "x", {"a": 2}, run="r")
    assert RunFolder.open(run.path).recipe == {"a": 1}
    (tmp_path / "x" / "file").touch()
    with pytest.raises(LaunchError, match="already"):
        RunFolder.create(tmp_path, "x", {"a": 2}, run="file")
    assert sorted(entry.name for entry in (tmp_path / "x").iterdir()) == ["file", "r"]


def test_of_many_makers_of_one_name_one_succeeds(tmp_path: Path) -> None:
    made = []

    def make(number: int) -> None:
        with contextlib.suppress(LaunchError):
            made.append((RunFolder.create(tmp_path, "x", {"a": number}, run="r"), number))

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ((run, number),) = made
    assert run.recipe == {"a": number}


def test_names_made_up_do_not_collide(tmp_path: Path) -> None:
    assert len({RunFolder.create(tmp_path, "x", {}).path for _ in range(30)}) == 30


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a\nb", "-x", "x" * 200, "a b"])
def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LaunchError, match="is not a name"):
        RunFolder.create(tmp_path, "x", {}, run=name)
    with pytest.raises(LaunchError, match="is not a name"):
        RunFolder.create(tmp_path, name, {}, run="x")


def test_other_folders_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="no such folder"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(LaunchError, match=r"not a run folder \(it has no recipe.yaml\)"):
        RunFolder.open(tmp_path)


def test_a_newer_format_is_refused_in_one_line(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x", {}, run="r")
    (run.path / "run.json").write_text('{"format": 2}')
    with pytest.raises(LaunchError) as caught:
        RunFolder.open(run.path)
    assert str(caught.value) == f"{run.path}/run.json: format: 2 is newer than this dltk, which reads 1. Update dltk."
    problems: list[str] = []
    assert find_runs(tmp_path, problems=problems) == []
    assert problems == [str(caught.value)]


@pytest.mark.parametrize("text", ["a: [", "- a", "!!python/object/apply:os.system ['touch ran']", "\x00", ""])
def test_a_damaged_recipe_is_one_line_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunFolder.create(tmp_path, "x", {}, text=text)
    with pytest.raises(LaunchError) as caught:
        _ = RunFolder.open(run.path).recipe
    assert "\n" not in str(caught.value)
    assert not Path("ran").exists()


def test_the_status_follows_lease_ledger_and_summary(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x", {}, run="r")
    for code, status in ((85, "preempted"), (130, "interrupted"), (1, "crashed"), (86, "crashed"), (0, "crashed")):
        with run.lease():
            assert run.status == "running"
            number = run.ledger.begin({})
        assert run.status == "lost"
        run.ledger.end(number, "whatever", code, 1)
        assert run.status == status
    run.write_summary({"status": "done", "metrics": {"val/loss": float("nan")}})
    assert run.status == "done"  # only a 0 with a summary that says so


def test_a_killed_attempt_is_lost_and_ends_with_its_heartbeat(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x", {}, run="r")
    code = textwrap.dedent("""
        import os, signal, sys
        from dltk.run.folder import RunFolder
        run = RunFolder.open(sys.argv[1])
        run.lease()
        run.ledger.begin({"step": 0})
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    subprocess.run([sys.executable, "-c", code, run.path], check=False)
    assert run.status == "lost"
    with run.lease():
        run.ledger.begin({"step": 0})
    assert run.ledger.attempts()[0]["reason"].startswith(f"unknown, last heartbeat {time.strftime('%Y')}")


def test_a_stop_is_asked_seen_and_cleared(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x", {}, run="r")
    run.request_stop("job script", "USR1", requeue=True)
    request = run.stop_request()
    assert request is not None
    assert (request["who"], request["why"], request["requeue"]) == ("job script", "USR1", True)
    run.clear_stop()
    run.clear_stop()
    assert run.stop_request() is None


@pytest.mark.parametrize("text", ["", "please stop", '{"who": "a', "\xff"])
def test_a_stop_made_by_hand_stops_and_does_not_come_back(tmp_path: Path, text: str) -> None:
    run = RunFolder.create(tmp_path, "x", {}, run="r")
    (run.path / "STOP").write_text(text, encoding="latin1")
    request = run.stop_request()
    assert request is not None
    assert request["requeue"] is False


def test_readers_never_meet_half_a_summary(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x", {}, run="r")
    run.write_summary({"number": 0, "padding": "x" * 100_000})
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            run.write_summary({"number": number, "padding": "x" * 100_000})

    thread = threading.Thread(target=write)
    thread.start()
    try:
        seen = [run.summary() for _ in range(200)]
    finally:
        stop.set()
        thread.join()
    assert all(summary and len(summary["padding"]) == 100_000 for summary in seen)
    assert sorted(entry.name for entry in run.path.iterdir()) == ["recipe.yaml", "run.json", "summary.json"]


def test_a_damaged_summary_is_none(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x", {}, run="r")
    (run.path / "summary.json").write_text('{"status": "do')
    assert run.summary() is None


def test_predictions_have_a_place(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x", {}, run="r")
    assert run.predictions_path("test", "ten_crop").relative_to(run.path) == Path("predictions/test-ten_crop.jsonl")
    with pytest.raises(AssertionError):
        run.predictions_path("../test", "x")


def test_runs_are_found_by_pattern_and_others_passed_over(tmp_path: Path) -> None:
    for recipe, run in (("a", "1"), ("a", "2"), ("b", "1")):
        RunFolder.create(tmp_path, recipe, {}, run=run)
    RunFolder.create(tmp_path / "site", "c", {}, run="deep")
    RunFolder.create(tmp_path / "a/1/wandb", "no", {}, run="inside-a-run")
    RunFolder.create(tmp_path / "1/2/3/4", "no", {}, run="too-deep")
    (tmp_path / "a" / "3").mkdir()
    (tmp_path / "a" / "notes.txt").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [run.name for run in find_runs(tmp_path)] == ["a/1", "a/2", "b/1", "c/deep"]
    assert [run.name for run in find_runs(tmp_path, "a")] == ["a/1", "a/2"]
    assert [run.name for run in find_runs(tmp_path, "*/1")] == ["a/1", "b/1"]
    assert find_runs(tmp_path / "none") == []


def test_listing_runs_imports_nothing_heavy(tmp_path: Path) -> None:
    for number in range(40):
        run = RunFolder.create(tmp_path, "x", {}, run=f"r{number}")
        run.ledger.end(run.ledger.begin({}), "done", 0, 1)
        run.write_summary({"status": "done"})
    code = textwrap.dedent("""
        import sys
        import dltk.run.claim, dltk.run.folder, dltk.run.lease, dltk.run.ledger, dltk.run.metrics_log
        runs = dltk.run.folder.find_runs(sys.argv[1])
        assert [(run.status, run.summary()["status"]) for run in runs] == [("done", "done")] * 40
        heavy = {"torch", "wandb", "numpy", "scipy", "lightning", "pandas"} & set(sys.modules)
        assert not heavy, heavy
    """)
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)


def test_a_folder_without_rights_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()  # a file where a folder should be: root has every right
    with pytest.raises(LaunchError, match="cannot make the run folder"):
        RunFolder.create(tmp_path / "runs", "x", {})


def test_other_packages_than_those_that_checked_the_recipe(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x", {}, run="r")
    job = run.new_job()
    job.mkdir(parents=True)
    run.keep_versions(job)
    run.note_job("slurm", "7", str(job / "train.sbatch"), {})
    assert run.other_versions() == []
    checked = json.loads((job / "packages.json").read_text())
    mine = checked["numpy"]
    (job / "packages.json").write_text(json.dumps({**checked, "numpy": "1.0", "webdataset2": "3"}))
    assert run.other_versions() == [f"numpy {mine} (not 1.0)", "webdataset2 missing (not 3)"]


def test_what_took_how_long_is_kept_beside_the_environment(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x", {}, run="r")
    assert run.longest_save is None
    run.write_environment({"seconds": {"compose": 1.0}})
    run.note_seconds({"compose": 0.5, "data": 2.0})
    for seconds in (0.3, 0.7, 0.5):
        run.note_save(seconds)
    known = json.loads((run.path / "environment.json").read_text())
    assert (known["seconds"], known["longest_save"]) == ({"compose": 1.5, "data": 2.0}, 0.7)
    run.write_environment({"seconds": {}})  # of the next attempt
    again = RunFolder.open(run.path)
    again.note_save(0.6)
    assert again.longest_save == 0.7
    assert json.loads((run.path / "environment.json").read_text())["seconds"] == {}


def test_environment_goes_into_the_folder(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x", {}, run="r")
    run.write_environment({"world_size": 1})
    assert json.loads((run.path / "environment.json").read_text())["world_size"] == 1
    assert os.path.getsize(run.path / "environment.json") > 100
