"""How well DeepFace's features tell whether two digits are the same of three that it never saw; three seeds.

Digits of MNIST stand in for people, of whom those of the test are strangers, as in Taigman et al. (2014, section 5.3).
"""

import os
from pathlib import Path

import pytest

import dltk
from dltk.cli.verification import verify
from dltk.run.folder import RunFolder

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

NAME, AIM = "deepface_strangers", 0.9


@pytest.mark.parametrize("seed", range(3))
def test_strangers_are_told_apart(seed: int, tmp_path: Path) -> None:
    runs = Path(os.environ.get("RUNS") or tmp_path)
    run = runs / NAME / f"seed-{seed}"
    if not (run / "summary.json").is_file():
        how = (f"train.seed={seed}", f"run=seed-{seed}", f"runs_dir={runs}", "log.wandb=disabled")
        dltk.train(NAME, *how, "launch.accelerator=cpu", "launch.threads=1")
    told = verify(RunFolder.open(run), "best").plain()
    print()
    print(
        f"seed {seed}, {told['pairs']:,} pairs of {', '.join(told['classes'])}: "
        + ", ".join(f"{name} {share:.3f}" for name, share in told["area"].items())
    )
    assert told["area"]["inner product"] >= AIM
    assert told["area"]["weighted chi-squared"] >= AIM
