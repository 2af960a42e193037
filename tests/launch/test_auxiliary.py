"""A network with auxiliary classifiers on one and on two processes: all its parameters take part in every step."""

import math

import pytest
import torch

from tests.launch.conftest import Workshop, curve, final_state

RECIPE = """
model: {architecture: googlenet, num_classes: 10, image: [1, 80, 80], narrow: 8, dropout: 0.0, auxiliary_dropout: 0.0}
task: {mean: [0.15], std: [0.3]}
data: {name: digits, image_size: 80}
optimizer: {name: sgd, lr: 0.02, momentum: 0.9}
batch: {global: 32}
train: {steps: 2, ema: 0.9}
log: {every_steps: 1, wandb: disabled}
"""


def test_two_processes_train_the_same_network(workshop: Workshop) -> None:
    (workshop.folder / "auxiliary.yaml").write_text(RECIPE)
    workshop.dltk("train", "auxiliary.yaml", "run=one")
    workshop.dltk("train", "auxiliary.yaml", "run=two", "launch.devices=2", "launch.strategy=ddp", cold_ranks=True)
    one, two = (workshop.folder / "runs" / "auxiliary" / name for name in ("one", "two"))
    losses = curve(one, "train/loss")
    assert losses[1] == pytest.approx(1.6 * math.log(10), abs=1.5), "its own loss, and 0.3 of each of two others"
    assert curve(two, "train/loss") == pytest.approx(losses, abs=1e-4)
    assert curve(two, "val/loss")[2] == pytest.approx(curve(one, "val/loss")[2], abs=1e-4)
    assert curve(one, "val/loss")[2] < 3.0 < losses[1], "in evaluation its own loss alone"
    alone, together = final_state(one)["weights"], final_state(two)["weights"]
    assert any("auxiliary4d" in name for name in alone)
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, rtol=1e-3, atol=1e-5, msg=lambda text, name=name: name + text)
