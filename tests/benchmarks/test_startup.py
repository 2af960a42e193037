"""How long the commands take to answer; printed, never judged."""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dltk.run.folder import RunFolder

pytestmark = pytest.mark.long

COMMANDS = [
    ["--help"],
    ["list"],
    ["runs"],
    ["show", "lenet5"],
    ["validate", "recipes/lenet5_digits.yaml"],
    ["submit", "lenet5_digits", "--dry-run", "launch.accelerator=cpu", "launch.devices=1"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_startup(command):
    times = []
    for _ in range(5):
        began = time.perf_counter()
        answer = subprocess.run([sys.executable, "-m", "dltk", *command], capture_output=True, text=True)
        times.append(time.perf_counter() - began)
        assert answer.returncode == 0, answer.stderr
    print(f"\ndltk {' '.join(command)}: median {statistics.median(times):.2f} s, fastest {min(times):.2f} s of 5")


@pytest.mark.parametrize("devices", [1, 2])
def test_phases_until_the_first_step(tmp_path: Path, devices: int) -> None:
    """From `submit` on, imports left out."""
    arguments = ["submit", "lenet5_digits", "--on", "here", "run=run", f"runs_dir={tmp_path}", "train.epochs=1"]
    arguments += ["log.wandb=disabled", f"launch.devices={devices}"]
    run = tmp_path / "lenet5_digits" / "run"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "dltk", *arguments], check=True, capture_output=True)
    while not (run / "ledger.jsonl").exists() or RunFolder.open(run).status == "running":
        time.sleep(0.2)
    assert RunFolder.open(run).status == "done"
    seconds = json.loads((run / "environment.json").read_text())["seconds"]
    said = ", ".join(f"{name} {spent:.2f}" for name, spent in seconds.items())
    whole = time.perf_counter() - began
    print(
        f"\n{devices} processes: {sum(seconds.values()):.2f} s ({said}); with imports and the whole run {whole:.1f} s"
    )
