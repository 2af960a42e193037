"""What a committee of columns gains whose images are prepared in five ways, three seeds each.

Ciresan, Meier, Masci and Schmidhuber (2012, section 3.2): columns err on different signs, so that the mean of their
probabilities errs less than they do.
"""

import os
from pathlib import Path
from statistics import fmean
from typing import get_args

import pytest

import dltk
from dltk.launch.measuring import Asked, measure
from dltk.layers.contrast import Preprocessing

pytestmark = [pytest.mark.long, pytest.mark.timeout(7200)]

NAME = "multi_column_signs"
SEEDS, ERROR = range(3), "test/top1_error"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where they are trained: RUNS, in which finished columns are kept, or a new folder."""
    return Path(os.environ.get("RUNS") or tmp_path_factory.mktemp("runs"))


def column(runs: Path, way: str, seed: int) -> Path:
    """A trained column."""
    made = runs / NAME / f"{way}-{seed}"
    if not (made / "summary.json").is_file():
        how = (f"model.preprocessing={way}", f"train.seed={seed}", f"run={way}-{seed}", f"runs_dir={runs}")
        dltk.train(NAME, *how, "log.wandb=disabled", "launch.accelerator=cpu", "launch.threads=1")
    return made


def test_a_committee_errs_no_more_than_its_columns_in_the_mean(runs: Path) -> None:
    ways = get_args(Preprocessing)
    made = {(way, seed): column(runs, way, seed) for seed in SEEDS for way in ways}
    committees = {f"seed {seed}": [made[way, seed] for way in ways] for seed in SEEDS}
    committees["all seeds"] = list(made.values())
    print()
    gains = []
    for name, members in committees.items():
        answer = measure(Asked(tuple(members)))
        errors = [one["metrics"][ERROR] for one in answer["members"]]
        together = answer["metrics"][ERROR]
        gains.append(fmean(errors) - together)
        each = ", ".join(f"{member.name} {error:.1f}" for member, error in zip(members, errors, strict=True))
        print(f"{name}: {each}; in the mean {fmean(errors):.2f}, together {together:.2f} % of the test's signs wrong")
    assert min(gains) >= 0
