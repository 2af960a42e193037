"""`dltk reproduce`: a verdict from runs that are there, what is refused, and training what is missing."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dltk.recipe import Recipe, freeze, load, with_changes
from dltk.run.folder import RunFolder
from tests.cli.conftest import Command
from tests.compare.generated import attempt

RECIPE = """name: quick
model: {architecture: linear, num_classes: 10, image: [1, 8, 8]}
task: {loss: cross_entropy}
data: {name: digits}
optimizer: {name: sgd, lr: 0.1}
batch: {global: 32}
train: {steps: 20, validate_every: 10}
log: {wandb: disabled}
claim: {metric: test/top1_error, value: 30, tolerance: 2, seeds: 3, cost: 1 s}
"""


@pytest.fixture(autouse=True)
def inside(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "quick.yaml").write_text(RECIPE)
    before = Path.cwd()
    os.chdir(tmp_path)
    yield
    os.chdir(before)


def finished(
    name: str, seed: int, error: float, changes: dict[str, Any] | None = None, *, index: str = "a", **measured: Any
) -> RunFolder:
    """A run of the recipe that has this error on the test part."""
    loaded = load("quick.yaml", check_model=False)
    settings = with_changes(loaded.settings, {"train.seed": seed, **(changes or {})})
    run = RunFolder.create("runs", "quick", settings, run=name, text=freeze(Recipe("quick", settings)))
    (run.path / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in attempt(1, 0, 9)))
    said = {"split": "test", "protocol": "single_crop", "checkpoint": 20, "samples": 359, "contents": None}
    said |= {"metrics": {"test/top1_error": error}} | measured
    run.write_summary({"status": "done", "step": 20, "evaluation": said, "index": index})
    return run


@pytest.mark.parametrize(
    ("errors", "options", "code", "line"),
    [
        ((30, 31, 29), (), 0, "PASS: test/top1_error 30.0 ± 2.5 (3 seeds), claimed 30 ± 2"),
        ((35, 36, 34), (), 1, "FAIL: test/top1_error 35.0 ± 2.5 (3 seeds), claimed 30 ± 2"),
        ((25, 26, 24), (), 0, "better than claimed."),
        ((30, 31), (), 1, "1 of 3 seeds are missing."),
        ((30, 31), ("--seeds", 2), 0, "PASS: test/top1_error"),
        ((), (), 1, "UNTESTED: test/top1_error: no run yet"),
    ],
)
def test_runs_that_are_there_are_judged(
    dltk: Command, errors: tuple[float, ...], options: tuple[Any, ...], code: int, line: str
) -> None:
    for seed, error in enumerate(errors):
        finished(f"seed-{seed}", seed, error)
    finished("another", 0, 99, {"optimizer.lr": 9.0})  # of other settings, which says nothing
    said = dltk("reproduce", "quick.yaml", "--existing", *options)
    assert (said.code, said.err) == (code, "")
    assert line in said.out
    assert "another" not in said.out


def test_what_says_nothing_is_named_with_the_reason(dltk: Command) -> None:
    finished("a", 0, 30, protocol="ten_crop")
    finished("b", 1, 30)
    finished("c", 1, 31)
    crashed = finished("d", 2, 30)
    (crashed.path / "summary.json").unlink()
    answer = dltk("reproduce", "quick.yaml", "--existing", "--json").json
    assert [(Path(one["run"]).name, one["seed"], one["value"]) for one in answer["runs"]] == [
        ("a", 0, None),
        ("b", 1, 30),
        ("d", 2, None),
    ]
    assert answer["runs"][0]["why"] == "measured on test by ten_crop, not on test by single_crop"
    assert answer["runs"][2]["why"] == "the run is not finished"
    assert (answer["verdict"], answer["n"], answer["recipe"]) == ("UNTESTED", 1, "quick")


def test_what_would_change_the_result_is_refused(dltk: Command) -> None:
    finished("wide", 0, 30, {"batch.global": 64})
    finished("a", 0, 30)
    finished("b", 1, 30, index="b")
    for words, said in (
        (["batch.global=64"], "quick.yaml: batch.global: the claim is of 32, not of 64. Leave it out;"),
        (["claim.tolerance=50"], "quick.yaml: claim.tolerance: the claim is of 2.0, not of 50.0. Leave it out;"),
        (["--from", "quick/wide"], "quick/wide: batch.global: the run has 64, the claim is of 32. Leave it out."),
        ([], "quick/b: data: was trained on other data than runs/quick/a, by the hash of their keys."),
        (["--from", "quick/nowhere"], "quick/nowhere: no run has this name. Did you mean 'quick/wide'?"),
    ):
        found = dltk("reproduce", "quick.yaml", "--existing", *words)
        assert (found.code, found.out) == (2, "")
        assert said in found.err
    assert dltk("reproduce", "quick.yaml", "--existing", "--from", "quick/a", "launch.threads=1").code == 1
    Path("nothing.yaml").write_text(RECIPE.partition("claim:")[0])
    assert "claim: there is none, so nothing can be reproduced" in dltk("reproduce", "nothing.yaml").err


def test_a_protocol_that_nothing_measures_is_not_trained_for(dltk: Command) -> None:
    for protocol, why in (
        ("multibleu_beam", "nothing here measures by multibleu_beam"),
        (
            "single_crop+ensemble=3",
            "single_crop+ensemble=3 is of several runs together, which `dltk evaluate` measures",
        ),
    ):
        Path("other.yaml").write_text(RECIPE.replace("seeds: 3", f"seeds: 3, protocol: {protocol}"))
        said = dltk("reproduce", "other.yaml")
        assert (said.code, f"UNTESTED: test/top1_error: {why}; claimed 30 ± 2" in said.out) == (1, True)
        assert not Path("runs").exists()


def test_missing_seeds_are_trained(dltk: Command, signals: None) -> None:
    said = dltk("reproduce", "quick.yaml", "--seeds", 1, "launch.threads=1", "--json")
    assert "seeds 0 of quick are trained (about 1 s each where it was measured)" in said.err
    (one,) = said.json["runs"]
    assert (one["run"], one["seed"], one["why"]) == ("runs/quick/seed-0", 0, None)
    assert said.json["mean"] == one["value"]
    trained = RunFolder.open("runs/quick/seed-0")
    assert trained.status == "done"
    assert trained.steps == 20
    finished("mine", 1, 30, index=str(trained.index))
    said = dltk("reproduce", "quick.yaml", "--seeds", 2)
    assert said.err == "", "what is there is trained again"
    assert "2 seeds" in said.out
