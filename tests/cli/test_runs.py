"""`dltk runs`: which runs there are, in which order, with what of each; how far those are that train."""

import time
from pathlib import Path

import pytest

from dltk.cli.runs import headline
from dltk.run.lease import Lease
from dltk.run.ledger import clock_text
from tests.cli.conftest import Command
from tests.compare.generated import lines, made


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("listed") / "runs"
    for seed, error in enumerate((5.0, 3.0, 4.0)):
        changes = {"optimizer.lr": 10.0**-seed, "train.seed": seed}
        made(folder, f"small/seed-{seed}", changes, metrics={"test/top1_error": error})
    made(folder, "other/new", log=[], attempts=[], done=False)
    return folder


def names(dltk: Command, runs: Path, *options: str) -> list[str]:
    return [one["run"] for one in dltk("runs", runs, *options, "--json").json]


def test_runs_are_filtered_by_anything_that_they_have(dltk: Command, runs: Path) -> None:
    assert names(dltk, runs) == ["new", "seed-0", "seed-1", "seed-2"]
    assert names(dltk, runs, "--where", "status=done", "--where", "optimizer.lr<0.5") == ["seed-1", "seed-2"]
    assert names(dltk, runs, "--where", "test/top1_error>=4") == ["seed-0", "seed-2"]
    assert names(dltk, runs, "--where", "recipe!=sm*") == ["new"]
    assert names(dltk, runs, "--where", "train.seed=1") == ["seed-1"]
    assert names(dltk, runs, "--where", "claim=null") == ["new", "seed-0", "seed-1", "seed-2"]


def test_runs_are_ordered_and_shown_by_keys(dltk: Command, runs: Path) -> None:
    assert names(dltk, runs, "--sort", "test/top1_error") == ["seed-1", "seed-2", "seed-0", "new"]
    assert names(dltk, runs, "--sort=-optimizer.lr") == ["seed-0", "new", "seed-1", "seed-2"]
    assert names(dltk, runs, "--where", "recipe=small", "--sort", "-optimizer.lr") == ["seed-0", "seed-1", "seed-2"]
    said = dltk("runs", runs, "--columns", "optimizer.lr,train.seed", "--where", "status=done")
    assert "3 of 4 runs" in said.out
    assert [line.split() for line in said.out.splitlines() if "seed-1" in line] == [
        ["small/seed-1", "done", "400", "0.1", "1"]
    ]
    answer = dltk("runs", runs, "--columns", "optimizer.lr", "--json").json
    assert answer[-1]["columns"] == {"optimizer.lr": 0.01}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--sort", "optimizer.rl"], "--sort: no run has 'optimizer.rl'. Did you mean 'optimizer.lr'?"),
        (["--columns", "test/top1"], "--columns: no run has 'test/top1'. Did you mean 'test/top1_error'?"),
        (
            ["--where", "optimizer.lr"],
            "--where 'optimizer.lr': is no condition. Write KEY=VALUE; != < > <= >= are there",
        ),
        (["--where", "step<many"], "--where '…<many': 'many' is no number. Compare texts by = and !=."),
    ],
)
def test_mistakes(dltk: Command, runs: Path, options: list[str], line: str) -> None:
    said = dltk("runs", runs, *options)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(line)


def test_a_run_that_trains_shows_how_far_it_is(dltk: Command, tmp_path: Path) -> None:
    """It began a hundred seconds ago at step 100, is at step 200, and goes to 400: two hundred seconds are left."""
    now = time.time()
    log = lines(200)
    log[-1]["time"] = now
    begun = {"attempt": 1, "event": "start", "time": clock_text(now - 100), "step": 100, "world_size": 1}
    run = made(tmp_path / "runs", log=log, attempts=[begun], done=False)
    run.keep_index("a", 300)
    run.keep_index("b", 400)
    assert (run.index, run.steps) == ("a", 400)
    with Lease(run.path / "LEASE"):
        (one,) = dltk("runs", tmp_path / "runs", "--json").json
        assert (one["status"], one["step"], one["steps"]) == ("running", 200, 400)
        assert one["left"] == pytest.approx(200, abs=15)
        assert "200 of 400 (50 %)" in dltk("runs", tmp_path / "runs").out
    assert "steps" not in dltk("runs", tmp_path / "runs", "--json").json[0]


@pytest.mark.parametrize(("metrics", "told"), [
    ({"test/loss": 0.3, "test/too_short": 0.0, "test/label_error": 1.5}, "test/label_error 1.5"),
    ({"test/loss": 2.0, "test/token_loss": 1.0, "test/perplexity": 7.5}, "test/perplexity 7.5"),
    ({"val/top1_error": 4.0, "test/loss": 2.0}, "test/loss 2"),
    ({"test/loss": 2.0, "test/own_score": 3.0}, "test/own_score 3"),
    ({"train/lr": 0.1, "train/loss": 2.0, "time/data_wait": 0.0}, "train/loss 2"),
    ({"time/data_wait": 0.5}, "time/data_wait 0.5"),
    ({}, "–"),
])  # fmt: skip
def test_the_number_that_tells_most(metrics: dict[str, float], told: str) -> None:
    assert headline(metrics) == told


def test_a_long_name_stays_on_one_line_where_no_terminal_shows_it(
    dltk: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)  # tests in several processes have it
    name = "small/" + ",".join(f"optimizer.lr=0.{number}" for number in range(3))
    made(tmp_path / "runs", name, metrics={"test/top1_error": 3.0})
    said = dltk("runs", tmp_path / "runs")
    assert [line.split() for line in said.out.splitlines() if name in line] == [
        [name, "done", "400", "test/top1_error", "3"]
    ]
