"""How results are recorded: other protocols beside the claim's own, and the table of them."""

import json
import sys
from pathlib import Path

import pytest

from dltk.cli import run
from tests.claims import record

OWN = {"0": 40.0, "1": 46.0, "2": 43.0}


def test_differences_are_paired_by_seed() -> None:
    found = record.compared({"0": 39.0, "1": 45.0, "2": 42.0}, OWN)
    assert (found["mean"], found["difference"]) == (42.0, -1.0)
    assert (found["low"], found["high"]) == (-1.0, -1.0), "the spread of the seeds is no spread of their differences"
    found = record.compared({"0": 39.0, "1": 44.0, "2": 40.0}, OWN)
    assert found["difference"] == pytest.approx(-2.0)
    assert found["high"] - found["low"] == pytest.approx(2 * 4.302653 / 3**0.5)  # Student's t of -1, -2, -3


def test_an_ensemble_stands_beside_the_mean_of_its_members() -> None:
    found = record.compared({"0,1": 41.5}, OWN)
    assert (found["mean"], found["difference"], found["low"], found["high"]) == (41.5, -1.5, None, None)


def test_seeds_are_measured_alone_or_the_first_of_them_together() -> None:
    assert record.groups(["0", "1", "2"], 1) == [("0",), ("1",), ("2",)]
    assert record.groups(["0", "1", "2"], 2) == [("0", "1")]
    with pytest.raises(SystemExit, match="an ensemble of 5 needs as many seeds, there are 3"):
        record.groups(["0", "1", "2"], 5)


def test_the_table_of_protocols() -> None:
    ten = record.compared({"0": 39.0, "1": 44.0, "2": 40.0}, OWN)
    three = record.compared({"0,1,2": 40.0}, OWN)
    rows = list(record.protocol_rows({"b": {"protocols": {"ten_crop": ten, "dense+ensemble=3": three}}, "a": {}}))
    assert rows[-2:] == ["| `b` | ten_crop | 41.00 | -2.00 ± 2.48 |", "| `b` | dense+ensemble=3 | 40.00 | -3.00 |"]
    assert list(record.protocol_rows({"a": {}})) == []


def test_one_seed_has_no_interval() -> None:
    assert record.between(12.34, None) == "12.34"
    assert record.between(12.34, 12.0) == "12.34 ± 0.34"


def test_what_a_recipe_begins_with_is_trained_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not there, and a recipe of ours trains it."""
    chosen = Path("recipes/transducer_tones_pretrained.yaml").absolute()
    monkeypatch.chdir(tmp_path)
    assert record.begins_with(chosen) == [Path("runs/blstm_tones/first"), Path("runs/next_label_tones/first")]
    Path("runs/blstm_tones/first").mkdir(parents=True)
    assert record.begins_with(chosen) == [Path("runs/next_label_tones/first")]
    assert record.begins_with(chosen.with_name("blstm_tones.yaml")) == []


def test_data_that_are_missing_stop_it_before_any_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    recipes = ["recipes/linear_digits.yaml", "recipes/alexnet_icons.yaml", "recipes/alexnet_imagenet2012.yaml"]
    monkeypatch.setattr(sys, "argv", ["record.py", *recipes, "--runs", str(tmp_path / "runs")])
    with pytest.raises(SystemExit) as end:
        record.main()
    assert end.value.code == 2
    said = capfd.readouterr()
    assert "recipes/alexnet_imagenet2012.yaml: no claim of ours, left untested" in said.out
    assert "data_dir: is not set. Set data_dir=FOLDER or DLTK_DATA to where 'icons' lies" in said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_a_recipe_is_recorded_and_measured_by_other_protocols(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "quick.yaml"
    text = Path("recipes/linear_digits.yaml").read_text().splitlines()
    kept = [line for line in text if not line.startswith(("train:", "claim:"))]
    claim = "claim: {metric: test/top1_error, value: 50, tolerance: 50, seeds: 2}"
    recipe.write_text("\n".join([*kept, "train: {epochs: 1}", claim, ""]))
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results.json")
    runs = tmp_path / "runs"
    place = ["--place", "launch.threads=1", "--place", "data.workers=0"]
    arguments = ["record.py", str(recipe), "--runs", str(runs), *place]
    monkeypatch.setattr(sys, "argv", [*arguments, "--protocol", "single_crop+ensemble=2"])
    record.main()
    found = record.results()["quick"]
    assert (sorted(found["values"]), found["verdict"]) == (["0", "1"], "PASS")
    assert run(["evaluate", str(runs / "quick/seed-0"), str(runs / "quick/seed-1"), "--json"]) == 0
    together = json.loads(capsys.readouterr().out)["metrics"]["test/top1_error"]
    assert found["protocols"]["single_crop+ensemble=2"]["values"] == {"0,1": pytest.approx(together)}
    monkeypatch.setattr(sys, "argv", arguments)
    record.main()
    again = record.results()["quick"]
    assert again["values"] == found["values"]
    assert again["protocols"] == found["protocols"], "what was measured before is measured again"
