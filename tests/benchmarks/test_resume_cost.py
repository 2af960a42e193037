"""Time from nothing to the first batch: at the beginning of a run, and after resuming at 90 % of an epoch.

Processes of both kinds take turns, so that the machine's speed drifts for both alike; the ratio is the median over
rounds of the ratio within a round.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dltk.data.pack import Settings, class_folders, pack
from tests.data.conftest import photograph

PICTURES, ROUNDS = 2000, 5
ROOT = Path(__file__).resolve().parents[2]

FIRST_BATCH = """
import json, sys, time
import torch
from dltk.data.datamodule import DataModule
from dltk.data.loader import start_forkserver
from dltk.data.shards.dataset import Shards
from dltk.data.views import RandomResizedCrop

folder, share, workers = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
start_forkserver()
time.sleep(4 if workers else 0)  # as in a training, whose model takes its time
began = time.perf_counter()
settings = {"folder": "photos", "image_size": 64, "lanes": 8, "window": 256}
data = DataModule(Shards, settings, data_dir=folder, batch=64, epochs=10, whole_run=True, workers=workers,
                  augment=RandomResizedCrop())
start = data.first_step(2) + int(share * data.steps_per_epoch())
loader = data.train_dataloader()
loader._start = lambda: start
next(iter(loader))
print(json.dumps(time.perf_counter() - began))
data.teardown("fit")
"""


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for number in range(PICTURES):
        place = root / "folders" / f"class{number % 4}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:04d}.jpg").write_bytes(photograph(number))
    items, classes = class_folders(root / "folders")
    pack(items, root / "photos", name="photos", classes=classes, settings=Settings(shard_bytes=500_000))
    return root


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_costs_what_starting_costs(data_dir: Path, workers: int) -> None:
    taken: dict[float, list[float]] = {0.0: [], 0.9: []}
    for number in range(ROUNDS + 1):
        for share, times in taken.items():
            command = [sys.executable, "-W", "ignore", "-c", FIRST_BATCH, str(data_dir), str(share), str(workers)]
            found = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
            if number:  # the first round brings the files into memory
                times.append(found)
    ratio = statistics.median(late / early for early, late in zip(*taken.values(), strict=True))
    early, late = (np.median(times) for times in taken.values())
    print(f"\n{workers} workers: first batch after {early:.3f} s at the start, {late:.3f} s at 90 %: {ratio:.2f} ×")
    assert ratio <= 1.2
