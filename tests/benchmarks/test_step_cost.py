"""What the toolkit adds to a step of batch 128, beside a bare PyTorch loop and a bare Lightning Trainer.

Of LeNet-5, and of a linear classifier, which computes so little that what a loop adds is seen, not the machine's drift.

All three read the same batches through the same loader, in one process with one set of threads. They take turns every
few steps, so that the machine's speed drifts for all alike. A turn's number is the median of its steps, but for the
first, which finds the caches full of another's; the table gives the median over the turns, and a bootstrap interval
of the difference within a turn.
"""

import collections
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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

TURNS, WARM, STEPS = 150, 30, 6  # turns, those of them that don't count, steps of a turn
EVERY = 50  # steps between log lines
RECIPES = ["lenet5_mnist5000", "linear_mnist5000"]
SETTINGS: list[Any] = [
    "batch.global=128",
    "train.epochs=null",
    f"train.steps={TURNS * STEPS}",
    "train.validate_every=1000000",
    f"log.every_steps={EVERY}",
    "log.wandb=offline",
    "launch.devices=1",
]


class Turns:
    """Lets loops in several threads run one at a time, some steps each, and notes when each step began.

    Args:
        loops: their names, in the order of their turns.
    """

    def __init__(self, loops: list[str]) -> None:
        self.began: dict[str, list[list[float]]] = {loop: [] for loop in loops}  # by loop: turns of steps
        self._order = collections.deque(loops)  # the first has its turn
        self._missing = set(loops)
        self._changed = threading.Condition()

    def step(self, loop: str) -> None:
        """A loop is about to begin a step; waits here until it is its turn."""
        now = time.perf_counter()
        turns = self.began[loop]
        if turns:
            turns[-1].append(now)
        if not turns or len(turns[-1]) > STEPS:
            self._wait(loop)
            turns.append([time.perf_counter()])

    def leave(self, loop: str) -> None:
        """A loop has ended."""
        with self._changed:
            self._order.remove(loop)
            self._changed.notify_all()

    def took(self, loop: str) -> NDArray[np.float64]:
        """Milliseconds of each step of the whole turns, (turns, STEPS)."""
        return 1000 * np.diff([turn for turn in self.began[loop] if len(turn) > STEPS], axis=1)

    def _wait(self, loop: str) -> None:
        deterministic = torch.are_deterministic_algorithms_enabled()  # one flag for a process, and the loops differ
        with self._changed:
            if loop in self._missing:
                self._missing.remove(loop)
            else:
                self._order.rotate(-1)
            self._changed.notify_all()
            mine = self._changed.wait_for(lambda: not self._missing and self._order[0] == loop, timeout=100)
            assert mine, f"{loop} has waited in vain, for {self._missing or self._order[0]}"
        torch.use_deterministic_algorithms(deterministic)


class Clock(Callback):
    """Takes part in the turns."""

    turns: Turns

    def __init__(self, loop: str = "dltk train") -> None:
        self.loop = loop

    def on_train_batch_start(self, *arguments: Any) -> None:
        Clock.turns.step(self.loop)


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
        Clock.turns.step("bare PyTorch")
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
    clock = Clock("bare Lightning")
    trainer = lightning.Trainer(accelerator="cpu", max_steps=TURNS * STEPS, callbacks=[clock], **quiet)
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


def in_turn(name: str, runs_dir: Path) -> Turns:
    """Run all loops over a recipe to their ends."""
    turns = Clock.turns = Turns(list(LOOPS))

    def run(loop: str) -> None:
        try:
            LOOPS[loop](name, runs_dir)
        finally:
            turns.leave(loop)

    with ThreadPoolExecutor(len(LOOPS)) as pool:
        list(pool.map(run, LOOPS))
    return turns


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", RECIPES)
def test_cost_of_a_step(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # the bar of a terminal
    turns = in_turn(name, tmp_path)
    took = {loop: turns.took(loop) for loop in LOOPS}
    medians = {loop: np.median(each[WARM:, 1:], axis=1) for loop, each in took.items()}  # (turns,)
    for loop, each in medians.items():
        print(f"\n{loop:16} {np.median(each):7.2f} ms a step", end="")
    generator = np.random.default_rng(0)
    for loop in ("bare PyTorch", "bare Lightning"):
        added = medians["dltk train"] - medians[loop]
        again = np.median(generator.choice(added, (2000, len(added))), axis=1)
        low, high = np.quantile(again, [0.025, 0.975])
        print(f"\ndltk train adds to {loop}: {np.median(added):.2f} ms [{low:.2f}, {high:.2f}]", end="")
    each = took["dltk train"]
    lines = [step for step in range(each.size) if (step + 1) % EVERY == 0 and step // STEPS >= WARM]
    line = statistics.median(each.flat[step] - np.median(each[step // STEPS]) for step in lines)
    print(f"\na log line costs {line:.1f} ms, every {EVERY} steps")
    assert all(len(each) == TURNS - 1 for each in took.values())
