"""Every claim of ours rests on a recorded result, and the record on the recipe as it is today."""

from pathlib import Path
from typing import Any

import pytest

from dltk import recipe
from dltk.run.claim import Claim, verdict
from tests.claims.record import results


def measured() -> list[Path]:
    """Recipes whose claim was measured here."""
    claims = {path: recipe.load(path, check_model=False).settings["claim"] for path in recipe.recipes()}
    return [path for path, claim in claims.items() if claim is not None and claim["source"] == "measured"]


def test_claims_were_measured() -> None:
    assert len(measured()) >= 8


@pytest.mark.parametrize("path", measured(), ids=lambda path: path.stem)
def test_record_belongs_to_the_recipe(path: Path) -> None:
    settings = recipe.load(path, check_model=False).settings
    record: dict[str, Any] | None = results().get(path.stem)
    again = f"record it with `python tests/claims/record.py {path.name}`"
    assert record is not None, f"{path.name} was never measured: {again}"
    assert record["recipe"] == recipe.recipe_hash(settings), f"the record of {path.name} is stale: {again}"
    claim = Claim(**settings["claim"])
    assert record["protocol"] == claim.protocol
    assert record["metric"] == claim.metric
    assert verdict(list(record["values"].values()), claim).text == "PASS"


def test_the_article_s_order_of_methods_on_mnist() -> None:
    """A ConvNet is better than the kernel machine, and that better than a linear classifier."""
    error = {name: record["mean"] for name, record in results().items()}
    assert error["lenet5_mnist5000"] < error["kernel_mnist5000"] < error["linear_mnist5000"]
    assert error["lenet5_mnist5000"] <= 3.5
    assert error["lenet5_digits"] <= 0.7
