"""`dltk sweep`: combinations, their names and folders, the queue on this machine."""

from pathlib import Path

import pytest

from dltk import recipe
from dltk.launch import here, sweep
from dltk.launch.sweep import run_name
from dltk.run.folder import RunFolder
from tests.cli.conftest import Command

SHORT = ("train.epochs=null", "train.steps=4", "log.wandb=disabled", "launch.accelerator=cpu")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "axes.yaml").write_text("optimizer.lr: [0.1, 0.01]\ntrain.seed: [0, 1]\n")
    return tmp_path


def test_a_run_is_called_by_its_values() -> None:
    assert run_name({"optimizer.lr": 0.1, "train.seed": 3}) == "lr=0.1,seed=3"
    assert run_name({"model.dropout": 0.5, "task.dropout": 0}) == "model.dropout=0.5,task.dropout=0"
    odd = run_name({"optimizer.betas": [0.9, 0.99]})
    assert odd.startswith("betas=0.9-0.99-")
    assert odd != run_name({"optimizer.betas": ["0.9, 0.99"]})
    long = [run_name({"data.name": "a" * 200 + end}) for end in "bc"]
    assert long[0] != long[1]
    assert max(map(len, long)) <= sweep.LONGEST


def test_a_dry_run_lists_and_makes_nothing(dltk: Command, folder: Path) -> None:
    said = dltk("sweep", "linear_digits", "axes.yaml", "--dry-run", "--json")
    assert said.code == 0, said.err
    assert [one["run"] for one in said.json] == ["lr=0.1,seed=0", "lr=0.1,seed=1", "lr=0.01,seed=0", "lr=0.01,seed=1"]
    assert {one["status"] for one in said.json} == {"missing"}
    assert said.json[2]["values"] == {"optimizer.lr": 0.01, "train.seed": 0}
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(("text", "said"), [
    ("", "axes.yaml: holds no axes. Write it as `optimizer.lr: [0.1, 0.01]`."),
    ("# later\n", "axes.yaml: holds no axes."),
    ("optimizer.lr: []", "axes.yaml:1: optimizer.lr: has no value."),
    ("optimizer.lr: 0.1", "axes.yaml:1: optimizer.lr: 0.1 is no list of values."),
    ("train.seed: [0]\noptimizer.lrr: [0.1]", "axes.yaml:2: optimizer.lrr: no setting 'lrr' in sgd. Did you mean 'lr'"),
    ("train.sede: [0]", "axes.yaml:1: train.sede: no setting 'sede' in train. Did you mean 'seed'?"),
    ("optimizr.lr: [0]", "axes.yaml: optimizr: no setting or section 'optimizr'. Did you mean 'optimizer'?"),
    ("train.seed: [0, x]", "axes.yaml:1: train.seed: 'x' is not an integer"),
    ("train.seed: [0, 1, 0]", "axes.yaml:1: train.seed: 0 stands twice. Remove one of them."),
    ("train.seed: [0]\ntrain.seed: [1]", "axes.yaml:2: train.seed: 'train.seed' stands twice, first in line 1"),
    ("run: [a, b]", "axes.yaml:1: run: cannot be an axis."),
    ("site.time: [1h, 2h]", "axes.yaml:1: site.time: cannot be an axis."),
    ("optimizer: [sgd]\noptimizer.lr: [1]", "axes.yaml:2: optimizer.lr: lies inside another axis."),
])  # fmt: skip
def test_mistakes_in_axes(dltk: Command, folder: Path, text: str, said: str) -> None:
    (folder / "axes.yaml").write_text(text)
    found = dltk("sweep", "linear_digits", "axes.yaml")
    assert found.code == 2
    assert found.err.startswith(said)
    assert len(found.err.splitlines()) == 1
    assert not (folder / "runs").exists()


def test_places_and_files_that_are_not_there(dltk: Command, folder: Path) -> None:
    assert dltk("sweep", "linear_digits", "axes.yaml", "--on", "pbs").err.startswith(
        "--on: there is no 'pbs'. Choices:"
    )
    assert dltk("sweep", "linear_digits", "none.yaml").err.startswith("none.yaml: cannot be read")


def test_a_sweep_trains_what_is_missing(
    dltk: Command, folder: Path, signals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One diverges, the others are trained; started again, and with one more value, only what is missing is."""
    trained: list[str] = []
    attempt = sweep.attempt

    def counted(run: RunFolder, *more: object) -> object:
        trained.append(run.path.name)
        return attempt(run, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(sweep, "attempt", counted)
    (folder / "axes.yaml").write_text("train.seed: [0, 1]\noptimizer.lr: [1.0e+38, 0.1]\n")
    said = dltk("sweep", "linear_digits", "axes.yaml", *SHORT, "--json")
    assert said.code == 1
    assert [one["status"] for one in said.json] == ["crashed", "done", "crashed", "done"]
    assert len(trained) == 4
    runs = folder / "runs" / "linear_digits"
    for name, seed in (("seed=0,lr=0.1", 0), ("seed=1,lr=0.1", 1)):
        frozen = recipe.thaw(runs / name / "recipe.yaml").settings
        assert (frozen["train"]["seed"], frozen["run"]) == (seed, name)
        assert frozen["log"]["group"] == "linear_digits-axes"
    trained.clear()
    (folder / "axes.yaml").write_text("train.seed: [0, 1, 2]\noptimizer.lr: [0.1]\n")
    said = dltk("sweep", "linear_digits", "axes.yaml", *SHORT)
    assert said.code == 0, said.err
    assert trained == ["seed=2,lr=0.1"]
    assert "3 runs, 1 to train\n1 of 1: runs/linear_digits/seed=2,lr=0.1\n" in said.out
    trained.clear()
    other = dltk("sweep", "linear_digits", "axes.yaml", *SHORT, "optimizer.momentum=0.5")
    assert other.code == 2
    assert "optimizer.momentum: this run was begun with 0.9, not 0.5" in other.err
    assert not trained


def test_a_signal_ends_the_row_and_the_next_sweep_goes_on(
    dltk: Command, folder: Path, signals: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    train, begun = here._in_place, []

    def interrupted(run: RunFolder, *more: object) -> object:
        begun.append(run.path.name)
        if len(begun) == 2:
            signal.raise_signal(signal.SIGTERM)  # heard at the first step
        return train(run, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(here, "_in_place", interrupted)
    said = dltk("sweep", "linear_digits", "axes.yaml", *SHORT, "--json")
    assert said.code == 85
    assert [one["status"] for one in said.json] == ["done", "preempted", "new", "new"]
    said = dltk("sweep", "linear_digits", "axes.yaml", *SHORT, "--json")
    assert said.code == 0, said.err
    assert begun[2:] == ["lr=0.1,seed=1", "lr=0.01,seed=0", "lr=0.01,seed=1"]
    assert RunFolder.open(said.json[1]["path"]).ledger.attempts()[1]["first_step"] == 1
