"""What the toolkit adds to a step of batch 128, beside a bare PyTorch loop and a bare Lightning Trainer.

Of LeNet-5, and of a linear classifier, which computes so little that what a loop adds is seen, not the machine's drift.

All three read the same batches through the same loader, each in the main thread of a process of its own, as people run
them. They take turns every half second, so that the machine's speed drifts for all alike, in an order drawn for each
round, and are started anew several times: where a process's memory happens to lie makes some tenths of a millisecond of
LeNet-5's step, for as long as it lives. A turn's number is the median of its steps, but for the first ten: they find
the caches full of another's, and what that costs (1 ms of LeNet-5's second step, 0.2 of the fifth) depends on how much
there is to bring back, which nobody pays who trains alone. The table gives the median over the turns, and the interval
of the difference within a round: a bootstrap over the starts and, of each, over its rounds.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from lightning import Callback
from numpy.typing import NDArray

from dltk import recipe
from dltk.assemble import build_data, build_task
from dltk.launch import here

STARTS = 6
TURNS, WARM = 18, 3  # turns of a start, and those of them that don't count
STEPS, SETTLING = 35, 10  # steps of a turn, and those of them that don't count
ALL = TURNS * STEPS + 1  # steps of a start: what begins after a turn ends it
EVERY = 50  # steps between log lines
RECIPES = ["lenet5_mnist5000", "linear_mnist5000"]
SETTINGS: list[Any] = [
    "batch.global=128",
    "train.epochs=null",
    f"train.steps={ALL}",
    "train.validate_every=1000000",
    f"log.every_steps={EVERY}",
    "log.wandb=offline",
    "launch.devices=1",
]


class Turns:
    """Lets a loop run some steps whenever it is its turn, and notes when each step began.

    Args:
        others: says when it is, and gets the turn's times.
    """

    def __init__(self, others: Connection) -> None:
        self._others = others
        self._began: list[float] | None = None

    def step(self) -> None:
        """The loop is about to begin a step; waits here until it is its turn."""
        if self._began is not None:
            self._began.append(time.perf_counter())
            if len(self._began) <= STEPS:
                return
            self._others.send(self._began)
        self._others.recv()
        self._began = [time.perf_counter()]


class Clock(Callback):
    """Takes part in the turns."""

    turns: Turns

    def on_train_batch_start(self, *arguments: Any) -> None:
        Clock.turns.step()


def plain_sgd(task: Any, settings: Any) -> torch.optim.Optimizer:
    """The recipe's optimiser, as one would write it."""
    lr, momentum = settings["optimizer"]["lr"], settings["optimizer"]["momentum"]
    return torch.optim.SGD(task.model.parameters(), lr=lr, momentum=momentum)


def bare_torch(name: str, runs_dir: Path) -> None:
    """Read a batch, forward, backward, step."""
    settings = recipe.load(name, *SETTINGS).settings
    task = build_task(settings)
    optimizer = plain_sgd(task, settings)
    for batch in build_data(settings, whole_run=True).train_dataloader():
        Clock.turns.step()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(task.model(task.pixels(batch["image"])), batch["target"]).backward()
        optimizer.step()


class Plain(lightning.LightningModule):
    """What one would write without a toolkit."""

    def __init__(self, task: Any, settings: Any) -> None:
        super().__init__()
        self.task, self.settings = task, settings

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        scores = self.task.model(self.task.pixels(batch["image"]))
        return torch.nn.functional.cross_entropy(scores, batch["target"])

    def configure_optimizers(self) -> Any:
        return plain_sgd(self.task, self.settings)


def bare_lightning(name: str, runs_dir: Path) -> None:
    """The same on a Trainer with everything switched off."""
    settings = recipe.load(name, *SETTINGS).settings
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = lightning.Trainer(accelerator="cpu", max_steps=ALL, callbacks=[Clock()], **quiet)
    trainer.fit(Plain(build_task(settings), settings), build_data(settings, whole_run=True).train_dataloader())


def whole_toolkit(name: str, runs_dir: Path) -> None:
    """`dltk train` as it is: data, logging, W&B offline, progress."""
    clock = {"name": f"{__name__}:Clock"}
    here.attempt(*here.open_run([name, *SETTINGS, {"train": {"callbacks": [clock]}}, f"runs_dir={runs_dir}"]))


LOOPS: dict[str, Callable[[str, Path], None]] = {
    "bare PyTorch": bare_torch,
    "bare Lightning": bare_lightning,
    "dltk train": whole_toolkit,
}


def alone(loop: str, name: str, runs_dir: Path, others: Connection) -> None:
    """A loop's process."""
    Clock.turns = Turns(others)
    LOOPS[loop](name, runs_dir)


def in_turn(name: str, runs_dir: Path) -> dict[str, NDArray[np.float64]]:
    """Run all loops over a recipe to their ends; milliseconds of each step by loop, each (TURNS, STEPS)."""
    spawn = multiprocessing.get_context("spawn")
    ends, processes = {}, []
    for loop in LOOPS:
        ends[loop], other = spawn.Pipe()
        processes.append(spawn.Process(target=alone, args=(loop, name, runs_dir, other), daemon=True))
        processes[-1].start()
        other.close()  # so that its death ends the waiting
    began: dict[str, list[list[float]]] = {loop: [] for loop in LOOPS}
    generator = np.random.default_rng(0)
    for _ in range(TURNS):
        for loop in generator.permutation(list(LOOPS)):
            ends[loop].send("your turn")
            began[loop].append(ends[loop].recv())
    for end, process in zip(ends.values(), processes, strict=True):
        end.send("your last step")
        process.join()
        assert process.exitcode == 0
    return {loop: 1000 * np.diff(turns, axis=1) for loop, turns in began.items()}


def interval(added: NDArray[np.float64]) -> tuple[float, float]:
    """95 % of the medians of what is added (STARTS, turns), with the starts and turns drawn anew."""
    generator = np.random.default_rng(0)
    starts = generator.integers(len(added), size=(2000, len(added), 1))
    turns = generator.integers(added.shape[1], size=(2000, len(added), added.shape[1]))
    low, high = np.quantile(np.median(added[starts, turns], axis=(1, 2)), [0.025, 0.975])
    return low, high


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", RECIPES)
def test_cost_of_a_step(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # the bar of a terminal
    monkeypatch.delenv("OMP_NUM_THREADS")  # which keeps the other tests to one thread each
    every = [in_turn(name, tmp_path / str(start)) for start in range(STARTS)]
    took = {loop: np.stack([one[loop] for one in every]) for loop in LOOPS}  # each (STARTS, TURNS, STEPS)
    medians = {loop: np.median(each[:, WARM:, SETTLING:], axis=2) for loop, each in took.items()}  # (STARTS, turns)
    for loop, each in medians.items():
        print(f"\n{loop:16} {np.median(each):7.2f} ms a step", end="")
    for loop in ("bare PyTorch", "bare Lightning"):
        added = medians["dltk train"] - medians[loop]
        low, high = interval(added)
        by_start = ", ".join(f"{value:.2f}" for value in np.median(added, axis=1))
        print(
            f"\ndltk train adds to {loop}: {np.median(added):.2f} ms [{low:.2f}, {high:.2f}]; by start {by_start}",
            end="",
        )
    lines = [step for step in range(WARM * STEPS, TURNS * STEPS) if (step + 1) % EVERY == 0]
    extra = took["dltk train"] - np.median(took["dltk train"], axis=2, keepdims=True)
    line = statistics.median(extra.reshape(STARTS, -1)[:, lines].flat)
    print(f"\na log line costs {line:.1f} ms, every {EVERY} steps")
    assert np.isfinite(list(took.values())).all()
