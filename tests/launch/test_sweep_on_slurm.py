"""A sweep as an array of jobs of a real Slurm."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from dltk.run.folder import RunFolder
from tests.commands import wait_until
from tests.launch.conftest import Workshop
from tests.launch.test_slurm import CPU, Cluster, cluster  # noqa: F401 - a fixture

SHORT = ("train.epochs=null", "train.steps=10", *CPU)


@pytest.fixture
def axes(workshop: Workshop) -> Iterator[Path]:
    path = workshop.folder / "rates.yaml"
    path.write_text("optimizer.lr: [0.05, 0.1]\ntrain.seed: [7]\n")
    yield path
    path.unlink()


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_sweep_is_one_array(cluster: Cluster, workshop: Workshop, axes: Path) -> None:  # noqa: F811
    def sweep(*more: str) -> str:
        arguments = ("sweep", "small.yaml", axes.name, "runs_dir=swept", *SHORT, "--on", "slurm", *more)
        return str(workshop.dltk(*arguments, **cluster.environment).out)

    held = re.search(r"submitted as job (\d+)", sweep("site.options=[--hold]"))
    assert held
    runs = [workshop.folder / "swept" / "small" / name for name in ("lr=0.05,seed=7", "lr=0.1,seed=7")]
    assert "2 runs, 0 to submit" in sweep()  # they wait
    cluster.tool("scancel", held[1])
    said = sweep("log.every_steps=2")
    assert "2 runs, 2 to submit" in said
    number = re.search(r"submitted as job (\d+)", said)
    assert number
    assert "2 runs, 0 to submit" in sweep()  # they wait, or train, or are done
    wait_until(lambda: all(RunFolder.open(run).status == "done" for run in runs), "both runs", 120)
    listed = json.loads(sweep("--dry-run", "--json"))
    assert [one["status"] for one in listed] == ["done", "done"]
    for place, run in enumerate(runs):
        opened = RunFolder.open(run)
        assert [job["id"] for job in opened.jobs()] == [f"{job}_{place}" for job in (held[1], number[1])]
        assert opened.recipe["log"]["group"] == "small-rates"
        assert list((run / "logs").glob(f"slurm-{number[1]}_{place}.out"))
        (attempt,) = opened.ledger.attempts()
        assert (attempt["step"], attempt["changed"]) == (10, {"log.every_steps": 2})


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_an_array_has_one_size(cluster: Cluster, workshop: Workshop, axes: Path) -> None:  # noqa: F811
    axes.write_text("launch.devices: [1, 2]\n")
    arguments = ("sweep", "small.yaml", axes.name, "runs_dir=sizes", *SHORT, "--on", "slurm")
    said = workshop.dltk(*arguments, expect=2, **cluster.environment).err
    assert said == "launch.devices: differs between runs of one array. Make a sweep of each.\n"
    assert not (workshop.folder / "sizes").exists()
