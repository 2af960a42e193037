"""Every claim of ours rests on a recorded result, and the record on the recipe as it is today."""

from pathlib import Path
from typing import Any

import pytest

from dltk import recipe
from dltk.run.claim import Claim, verdict
from dltk.run.protocol import KINDS, Protocol
from tests.claims.record import compared, counted, groups, others, out_of_date, results


def measured() -> list[Path]:
    """Recipes whose claim was measured here."""
    claims = {path: recipe.load(path, check_model=False).settings["claim"] for path in recipe.recipes()}
    return [path for path, claim in claims.items() if claim is not None and claim["source"] == "measured"]


def test_claims_were_measured() -> None:
    assert len(measured()) >= 8


@pytest.mark.parametrize("path", measured(), ids=lambda path: path.stem)
def test_record_belongs_to_the_recipe(path: Path) -> None:
    loaded = recipe.load(path, check_model=False)
    record: dict[str, Any] | None = results().get(path.stem)
    again = f"record it with `python tests/claims/record.py {path.name}`"
    assert record is not None, f"{path.name} was never measured: {again}"
    changed = out_of_date(record, loaded)
    assert not changed, f"the record of {path.name} is stale, for {', '.join(changed)} changed: {again}"
    claim = Claim(**loaded["claim"])
    assert record["protocol"] == claim.protocol
    assert record["metric"] == claim.metric
    assert verdict(list(record["values"].values()), claim).text == "PASS"


def test_other_protocols_were_measured_on_the_runs_of_the_record() -> None:
    measured_otherwise = [(one, name, found) for one in results().values() for name, found in others(one)]
    assert measured_otherwise
    for one, name, found in measured_otherwise:
        protocol = Protocol.read(name)
        assert protocol is not None
        assert protocol.kind in KINDS
        assert list(found["values"]) == [",".join(seeds) for seeds in groups(list(one["values"]), protocol.members)]
        assert compared(found["values"], one["values"]).items() <= found.items()


def test_a_change_makes_a_record_stale_and_a_new_default_does_not() -> None:
    path = recipe.find("lenet5_digits")
    loaded = recipe.load(path, check_model=False)
    record = {"settings": counted(loaded.settings)}
    assert out_of_date(record, loaded) == []
    assert out_of_date(record, recipe.load(path, "train.epochs=99", check_model=False)) == ["train.epochs"]
    before = {"settings": {key: value for key, value in record["settings"].items() if key != "train.ema"}}
    assert out_of_date(before, loaded) == []
    assert out_of_date(before, recipe.load(path, "train.ema=0.9", check_model=False)) == ["train.ema"]


def test_the_article_s_order_of_methods_on_mnist() -> None:
    """A ConvNet is better than the kernel machine, and that better than a linear classifier."""
    error = {name: record["mean"] for name, record in results().items()}
    assert error["lenet5_mnist5000"] < error["kernel_mnist5000"] < error["linear_mnist5000"]
    assert error["lenet5_mnist5000"] <= 3.5
    assert error["lenet5_digits"] <= 0.7
