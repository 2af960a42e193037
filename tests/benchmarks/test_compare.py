"""How long comparing and listing a thousand runs of ten thousand lines each takes, and how much memory."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dltk.recipe import Recipe, freeze, load
from dltk.run.folder import RunFolder
from tests.compare.generated import attempt

ROOT = Path(__file__).parents[2]
RUNS, LINES, LOGS = 1000, 10_000, 8
PARTS = ("data_wait", "compute", "optimizer", "logging")


def log(seed: int) -> str:
    """As a classifier's training writes it: fourteen numbers and a digest a line, validation in each hundredth."""
    draw = np.random.default_rng(seed)
    rows = []
    for number in range(1, LINES + 1):
        row = {"step": 10 * number, "epoch": number // 100, "samples": 320 * number, "time": 1.79e9 + number / 7}
        row |= {"train/loss": 1 / number + draw.random(), "train/top1_error": 100 * draw.random(), "train/lr": 0.05}
        row |= {
            "train/top5_error": draw.random(),
            "time/samples_per_second": 3e4 * draw.random(),
            "time/mfu": draw.random(),
        }
        row |= {f"time/{part}": draw.random() for part in PARTS} | {"data/digest": f"{draw.integers(1 << 62):016x}"}
        if number % 100 == 0:
            row |= {"val/loss": draw.random(), "val/top1_error": 100 * draw.random()}
        rows.append(json.dumps(row))
    return "\n".join(rows) + "\n"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seeds at each of a hundred rates."""
    folder = tmp_path_factory.mktemp("many")
    base = load("mlp_digits", check_model=False)
    logs = []
    for seed in range(LOGS):
        logs.append(folder / f"{seed}.jsonl")
        logs[-1].write_text(log(seed))
    for number in range(RUNS):
        rate, seed = 0.001 * (1 + number // 10), number % 10
        settings = {**base.settings, "optimizer": {**base.settings["optimizer"], "lr": rate}}
        settings["train"] = {**base.settings["train"], "seed": seed}
        name = f"lr={rate:.3f},seed={seed}"
        run = RunFolder.create(folder / "runs", "small", settings, run=name, text=freeze(Recipe("small", settings)))
        shutil.copy(logs[number % LOGS], run.path / "metrics.jsonl")
        (run.path / "ledger.jsonl").write_text("".join(json.dumps(line) + "\n" for line in attempt(1, 0, 1430)))
        measured = {"test/top1_error": 5 + rate + 0.1 * seed}
        how = {"split": "test", "protocol": "single_crop", "checkpoint": 1000, "samples": 359, "metrics": measured}
        run.write_summary({"status": "done", "step": 100_000, "metrics": measured, "evaluation": how})
    yield folder
    shutil.rmtree(folder)


def timed(*command: str, cwd: Path) -> tuple[float, float, float]:
    """Seconds that a command took, of processors and by the clock, and the greatest memory of a process in MB."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-m", "dltk", *command], cwd=cwd, env=environment, check=True, stdout=subprocess.DEVNULL
    )
    passed, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return passed, cpu, after.ru_maxrss / 1024


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_thousand_runs(runs: Path) -> None:
    size = sum(path.stat().st_size for path in runs.glob("runs/*/*/metrics.jsonl"))
    print(f"\n{RUNS} runs, {size / 1e9:.1f} GB of logs")
    for what, command in (
        ("list", ["runs"]),
        ("compare, the first time", ["compare", "runs"]),
        ("compare, again", ["compare", "runs"]),
        ("list by a setting", ["runs", "--sort", "optimizer.lr", "--columns", "optimizer.lr"]),
    ):
        passed, cpu, memory = timed(*command, cwd=runs)
        print(f"{what}: {passed:.1f} s by the clock, {cpu:.1f} s of processors, largest process so far {memory:.0f} MB")
