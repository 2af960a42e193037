"""Other settings for a run that exists: taken where they cannot change the result, else refused with the remedy."""

import errno
import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from dltk import recipe
from dltk.errors import LaunchError
from dltk.launch import here
from dltk.run.folder import RunFolder
from tests.launch.conftest import Workshop, assert_equal_to_the_bit, curve, final_state, lines

CONSTANT = "schedule={name: constant}"


@pytest.fixture(scope="module")
def plain(workshop: Workshop) -> Path:
    """A finished run of one epoch, 39 steps."""
    return workshop.train("plain", CONSTANT, "train.epochs=1")


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def refused(*arguments: Any, **more: Any) -> str:
    with pytest.raises(LaunchError) as caught:
        here.open_run(arguments, **more)
    return str(caught.value)


def test_what_would_change_the_result_is_refused(plain: Path) -> None:
    assert refused(plain, "optimizer.lr=0.3") == (
        f"{plain}: optimizer.lr: this run was begun with 0.05, not 0.3. "
        f"Begin a new run from this one: `dltk train --fork {plain} optimizer.lr=0.3`."
    )
    assert refused(plain, "train.epochs=2") == (
        f"{plain}: train.epochs: this run was begun with 1, not 2. "
        f"Begin a new run from this one: `dltk train --fork {plain} train.epochs=2`, "
        "or lengthen this one with --extend."
    )
    assert refused(plain, "train.epochs=2", "train.seed=3", extend=True).startswith(f"{plain}: train.seed: ")
    assert refused(plain, "train.steps=50", "train.epochs=null", extend=True) == (
        f"{plain}: train.epochs: None does not lengthen 1. Raise train.epochs."
    )


def test_what_cannot_change_it_is_taken(plain: Path) -> None:
    harmless = {"data.workers": 1, "launch.devices": 2, "log.every_steps": 3, "checkpoint.keep_last": 4}
    folder, changed = here.open_run([plain, *(f"{key}={value}" for key, value in harmless.items())])
    assert (folder.path, changed) == (plain, harmless)


def test_a_run_goes_on_under_a_dltk_that_has_more_settings(plain: Path, tmp_path: Path) -> None:
    older = Path(shutil.copytree(plain, tmp_path / "older"))
    text = (older / "recipe.yaml").read_text()
    assert "\n  velocity: gradients\n" in text
    (older / "recipe.yaml").write_text(text.replace("\n  velocity: gradients\n", "\n"))
    folder, changed = here.open_run([older])
    assert (folder.path, changed) == (older, {})
    assert "optimizer.velocity: this run was begun with None, not 'steps'" in refused(older, "optimizer.velocity=steps")


def test_forks(workshop: Workshop, plain: Path) -> None:
    before = contents(plain)
    arguments = ["train", "--fork", "runs/small/plain@35", "optimizer.lr=0.005", "optimizer.momentum=0.5"]
    workshop.dltk(*arguments, "train.epochs=2", "run=child")
    child = RunFolder.open(workshop.run("child"))
    assert contents(plain) == before
    assert child.about["parent"] == "runs/small/plain@35"
    assert (child.recipe["optimizer"]["lr"], child.recipe["train"]["epochs"]) == (0.005, 2)
    assert lines(child.path)[0]["step"] == 39
    assert curve(child.path, "train/lr") == dict.fromkeys(range(40, 79, 5), 0.005) | {78: 0.005}
    assert {group["momentum"] for group in final_state(child.path)["optimizer"][0]["param_groups"]} == {0.5}
    assert child.ledger.attempts()[0]["first_step"] == 35
    assert refused(fork=f"{plain}@36").startswith(
        f"{plain}/checkpoints: step 36: no such checkpoint. There are: 35, 39"
    )
    assert refused(fork=str(plain)) == (
        f"--fork {plain}: train.epochs: a run of 39 steps has nothing left to train after step 39. "
        f"Raise train.epochs, or fork from an earlier step (there are: 35): --fork {plain}@35."
    )
    assert refused("train.epochs=null", "train.steps=20", fork=f"{plain}@35") == (
        f"--fork {plain}: train.steps: a run of 20 steps has nothing left to train after step 35. Raise train.steps."
    )
    assert refused("optimizer={name: adam, lr: 0.1}", fork=str(plain)) == (
        f"--fork: optimizer.name: 'adam' cannot go on from the state that 'sgd' left in {plain}. "
        f"Take its weights alone, in a recipe of your own: init: [{{from: {plain}}}]."
    )


def test_forking_while_the_parent_removes_old_checkpoints(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = Path(shutil.copytree(plain, tmp_path / "parent"))
    copy = shutil.copyfile

    def remove_and_copy(path: Path, to: Path) -> None:
        if path.parent.name == "step-00000039":
            shutil.rmtree(path.parent)
        copy(path, to)

    monkeypatch.setattr("shutil.copyfile", remove_and_copy)
    folder, _ = here.open_run((f"runs_dir={tmp_path / 'runs'}", "run=child"), fork=str(parent))
    assert folder.about["parent"] == f"{parent}@35"
    assert [path.name for path in folder.checkpoints.steps().values()] == ["step-00000035"]
    assert folder.checkpoints.newest() is not None
    with pytest.raises(LaunchError, match="step 39: no such checkpoint"):
        here.open_run((f"runs_dir={tmp_path / 'runs'}", "run=other"), fork=f"{parent}@39")
    assert [path.name for path in (tmp_path / "runs").rglob("*") if "other" in path.name or "fork" in path.name] == []


def test_forking_onto_a_full_disk_leaves_no_run(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    assert refused(f"runs_dir={tmp_path / 'runs'}", "run=child", fork=str(plain)) == (
        f"{tmp_path / 'runs'}: cannot copy the checkpoint: no space left on the disk. "
        "Free some space and start the same command again: the run goes on."
    )
    assert list((tmp_path / "runs").iterdir()) == []


def test_extending_a_finished_run_is_having_asked_for_more(workshop: Workshop, plain: Path) -> None:
    short = (plain / "recipe.yaml").read_text()
    workshop.dltk("train", "runs/small/plain", "--extend", "train.epochs=2")
    assert recipe.thaw(plain / "recipe.yaml").settings["train"]["epochs"] == 2
    assert (plain / "recipe.1.yaml").read_text() == short
    assert refused(plain, "train.epochs=1", extend=True) == (
        f"{plain}: train.epochs: 1 is less than the run's 2. Extend it to more."
    )
    long = workshop.train("long", CONSTANT, "train.epochs=2")
    assert_equal_to_the_bit(final_state(plain), final_state(long))
    for metric in ("train/loss", "data/digest"):
        longer, extended = curve(long, metric), curve(plain, metric)
        del extended[39]  # its old end had a line of its own; that of step 40 is the mean since then
        assert longer.keys() == extended.keys()
        assert {step for step in longer if longer[step] != extended[step]} <= {40}

    # And once more, on two processes.
    changed = {"launch.devices": 2, "log.every_steps": 3, "checkpoint.keep_last": 3}
    settings = [f"{key}={value}" for key, value in changed.items()]
    workshop.dltk("train", "runs/small/plain", "--extend", "train.epochs=3", *settings)
    run = RunFolder.open(plain)
    attempts = run.ledger.attempts()
    assert [(a["world_size"], a["changed"], a["steps"]) for a in attempts] == [
        (1, {}, 39),
        (1, {}, 39),
        (2, changed, 39),
    ]
    assert [line["step"] for line in lines(plain)][-3:] == [111, 114, 117]
    summary = run.summary() or {}
    assert (run.status, summary["status"], summary["step"], summary["samples"]) == ("done", "done", 117, 117 * 32)
