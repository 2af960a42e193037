"""How many steps it saves to read the sentence backwards: both recipes of number names, three seeds each.

Sutskever, Vinyals and Le (2014, section 3.3) found that it helps much, and that beginnings of sentences are translated
better. Both recipes have the same network, rate and batches; here 384 cells instead of 256, of which the wider network
makes the better use, and one rate all the time. What is compared is the first validation with the aim's share of the
held-out numbers exactly right.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from dltk import recipe
from dltk.run.folder import RunFolder

pytestmark = [pytest.mark.long, pytest.mark.timeout(7200)]

BACKWARDS, FORWARDS = "seq2seq_number_names", "seq2seq_number_names_forward"
STEPS = {BACKWARDS: 600, FORWARDS: 1000}
WIDE = ["model.hidden_size=384", "model.first_weights=0.051", "optimizer.lr=0.003"]
WIDE += ["schedule={name: constant, warmup: 20}", "train.validate_every=50"]
SEEDS = 3
AIM = 99.0  # per cent of the validation's numbers
SHARE = 0.5  # of the steps that reading forwards takes


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where they are trained: RUNS, in which finished seeds are kept, or a new folder."""
    return Path(os.environ.get("RUNS") or tmp_path_factory.mktemp("runs"))


def steps_to_the_aim(name: str, runs: Path) -> list[float]:
    """Of each seed; infinite where it never came there."""
    how = [*WIDE, f"train.steps={STEPS[name]}", f"runs_dir={runs}", "log.wandb=disabled", "launch.threads=1"]
    subprocess.run([sys.executable, "-m", "dltk", "train", name, "--seeds", str(SEEDS), *how], check=True)
    found = []
    for seed in range(SEEDS):
        lines = RunFolder.open(runs / name / f"seed-{seed}").metrics.read()
        reached = [line["step"] for line in lines if line.get("val/exact_match", 0.0) >= AIM]
        found.append(min(reached, default=float("inf")))
    return found


def test_the_two_differ_in_the_direction_and_the_length_of_the_run_alone() -> None:
    differing = {key for key, *_ in recipe.difference(recipe.load(BACKWARDS).settings, recipe.load(FORWARDS).settings)}
    assert {key for key in differing if not recipe.harmless(key)} == {"model.reverse_source", "train.steps"}


def test_reading_backwards_needs_at_most_half_of_the_steps(runs: Path) -> None:
    found = {name: steps_to_the_aim(name, runs) for name in (BACKWARDS, FORWARDS)}
    print()
    for name, steps in found.items():
        print(f"{name:30} {AIM:g} % after {steps} steps, median {statistics.median(steps):g}")
    backwards, forwards = (statistics.median(steps) for steps in found.values())
    print(f"read backwards it takes {backwards / forwards:.2f} of the steps; the aim is {SHARE}")
    assert backwards < float("inf")
    assert backwards <= SHARE * forwards
