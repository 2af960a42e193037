"""Runs of other projects from W&B's own files, written by W&B itself."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dltk.compare.foreign import find, named
from dltk.compare.listing import listed
from dltk.compare.seen import see
from dltk.errors import LaunchError
from dltk.run.wandb_files import HEADER, records, segments

PROGRAM = textwrap.dedent("""
    import time
    import wandb
    for first in (0, 60):
        began = time.time()
        config = {"optimizer": {"name": "sgd", "lr": 0.1}, "seed": 3, "layers": [1, 2]}
        settings = wandb.Settings(mode="offline", silent=True, console="off", x_disable_stats=True)
        run = wandb.init(project="theirs", id="abcd", resume="allow", config=config, settings=settings)
        for step in range(first, first + 100, 10):
            run.log({"trainer/global_step": step, "epoch": step // 50, "train_loss": 1 / (step + 1)})
        run.log({"trainer/global_step": first + 90, "epoch": 1, "val_acc": 0.5 + first / 1000})
        run.log({"trainer/global_step": first + 90, "pictures": wandb.Html("<p>"), "nested": {"a": 1.0}})
        run.summary["best_acc"] = 0.75
        run.finish()
        time.sleep(max(0.0, 1.1 - (time.time() - began)))  # folders are named by the second
""")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that goes on at step 60 after it had come to 90."""
    folder = tmp_path_factory.mktemp("theirs")
    environment = {**os.environ, "WANDB_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", PROGRAM], cwd=folder, env=environment, check=True, timeout=200)
    return folder


def test_a_run_of_two_segments(written: Path) -> None:
    (run,) = find(written)
    seen = see(run)
    assert (seen.name, seen.recipe, seen.status, seen.step, seen.seed) == ("theirs/abcd", "theirs", "done", 150, 3)
    assert seen.settings == {"train.seed": 3, "optimizer.name": "sgd", "optimizer.lr": 0.1, "layers": [1, 2]}
    curve = seen.curves["train_loss"]
    assert curve.along["step"].tolist() == list(range(0, 160, 10))
    assert curve.values == pytest.approx([1 / (step + 1) for step in range(0, 160, 10)])
    assert seen.curves["val_acc"].along["step"].tolist() == [150]  # what the first start measured at 90 came after 60
    assert seen.final["val_acc"].value == pytest.approx(0.56)
    assert (seen.final["best_acc"].value, seen.final["best_acc"].step) == (0.75, None)
    assert seen.final["nested.a"].value == 1
    assert not [name for name in seen.final if name.startswith("pictures")]
    assert [attempt["exit_code"] for attempt in seen.attempts] == [0, 0]
    assert seen.hours is not None
    assert curve.along["hours"].max() <= seen.hours + 1e-3


def test_each_way_to_name_it(written: Path) -> None:
    last = segments(written / "wandb")[-1]
    assert named(last.file) == named(last.file.parent) == find(written)[0] == find(written / "wandb")[0]
    assert named(written) is None


def test_the_cache_follows_its_files(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path / "copy", symlinks=True)
    (first,) = find(tmp_path / "copy")
    assert first.step == 150
    assert (first.path / "cache" / "wandb.json").is_file()
    shutil.rmtree(first.path)
    (again,) = find(tmp_path / "copy")
    assert (again.step, list(again.log.curves["train_loss"].along["step"][-2:])) == (90, [80, 90])


def test_a_torn_end_is_borne(written: Path, tmp_path: Path) -> None:
    source = segments(written / "wandb")[0].file
    whole = list(records(source))
    data = source.read_bytes()
    for cut in (1, 30, len(data) // 2):
        file = tmp_path / f"offline-run-20261126_100000-abcd{cut}" / f"run-abcd{cut}.wandb"
        file.parent.mkdir()
        file.write_bytes(data[:-cut])
        kept = list(records(file))
        assert 0 < len(kept) < len(whole)
        assert kept == whole[: len(kept)]
        run = named(file)
        assert run is not None
        assert run.status == "running"  # written just now, without an end
        assert see(run).settings["optimizer.lr"] == 0.1


def test_a_damaged_block_is_passed_over(written: Path, tmp_path: Path) -> None:
    data = bytearray(segments(written / "wandb")[0].file.read_bytes())
    data[200] ^= 1
    file = tmp_path / "run-abcd.wandb"
    file.write_bytes(data)
    assert len(list(records(file))) < len(list(records(segments(written / "wandb")[0].file)))
    file.write_bytes(b"no file of W&B's" * 100)
    assert list(records(file)) == []


def test_listed_beside_others(written: Path) -> None:
    (one,) = listed(find(written))
    assert (one.outline["run"], one.outline["recipe"], one.outline["step"]) == ("abcd", "theirs", 150)
    assert (one.value("optimizer.lr"), one.value("val_acc")) == (0.1, pytest.approx(0.56))


def test_runs_of_ours_are_not_found_twice(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written / "wandb", tmp_path / "runs" / "small" / "first" / "wandb", symlinks=True)
    for name in ("run.json", "recipe.yaml"):
        (tmp_path / "runs" / "small" / "first" / name).touch()
    assert find(tmp_path) == []


def test_what_holds_no_record_is_named(written: Path, tmp_path: Path) -> None:
    shutil.copytree(written, tmp_path, dirs_exist_ok=True, symlinks=True)
    file = tmp_path / "wandb" / "offline-run-20260101_000000-zzzz" / "run-zzzz.wandb"
    file.parent.mkdir()
    for data in (b"", b"garbage", HEADER):
        file.write_bytes(data)
        problems: list[str] = []
        assert [run.segments[0].identity for run in find(tmp_path, problems)] == ["abcd"]
        assert problems == [
            f"{file}: W&B's file holds no record of a run. It is empty, damaged, or the run has not begun yet."
        ]
        with pytest.raises(LaunchError, match="holds no record of a run"):
            named(file)
