"""`dltk submit`, as far as it comes without a cluster."""

import json
import os
from pathlib import Path

import pytest

from dltk import recipe
from dltk.cli.submit import job_of, require_no_job
from dltk.errors import LaunchError
from dltk.launch import detached, ray_jobs
from dltk.run.folder import RunFolder

PLACES = ("slurm", "ray", "here")


@pytest.fixture
def made(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", "recipe", {}, run="run")


def test_a_run_of_slurm_goes_on_where_there_is_none(
    made: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    made.note_job("slurm", "7", "train.sbatch")
    with pytest.raises(LaunchError, match="this machine has no Slurm"):
        require_no_job(made, "slurm")
    for on in ("here", "ray"):
        require_no_job(made, on)
        said = "this machine has no Slurm, so whether a job of the run waits there is not known."
        assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("on", PLACES)
def test_a_process_of_the_run_is_in_the_way_of_every_job(made: RunFolder, on: str) -> None:
    file = made.path / "job.json"
    mine = {"pid": os.getpid(), "process": detached.process_start(os.getpid()), "host": "h"}
    file.write_text(json.dumps({**mine, "machine": detached.machine()}))
    made.note_job("here", str(os.getpid()), str(file))
    with pytest.raises(LaunchError, match=f"its process {os.getpid()} is under way already"):
        require_no_job(made, on, "afterok:1" if on == "slurm" else None)


@pytest.mark.parametrize("on", PLACES)
def test_a_job_of_a_fake_ray_is_in_the_way_of_every_job(
    made: RunFolder, monkeypatch: pytest.MonkeyPatch, on: str
) -> None:
    made.note_job("ray", "one", "http://head:8265")
    monkeypatch.setattr(ray_jobs, "state", lambda run: {"JobState": "PENDING"})
    with pytest.raises(LaunchError, match="its job one is under way already"):
        require_no_job(made, on)


def test_a_container_has_the_runs_wherever_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those of another folder than the recipe's, and behind a link out of the working folder."""
    scratch, project = tmp_path / "scratch", tmp_path / "project"
    scratch.mkdir()
    project.mkdir()
    (project / "runs").symlink_to(scratch)
    monkeypatch.chdir(project)
    container = {"launch": {"container": {"kind": "pyxis", "image": "/images/torch.sqsh"}}}
    wanted = recipe.load("lenet5_digits", container, check_model=False)
    elsewhere = tmp_path / "other" / "lenet5_digits" / "first"
    script = job_of(wanted, (elsewhere,), (), None).script()
    for folder in (elsewhere.parent, scratch, project):
        assert f"{folder}:{folder}" in script
