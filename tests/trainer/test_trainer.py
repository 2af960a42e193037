"""The parts of the trainer that can be tried alone: batch arithmetic, validation plan, average of weights, clocks."""

import time
from typing import Any

import pytest
import torch
from torch import nn

from dltk.data.datamodule import DataModule
from dltk.data.digits import Digits
from dltk.tasks.task import Task
from dltk.trainer.average import Average
from dltk.trainer.config import BatchConfig, accumulation, section
from dltk.trainer.make import next_validation
from dltk.trainer.stopwatch import Stopwatch


@pytest.mark.parametrize(
    ("batch", "world", "passes"),
    [
        ({"global": 128}, 1, 1),
        ({"global": 128}, 4, 1),
        ({"global": 128, "micro": 32}, 1, 4),
        ({"global": 128, "micro": 32}, 4, 1),
        ({"global": 100, "micro": 32}, 1, 4),
        ({"global": 128, "accumulate": 8}, 2, 8),
    ],
)
def test_passes_of_a_step(batch: dict[str, int], world: int, passes: int) -> None:
    assert accumulation(section({"batch": batch}, "batch", BatchConfig), world) == passes


def validations(data: DataModule, every: int | None) -> list[int]:
    steps, step = [], 0
    while step < data.total_steps:
        step = next_validation(data, every, step)
        steps.append(step)
    return steps


def test_validation_after_each_epoch_and_the_last_step() -> None:
    data = DataModule(Digits, batch=100, epochs=3)
    each = data.steps_per_epoch(0)
    assert validations(data, None) == [each, 2 * each, 3 * each]
    short = DataModule(Digits, batch=100, steps=each + 3)
    assert validations(short, None) == [each, each + 3]


def test_validation_every_so_many_steps_and_the_last() -> None:
    assert validations(DataModule(Digits, batch=100, steps=10), 4) == [4, 8, 10]


class Loop:
    accumulate_grad_batches = 1
    strategy = None


def test_average_follows_the_formula_and_steps_aside() -> None:
    net = nn.Linear(2, 1, bias=False)
    task = Task(net)
    task.trainer = Loop()  # type: ignore[assignment]
    average = Average(0.5)
    with torch.no_grad():
        net.weight.fill_(0.0)
    average.on_train_start(Loop(), task)  # type: ignore[arg-type]
    expected = 0.0
    for step in range(6):
        with torch.no_grad():
            net.weight.fill_(step + 1.0)
        info: Any = type("Info", (), {"step": step})
        average.on_train_batch_end(Loop(), task, None, {"info": info}, step)  # type: ignore[arg-type]
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * (step + 1.0)
    average.on_validation_start(Loop(), task)  # type: ignore[arg-type]
    assert net.weight.tolist()[0] == pytest.approx([expected] * 2)
    average.on_validation_end(Loop(), task)  # type: ignore[arg-type]
    assert net.weight.tolist()[0] == [6.0, 6.0]


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1])
def test_a_decay_outside_of_zero_and_one_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Average(decay)


def test_stopwatch_takes_the_computation_out_of_the_optimisers_step() -> None:
    watch = Stopwatch()
    watch.start("[LightningModule]Classification.optimizer_step")
    watch.start("[Strategy]SingleDeviceStrategy.training_step")
    time.sleep(0.03)
    watch.stop("[Strategy]SingleDeviceStrategy.training_step")
    time.sleep(0.01)
    watch.stop("[LightningModule]Classification.optimizer_step")
    watch.start("something else")
    watch.stop("something else")
    seconds = watch.read()
    assert seconds["compute"] >= 0.03
    assert 0.01 <= seconds["optimizer"] < 0.03
    assert seconds["data_wait"] == 0.0
    assert sum(watch.read().values()) == 0.0
