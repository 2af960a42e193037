"""One recipe and one seed give one training: every strategy on two and on four processes against one process."""

import pytest

from tests.launch.strategies.conftest import OPTIMIZERS, STRATEGIES, Train, curve, state
from tests.trainer.states import assert_close

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("world", [2, 4])
def test_losses_norms_digests_and_checkpoints_are_those_of_one_process(
    train: Train, strategy: str, world: int, optimizer: str
) -> None:
    alone, several = train("auto", 1, optimizer), train(strategy, world, optimizer)
    for metric, count in (("train/loss", 20), ("train/gradient_norm", 20), ("val/loss", 2)):
        assert len(curve(several, metric)) == count
        assert curve(several, metric) == pytest.approx(curve(alone, metric), abs=1e-5), metric
    assert max(curve(alone, "train/gradient_norm").values()) > 0.5, "or nothing is clipped"
    for metric in ("data/digest", "val/top1_error"):
        assert curve(several, metric) == curve(alone, metric)
    for step in (3, 10, 20):
        assert_close(state(several, step), state(alone, step), f"step {step}")
        manifest = several.checkpoints.manifest(several.checkpoints.at(step))
        assert (manifest["strategy"], manifest["world_size"]) == (strategy, world)
    measured, once = ((run.summary() or {})["evaluation"] for run in (several, alone))
    assert measured["samples"] == once["samples"]
    assert measured["metrics"] == pytest.approx(once["metrics"], abs=1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("after", STRATEGIES)
@pytest.mark.parametrize("before", STRATEGIES)
def test_three_steps_and_three_of_another_strategy_are_six(
    train: Train, before: str, after: str, optimizer: str
) -> None:
    odd = (STRATEGIES.index(before) + STRATEGIES.index(after)) % 2
    world, other = (4, 2) if odd else (2, 4)
    begun = train(before, world, optimizer)
    went_on = train(after, other, optimizer, "train.steps=6", fork=f"{begun.path}@3")
    alone = train("auto", 1, optimizer)
    assert curve(went_on, "train/loss") == pytest.approx(
        {step: loss for step, loss in curve(alone, "train/loss").items() if 3 < step <= 6}, abs=1e-5
    )
    assert curve(went_on, "data/digest")[6] == curve(alone, "data/digest")[6]
    found, wanted = state(went_on, 6), state(alone, 6)
    for part in ("weights", "average", "optimizer"):
        assert_close(found[part], wanted[part], part)
