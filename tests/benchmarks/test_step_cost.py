"""What the toolkit adds to a step: LeNet-5, batch 128, beside a bare PyTorch loop and a bare Lightning Trainer.

All three read the same batches through the same loader. They take turns in one process, so that the machine's speed
drifts for all alike. A round's number is the median of
its steps; the table gives the median over the rounds, and a bootstrap interval of the difference between rounds.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from lightning import Callback

from dltk import recipe
from dltk.assemble import build_data, build_task
from dltk.launch import here
from dltk.run.folder import RunFolder

ROUNDS, STEPS, WARM = 15, 80, 20
SETTINGS: list[Any] = [
    "lenet5_mnist5000",
    "batch.global=128",
    "train.epochs=null",
    f"train.steps={STEPS + WARM}",
    "train.validate_every=1000000",
    "log.wandb=offline",
    "launch.devices=1",
]


class Clock(Callback):
    """The time between the starts of steps."""

    ticks: list[float]

    def __init__(self) -> None:
        Clock.ticks = []

    def on_train_batch_start(self, *arguments: Any) -> None:
        Clock.ticks.append(time.perf_counter())


def median_ms(ticks: list[float]) -> float:
    return 1000 * statistics.median(b - a for a, b in zip(ticks[WARM:], ticks[WARM + 1 :], strict=False))


def bare_torch(tmp_path: Path) -> float:
    """Read a batch, forward, backward, step."""
    settings = recipe.load(*SETTINGS).settings
    task = build_task(settings)
    optimizer = task.procedure.optimizer(task.model)  # type: ignore[misc]
    ticks = []
    for batch in build_data(settings, whole_run=True).train_dataloader():
        ticks.append(time.perf_counter())
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(task.model(task.pixels(batch["image"])), batch["target"]).backward()
        optimizer.step()
    return median_ms(ticks)


class Plain(lightning.LightningModule):
    """What one would write without a toolkit."""

    def __init__(self, task: Any) -> None:
        super().__init__()
        self.task = task

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        scores = self.task.model(self.task.pixels(batch["image"]))
        return torch.nn.functional.cross_entropy(scores, batch["target"])

    def configure_optimizers(self) -> Any:
        return self.task.procedure.optimizer(self.task.model)


def bare_lightning(tmp_path: Path) -> float:
    """The same on a Trainer with everything switched off."""
    settings = recipe.load(*SETTINGS).settings
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = lightning.Trainer(accelerator="cpu", max_steps=STEPS + WARM, callbacks=[Clock()], **quiet)
    trainer.fit(Plain(build_task(settings)), build_data(settings, whole_run=True).train_dataloader())
    return median_ms(Clock.ticks)


def whole_toolkit(tmp_path: Path) -> float:
    """`dltk train` as it is: data, logging, W&B offline, progress."""
    clock = {"name": f"{__name__}:Clock"}
    folder, changed = here.open_run([*SETTINGS, {"train": {"callbacks": [clock]}}, f"runs_dir={tmp_path}"])
    assert isinstance(folder, RunFolder)
    here.attempt(folder, changed)
    return median_ms(Clock.ticks)


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_cost_of_a_step(tmp_path: Path) -> None:
    ways: dict[str, Callable[[Path], float]] = {
        "bare PyTorch": bare_torch,
        "bare Lightning": bare_lightning,
        "dltk train": whole_toolkit,
    }
    rounds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        for name, way in ways.items():
            took = way(tmp_path / str(number))
            if number:  # the first round warms up
                rounds[name].append(took)
    generator = np.random.default_rng(0)
    for name, times in rounds.items():
        print(f"{name:16} {statistics.median(times):7.2f} ms a step")
    for name in ("bare PyTorch", "bare Lightning"):
        added = np.subtract(rounds["dltk train"], rounds[name])
        medians = np.median(generator.choice(added, (2000, len(added))), axis=1)
        low, high = np.quantile(medians, [0.025, 0.975])
        print(f"dltk train adds to {name}: {np.median(added):.2f} ms [{low:.2f}, {high:.2f}]")
    assert all(times for times in rounds.values())
