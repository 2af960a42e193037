"""`dltk submit`, as far as it comes without a cluster."""

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from dltk import cli, recipe
from dltk.cli.follow import _job_line
from dltk.cli.handing import require_no_job
from dltk.cli.slurm_submit import hand_over, job_of
from dltk.errors import LaunchError
from dltk.launch import detached, ray_jobs, slurm
from dltk.launch.opening import changes
from dltk.run import phases
from dltk.run.folder import RunFolder

PLACES = ("slurm", "ray", "here")


@pytest.fixture
def made(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", "recipe", {}, run="run")


def test_a_run_of_slurm_goes_on_where_there_is_none(
    made: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    made.note_job("slurm", "7", "train.sbatch", {})
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
    made.note_job("here", str(os.getpid()), str(file), {})
    with pytest.raises(LaunchError, match=f"its process {os.getpid()} is under way already"):
        require_no_job(made, on, "afterok:1" if on == "slurm" else None)


@pytest.mark.parametrize("on", PLACES)
def test_a_job_of_a_fake_ray_is_in_the_way_of_every_job(
    made: RunFolder, monkeypatch: pytest.MonkeyPatch, on: str
) -> None:
    made.note_job("ray", "one", "http://head:8265", {})
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


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[recipe.Recipe]:
    """A recipe in a working folder without code, and a fake Slurm that takes every job."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slurm, "submit", lambda script, *options: f"{7 + len(options)}")
    phases.taken()
    with phases.phase("compose"):
        wanted = recipe.load("lenet5_digits", "launch.accelerator=cpu", "launch.devices=1", check_model=False)
    yield wanted
    phases.taken()


def test_each_job_of_a_fake_slurm_has_the_seconds_of_its_submission(apart: recipe.Recipe) -> None:
    """Each run of an array, and each job of a chain."""
    runs = [RunFolder.create("runs", "lenet5_digits", apart.settings, run=f"seed-{seed}") for seed in range(2)]
    hand_over(apart, runs, chain=2)
    jobs = [run.jobs() for run in runs]
    assert [[job["id"] for job in own] for own in jobs] == [["7_0", "8_0"], ["7_1", "8_1"]]
    for own in jobs:
        for job in own:
            assert set(job["seconds"]) == {"compose", "folder"}
            assert job["seconds"] == jobs[0][0]["seconds"]


def test_what_is_said_to_a_run_reaches_its_job_at_a_fake_slurm(
    apart: recipe.Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    """As when it is trained: what would change its result is refused."""
    text = recipe.freeze(apart)
    run = RunFolder.create("runs", "lenet5_digits", apart.settings, run="first", text=text)
    given = (
        "log.every_steps=3",
        "launch.nodes=2",
        "site.options=[--exclusive]",
        "launch.container={kind: pyxis, image: a.sqsh}",
    )
    wanted = recipe.load(run.path / "recipe.yaml", *given, check_model=False)
    script = job_of(wanted, (run.path,), (), None, changes(run, wanted, extend=False)).script()
    (line,) = [line for line in script.splitlines() if line.startswith("srun ")]
    words = shlex.split(line.removesuffix("&"))
    assert (
        recipe.load(run.path / "recipe.yaml", *words[words.index("$run") + 1 :], check_model=False)["launch"]
        == wanted["launch"]
    )
    assert "log.every_steps=3" in words
    assert not any(word.startswith("site.") for word in words)
    assert cli.run(["submit", str(run.path), "optimizer.lr=7"]) == 2
    assert "optimizer.lr: this run was begun with" in capsys.readouterr().err


@pytest.mark.parametrize("on", [(), ("--dry-run",)])
def test_seeds_name_their_runs_themselves(
    apart: recipe.Recipe, capsys: pytest.CaptureFixture[str], on: tuple[str, ...]
) -> None:
    run = RunFolder.create("runs", "lenet5_digits", apart.settings, run="first", text=recipe.freeze(apart))
    place = ("launch.accelerator=cpu", "launch.devices=1")
    for given, named in ((("lenet5_digits", "run=x"), "run=x"), ((str(run.path),), str(run.path))):
        assert cli.run(["submit", *given, *place, "--seeds", "3", *on]) == 2
        expected = f"--seeds: cannot be combined with '{named}'. It names new runs seed-0 … itself.\n"
        assert capsys.readouterr().err == expected
    assert [path.name for path in run.path.parent.iterdir()] == ["first"]


@pytest.mark.parametrize(("why", "said"), [("None", "RUNNING on n1"), ("Priority", "RUNNING (Priority) on n1")])
def test_a_job_without_a_reason_gives_none(why: str, said: str) -> None:
    known = {"job": "7", "state": "RUNNING", "why": why, "nodes": "n1", "run_time": "1", "time_limit": "2"}
    assert _job_line({**known, "restarts": "0"}) == f"job 7: {said}, 1 of 2, 0 restarts"
