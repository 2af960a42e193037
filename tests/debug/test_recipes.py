"""No false FAIL on any shipped recipe, and the command itself."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dltk import recipe
from dltk.cli import run
from dltk.cli.validate import data_facts
from dltk.errors import DataError
from dltk.launch.debugging import Budget, Verdict
from tests.debug.conftest import Run, fails

RECIPES = [path.stem for path in recipe.recipes()]
CPU = "launch.accelerator=cpu"


@pytest.mark.parametrize("name", ["lenet5_digits", "kernel_digits", "next_label_tones"])
def test_some_recipes_with_a_small_budget(name: str, checks: Run) -> None:
    findings = checks(name, CPU, budget=Budget(batches=4, rate_steps=15, steps=60, held_out=100, timed_steps=8))
    assert not fails(findings), findings
    assert Verdict.INCONCLUSIVE not in {finding.verdict for finding in findings.values()}


Here = Callable[[str], tuple[str, ...]]


@pytest.fixture
def here(request: pytest.FixtureRequest) -> Here:
    """A recipe with its data; left out where these, or a run that it begins with, are not here (--data-dir)."""
    folder = request.config.getoption("--data-dir")
    place = [f"data_dir={folder}"] if folder else []

    def sources(name: str) -> tuple[str, ...]:
        if name == "lenet5_mnist":
            return name, CPU, "data.name=mnist5000"
        settings = recipe.load(name, *place, check_model=False).settings
        try:
            data_facts(settings)
        except DataError as missing:
            pytest.skip(f"{name}: {missing}")
        if absent := [entry["from"] for entry in settings["init"] if not Path(entry["from"]).exists()]:
            pytest.skip(f"{name} begins with {absent[0]}, which is not here")
        return name, CPU, *place

    return sources


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", RECIPES)
def test_no_false_fail(name: str, here: Here, checks: Run) -> None:
    findings = checks(*here(name), budget=Budget())
    assert not fails(findings), findings


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", [name for name in RECIPES if recipe.load(name, check_model=False)["optimizer"]])
def test_a_rate_1000_times_too_high(name: str, here: Here, checks: Run) -> None:
    rate = recipe.load(name, check_model=False)["optimizer"]["lr"]
    findings = checks(*here(name), f"optimizer.lr={1000 * rate}", budget=Budget())
    assert fails(findings) == ["learning rate"], findings


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = ["debug", "linear_digits", CPU, "launch.threads=1"]
    assert run([*wanted, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["parameters"]) == (True, 650)
    assert [layer["output"] for layer in answer["layers"]] == [[1, 8, 8], [10]]
    assert set(answer["checks"][0]) == {"check", "verdict", "says", "numbers", "remedy"}
    assert {check["verdict"] for check in answer["checks"]} == {"PASS", "not applicable"}
    assert run([*wanted, "optimizer.lr=100.0"]) == 1
    out = capsys.readouterr().out
    assert "1 × 8 × 8" in out
    assert "FAIL           learning rate" in out
    assert "INCONCLUSIVE   one batch      because 'learning rate' fails" in out
    assert out.splitlines()[-1] == "1 of 9 checks fail: learning rate"
    assert list(tmp_path.iterdir()) == []


def test_missing_data_are_one_line_and_2(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["debug", "lenet5_mnist", f"data_dir={tmp_path}"]) == 2
    said = capsys.readouterr()
    assert not said.out
    assert len(said.err.splitlines()) == 1
    assert "data.download=true" in said.err or str(tmp_path) in said.err


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["debug", "--help"]) == 0
    assert "dltk debug lenet5_digits" in capsys.readouterr().out
