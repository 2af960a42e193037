"""Each planted fault is found by the check made for it, and by no other."""

from dataclasses import replace
from typing import Any

import pytest

from dltk import recipe
from dltk.launch.debugging import Budget, Context, Verdict
from dltk.launch.debugging.held_out import Measured
from dltk.launch.debugging.training import train
from tests.debug.conftest import SMALL, Run, fails, small_recipe

NET, DATA, FLIP = "planted_faults.parts:Sound", "planted_faults.parts:Data", "planted_faults.parts:Flip"


def net(fault: str) -> dict[str, Any]:
    return {"model": {"architecture": NET, "fault": fault}}


def data(fault: str = "", **settings: Any) -> dict[str, Any]:
    return {"data": {"name": DATA, "fault": fault, **settings}}


FAULTS = {
    "detached loss": ({"task": {"name": "planted_faults.parts:Detached"}}, "gradients", "it is detached"),
    "detached layer": (net("blind"), "gradients", "'first.weight', 'first.bias' get none"),
    "parameter not used": (net("unused"), "gradients", "'spare.weight', 'spare.bias' get none"),
    "dead layer": (net("dead"), "dead units", "after 'second' are zero on all 128 samples"),
    "nan in the network": (net("nan"), "finite", "is NaN or infinite"),
    "nan in the data": (data("nan"), "finite", "'image' of the sample 'digits/"),
    "rate x 1000": ({"optimizer": {"name": "sgd", "lr": 100.0, "momentum": 0.9}}, "learning rate", "Set optimizer.lr="),
    "adam x 1000": ({"optimizer": {"name": "adam", "lr": 1.0}}, "learning rate", "Set optimizer.lr="),
    "shuffled labels": (data("shuffled"), "held-out", "The labels say nothing of the images"),
    "unseeded augmentation": (data(augment={"name": FLIP, "source": "own"}), "same seed", f"augmentation '{FLIP}'"),
    "augmentation by numpy": (data(augment={"name": FLIP, "source": "numpy"}), "same seed", "the batches differ"),
    "augmentation by python": (data(augment={"name": FLIP, "source": "python"}), "same seed", "the batches differ"),
    "augmentation by torch": (data(augment={"name": FLIP, "source": "torch"}), "same seed", "the batches differ"),
    "augmentation with memory": (data(augment={"name": FLIP, "source": "state"}), "same seed", "keep no state"),
    "unseeded data": (data("noise"), "same seed", "The data set draws at random"),
    "unseeded first weights": (net("unseeded"), "same seed", "differ before the first step, first in 'last.weight'"),
    "unseeded noise": (net("noise"), "same seed", "the weights differ after 4 steps"),
    "first weights too large": (
        net("loud") | {"optimizer": {"name": "sgd", "lr": 0.01}},
        "initial loss",
        "scale the images",
    ),
    "softmax twice": (net("softmax_twice"), "one batch", "Look at what the scores pass through"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_by_its_check_alone(fault: str, checks: Run) -> None:
    changes, check, words = FAULTS[fault]
    patient = replace(SMALL, one_batch_steps=500) if fault == "softmax twice" else SMALL
    findings = checks(small_recipe(**changes), budget=patient)
    finding = findings[check]
    assert fails(findings) == [check], findings
    assert words in f"{finding.says} {finding.remedy}"
    assert finding.remedy
    for name, other in findings.items():
        if other.verdict is Verdict.INCONCLUSIVE and name != "held-out":
            assert other.says == f"because '{check}' fails"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        data(augment={"name": FLIP, "source": "given"}),
        net("begins_at_zero"),
        {"batch": {"global": 32, "accumulate": 2}},
        {"optimizer": {"name": "adam", "lr": 0.01}, "schedule": {"name": "cosine", "warmup": 0.1}},
    ],
    ids=["plain", "augmented", "a layer that begins at zero", "two passes", "warm-up"],
)
def test_a_sound_recipe_passes(changes: dict[str, Any], checks: Run) -> None:
    findings = checks(small_recipe(**changes))
    assert {finding.verdict for finding in findings.values()} == {Verdict.PASS}, findings
    assert findings["initial loss"].numbers["expected"] == pytest.approx(2.302585)
    assert findings["dead units"].numbers["units"] == {"first": 48, "second": 32}


def test_shuffled_labels_of_a_fitted_network(checks: Run) -> None:
    changes = {
        "model": {"architecture": "kernel", "num_classes": 10, "image": [1, 8, 8]},
        "data": {"name": DATA, "fault": "shuffled", "last": "keep"},
        "task": {"name": "fit"},
        "batch": {"global": 500},
        "train": {"epochs": 1},
    }
    wanted = small_recipe(**changes)
    del wanted["optimizer"]
    findings = checks(wanted)
    assert fails(findings) == ["held-out"]
    assert findings["one batch"].verdict is Verdict.PASS


def test_many_classes_are_inconclusive(checks: Run) -> None:
    findings = checks(
        small_recipe(model={"architecture": NET, "num_classes": 101}, **data("many_classes")), budget=SMALL
    )
    assert findings["held-out"].verdict is Verdict.INCONCLUSIVE
    assert "101 classes" in findings["held-out"].says
    assert fails(findings) == []


def test_a_plateau_is_no_fault(checks: Run) -> None:
    changes = net("tiny") | {"optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9}}
    findings = checks(small_recipe(**changes), budget=replace(SMALL, memorise_steps=60))
    assert fails(findings) == []
    assert "a plateau" in findings["learning rate"].says
    assert findings["one batch"].verdict is Verdict.INCONCLUSIVE
    assert findings["held-out"].verdict is Verdict.INCONCLUSIVE
    assert "the training loss has not fallen either" in findings["held-out"].says


@pytest.mark.long
@pytest.mark.parametrize("rate", [0.0005, 0.02])
def test_the_plateau_of_lenet5_is_no_fault(rate: float, checks: Run) -> None:
    changes = ("model.first_weights=fan_in", "launch.accelerator=cpu", f"optimizer.lr={rate}")
    findings = checks("lenet5_mnist5000", *changes, budget=Budget(seconds=15.0))
    assert fails(findings) == []
    assert findings["held-out"].verdict is Verdict.INCONCLUSIVE


def test_a_low_rate_is_told(checks: Run) -> None:
    findings = checks(small_recipe(optimizer={"name": "sgd", "lr": 1e-5, "momentum": 0.9}))
    assert fails(findings) == []
    assert "times the learning rate it falls to" in findings["one batch"].says


def test_entropy_and_chance() -> None:
    import torch

    measured = Measured(0.0, 3, torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 1]))
    assert measured.entropy == pytest.approx(-(0.75 * torch.tensor(0.75).log() + 0.25 * torch.tensor(0.25).log()))
    assert measured.majority_error == pytest.approx(0.25)
    assert measured.chance_error == pytest.approx(0.5)
    assert measured.error == pytest.approx(0.25)
    assert not measured.informed  # four samples prove nothing
    many = Measured(0.0, 3, measured.guesses.repeat(50), measured.targets.repeat(50))
    assert many.informed


def test_ctrl_c_leaves_the_checks(package: object) -> None:
    import signal

    context = Context(recipe.load(small_recipe()).settings, budget=SMALL)

    def interrupted(step: int, means: dict[str, float]) -> bool:
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(context, context.task(), context.batches([0]), until=interrupted)
    assert signal.getsignal(signal.SIGINT) == before
