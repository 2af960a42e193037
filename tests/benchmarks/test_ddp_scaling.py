"""Two data-parallel processes of one core each beside one process of one core: AlexNet, 64 images a process.

Both trainings are whole ones, `dltk train` as it is, and take turns of a few steps, so that the machine's speed drifts
for both alike. A turn's number is that of its images over its seconds; what is compared is the median over pairs of
turns of their ratio.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback

from dltk.data.dataset import ArrayDataset
from dltk.run.atomic import replace_file

ROOT = Path(__file__).resolve().parents[2]
EACH, TURNS, STEPS, GOAL = 64, 6, 3, 0.85  # images a process, turns of each training, steps of a turn
WAIT = 0.002  # seconds between two looks at whose turn it is

SETTINGS = [
    *("train.epochs=null", f"train.steps={TURNS * STEPS}", "train.validate_every=1000000", "train.channels_last=true"),
    *("schedule={name: constant}", "log.wandb=disabled", "launch.accelerator=cpu", "launch.threads=1"),
    *("claim.protocol=single_crop", "optimizer.lr=1e-6"),
]
NARROW = [
    *("model.num_classes=8", "model.image=[3, 56, 56]", "model.kernel=5", "model.stride=2"),
    *("model.maps=[16, 32, 48, 48, 32]", "model.hidden_sizes=[256, 256]", "model.first_weights=he"),
]


class Noise(ArrayDataset):
    """Images to compute with."""

    def __init__(self, split: str, image_size: int = 224, classes: int = 1000) -> None:
        count, generator = (512 if split == "train" else 8), torch.Generator().manual_seed(0)
        images = torch.randint(256, (count, 3, image_size, image_size), generator=generator, dtype=torch.uint8)
        targets = torch.arange(count) % classes
        super().__init__(images, targets, [f"{split}{i}" for i in range(count)], [str(i) for i in range(classes)])


class Turns(Callback):
    """Computes on one core, in turns with another training.

    Args:
        folder: holds a file for each turn that has ended.
        place: of this training among the two.
        steps: of a turn.
    """

    def __init__(self, folder: str, place: int, steps: int) -> None:
        self.folder, self.place, self.steps = Path(folder), place, steps

    def on_train_start(self, trainer: Any, task: Any) -> None:
        """One core for this process, another for the next."""
        if hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {cores[trainer.global_rank % len(cores)]})

    def on_train_batch_start(self, trainer: Any, task: Any, batch: Any, batch_idx: int) -> None:
        """Wait for a turn."""
        turn, inside = divmod(batch_idx, self.steps)
        if inside == 0:
            before = self.folder / f"{2 * turn + self.place - 1}.json"
            while turn + self.place and not before.exists():
                time.sleep(WAIT)
            self._began = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, task: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End a turn."""
        turn, inside = divmod(batch_idx, self.steps)
        if inside == self.steps - 1 and trainer.is_global_zero:
            seconds = time.perf_counter() - self._began
            replace_file(self.folder / f"{2 * turn + self.place}.json", json.dumps(seconds))


def start(processes: int, settings: list[str], turns: Path, place: int, runs_dir: Path) -> subprocess.Popen[bytes]:
    """One training under way."""
    clock = f"{{name: '{__name__}:Turns', folder: '{turns}', place: {place}, steps: {STEPS}}}"
    arguments = [
        *("train", "alexnet_imagenet2012", *SETTINGS, *settings, f"runs_dir={runs_dir}"),
        *(f"batch.global={EACH * processes}", f"launch.devices={processes}", f"train.callbacks=[{clock}]"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "dltk", *arguments], cwd=ROOT, env=environment)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two processes need two cores")
@pytest.mark.parametrize("settings", [[], NARROW], ids=["as published", "narrow"])
def test_two_processes_of_one_core(settings: list[str], tmp_path: Path) -> None:
    turns = tmp_path / "turns"
    turns.mkdir()
    images = "image_size: 56, classes: 8" if settings else "image_size: 224"
    data = f"data={{name: '{__name__}:Noise', {images}, augment: none}}"
    running = [start(1 + place, [*settings, data], turns, place, tmp_path / "runs") for place in (0, 1)]
    assert [process.wait() for process in running] == [0, 0]
    seconds = [json.loads((turns / f"{number}.json").read_text()) for number in range(2 * TURNS)]
    one, two = seconds[2::2], seconds[3::2]  # a first turn warms up
    ratio = statistics.median(2 * a / b for a, b in zip(one, two, strict=True)) / 2
    rates = [EACH * (1 + place) * STEPS / statistics.median(taken) for place, taken in enumerate((one, two))]
    print(f"\none process {rates[0]:.1f} images/s, two {rates[1]:.1f}: {ratio:.2f} of twice")
    assert ratio >= GOAL
