"""The checks of a network that has auxiliary classifiers while it is trained."""

import math

import pytest

from dltk.launch.debugging import Budget
from tests.debug.conftest import Run, fails

SMALL = Budget(batches=3, rate_steps=10, one_batch_steps=300, steps=60, memorise_steps=300, held_out=60, timed_steps=4)

RECIPE = {
    "model": {
        "architecture": "googlenet", "num_classes": 10, "image": [1, 80, 80], "narrow": 8,
        "dropout": 0.0, "auxiliary_dropout": 0.0,
    },
    "task": {"mean": [0.15], "std": [0.3]},
    "data": {"name": "digits", "image_size": 80},
    "optimizer": {"name": "adam", "lr": 0.002},
    "batch": {"global": 16},
    "train": {"epochs": 4},
    "launch": {"accelerator": "cpu"},
}  # fmt: skip


def test_no_check_fails_and_the_first_loss_is_that_of_three_classifiers(checks: Run) -> None:
    findings = checks(RECIPE, budget=SMALL)
    assert not fails(findings), findings
    first = findings["initial loss"].numbers
    assert first["expected"] == pytest.approx(1.6 * math.log(10))
    assert first["loss"] == pytest.approx(first["expected"], abs=1.5)
    assert findings["gradients"].numbers["without"] == []
