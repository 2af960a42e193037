"""AlexNet's two groups of maps on two devices, beside others that train data parallel, against one process."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.launch.conftest import assert_equal_to_the_bit
from tests.launch.strategies.conftest import OPTIMIZERS, Train, curve, state
from tests.trainer.states import assert_close

pytestmark = pytest.mark.cluster

# The last maps have 2 x 2 places; shares of a batch differ within a pair; clipping, average and accumulation at work.
ALEXNET: dict[str, Any] = {
    "name": "groups",
    "model": {
        **{"architecture": "alexnet", "num_classes": 10, "image": [1, 48, 48], "kernel": 5, "stride": 2},
        **{"maps": [8, 16, 12, 12, 8], "hidden_sizes": [20, 18], "first_weights": "he", "dropout": 0.0},
        **{"response": "halves", "alpha": 0.5},  # so that the normalisation is felt
    },
    "data": {"name": "digits", "image_size": 48},
    "optimizer": OPTIMIZERS["sgd"],
    "batch": {"global": 31, "accumulate": 2},
    "train": {"steps": 6, "clip_norm": 0.2, "ema": 0.9, "validate_every": 3},
    "checkpoint": {"every_steps": 1, "keep_last": 9},
    "log": {"every_steps": 1, "wandb": "disabled"},
    "launch": {"accelerator": "cpu", "devices": 1},
}
PAIRS = ("launch.tensor=2", "launch.tensor_plan=groups")
WAYS: dict[str, list[str]] = {
    "as published": [],
    "normalisation over all maps, adam": ["model.response=whole", "optimizer={name: adam, lr: 0.001}"],
    # Without kinks, at one of which the gradient jumps by 3e-4 in the fifth step, for a difference of rounding.
    "neither groups nor normalisation": ["model.groups=1", "model.response=none", "model.activation=tanh"],
}


@pytest.mark.parametrize(("world", "way"), [(2, "as published"), *((4, way) for way in WAYS)])
def test_losses_gradients_and_checkpoints_are_those_of_one_process(train: Train, world: int, way: str) -> None:
    alone, several = train("auto", 1, ALEXNET, *WAYS[way]), train("ddp", world, ALEXNET, *WAYS[way], *PAIRS)
    for metric, count in (("train/loss", 6), ("train/gradient_norm", 6), ("val/loss", 2)):
        assert len(curve(several, metric)) == count
        assert curve(several, metric) == pytest.approx(curve(alone, metric), abs=1e-5), metric
    assert max(curve(alone, "train/gradient_norm").values()) > 0.2, "or nothing is clipped"
    for metric in ("data/digest", "val/top1_error"):
        assert curve(several, metric) == curve(alone, metric)
    for step in (1, 6):  # after the first step the moments are its gradient
        assert_close(state(several, step), state(alone, step), f"step {step}")


def test_dropout_is_that_of_one_process_with_the_same_masks(train: Train, tmp_path: Path) -> None:
    said = ["model.dropout=0.5", "batch.accumulate=1", "train.validate_every=null"]
    said.append(f"train.callbacks=[{{name: 'tests.launch.strategies.looking:Masks', folder: '{tmp_path}'}}]")
    several, alone = train("ddp", 2, ALEXNET, *said, *PAIRS), train("auto", 1, ALEXNET, *said)
    assert curve(several, "train/loss") == pytest.approx(curve(alone, "train/loss"), abs=1e-5)
    assert_close(state(several, 6)["weights"], state(alone, 6)["weights"])
    masks = [torch.load(tmp_path / f"mask-{call}-{rank}", weights_only=True) for call in (0, 2) for rank in (0, 1)]
    assert {tuple(mask.shape) for mask in masks} == {(31, 10)}, "each has its own units of all samples"
    patterns = [mask == 2 for mask in masks]
    assert not any(torch.equal(one, patterns[i]) for i in range(4) for one in patterns[:i]), "not drawn anew"


def test_devices_meet_at_layer_3_and_in_the_full_layers_only(train: Train, tmp_path: Path) -> None:
    name = "tests.launch.strategies.looking:Collectives"
    callback = f"train.callbacks=[{{name: '{name}', folder: '{tmp_path}', step: 1}}]"
    said = ["train.steps=3", "log.every_steps=3", "batch.accumulate=1", "train.clip_norm=null", callback]
    # Images and their numbers; maps of layer 2 and units of layers 5, 6, 7; scores; weight of the batch.
    forward = {"_allgather_base_": 1, "allgather_": 1 + 1 + 3, "alltoall_base_": 1, "allreduce_": 1}
    backward = {"reduce_scatter_": 1 + 3, "alltoall_base_": 1}
    for world, sums in ((2, {}), (4, {"allreduce_": 16})):  # of sixteen weights and biases, between the pairs
        train("ddp", world, ALEXNET, *said, *PAIRS)
        for rank in range(world):
            found = json.loads((tmp_path / f"collectives-{rank}").read_text())
            assert found == [forward, {**backward, **sums}]


def test_it_goes_on_on_one_process_and_back(train: Train, tmp_path: Path) -> None:
    def going_on(strategy: str, world: int, before: Any, step: int, *said: str) -> Any:
        file = tmp_path / f"gathered-{step}"
        callback = f"train.callbacks=[{{name: 'tests.launch.strategies.looking:Gathered', file: '{file}'}}]"
        run = train(strategy, world, ALEXNET, callback, *said, fork=f"{before.path}@{step}")
        gathered, saved = torch.load(file, weights_only=True), state(before, step)
        for part in ("weights", "optimizer"):
            assert_equal_to_the_bit(gathered[part], saved[part], part)
        return run

    whole = train("ddp", 4, ALEXNET, *PAIRS)
    alone = going_on("auto", 1, whole, 2)
    back = going_on("ddp", 2, alone, 4, *PAIRS)
    assert_close(state(back, 6), state(whole, 6))


def test_what_went_on_is_equal_to_the_bit_with_dropout(train: Train) -> None:
    whole = train("ddp", 4, ALEXNET, *PAIRS, "model.dropout=0.5")
    resumed = train("ddp", 4, ALEXNET, *PAIRS, "model.dropout=0.5", fork=f"{whole.path}@3")
    for part in ("weights", "average", "optimizer"):
        assert_equal_to_the_bit(state(resumed, 6)[part], state(whole, 6)[part], part)
