import json
import shutil
from pathlib import Path

import pytest
import torch

from dltk.cli import train, validate
from dltk.compare import claims
from dltk.data.dataset import Facts
from dltk.errors import DataError
from dltk.run.claim import Claim
from dltk.run.folder import RunFolder
from tests.cli.conftest import Command, Trained


def test_validate_says_steps_and_batch(dltk: Command) -> None:
    said = dltk("validate", "linear_digits", "train.epochs=2", "batch.global=32", "launch.accelerator=cpu", "--data")
    assert said.code == 0, said.err
    assert said.out == (
        "ok: linear_digits: 2 epochs = 78 steps, batch 32 = 32 micro × 1 accumulate × 1 process, "
        "data train 1,258 · val 180 · test 359\n"
    )


def test_validate_goes_on_after_a_mistake(dltk: Command, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("model: {architecture: linear, num_classes: 10}\ndata: {nam: digits}\nbatch: {global: 8}\n")
    said = dltk("validate", bad, "linear_digits", "cluster/ddp.yaml", "launch.accelerator=cpu", "--json")
    assert said.code == 2
    assert [answer["ok"] for answer in said.json] == [False, True]
    assert "bad.yaml:2" in said.json[0]["error"]


def test_batch_arithmetic_in_words() -> None:
    def text(whole: int, world: int, micro: int | None = None, passes: int | None = None) -> str:
        return validate.batch_text({"batch": {"global": whole, "micro": micro, "accumulate": passes}}, world)

    assert text(32, 1) == "batch 32 = 32 micro × 1 accumulate × 1 process"
    assert text(32, 2, micro=4) == "batch 32 = 4 micro × 4 accumulate × 2 processes"
    assert text(32, 2, passes=2) == "batch 32 = 8 micro × 2 accumulate × 2 processes"
    assert text(33, 2) == "batch 33 ≤ 17 micro × 1 accumulate × 2 processes"


def test_data_must_fit_the_network(dltk: Command, tmp_path: Path) -> None:
    images = "data={name: images, image_size: 8, channels: 1}"
    said = dltk("validate", "--data", "linear_digits", images, "data_dir=/none")
    assert said.code == 2
    with pytest.raises(DataError, match="data_dir"):
        validate.data_facts(
            {"data": {"name": "images", "image_size": 8}, "model": {}, "data_dir": None},
        )


def test_train_says_what_it_will_do_and_what_came_of_it(trained: Trained) -> None:
    out = trained.said.out
    for words in ("6,570 trainable parameters", "train 1,258", "400 steps", "batch 32 = 32", "test/top1_error"):
        assert words in out
    assert "UNTESTED" in out
    assert "1 of 2 seeds" in out
    assert out.splitlines()[-1] == str(trained.path)
    assert "Traceback" not in trained.said.err


def test_train_keeps_what_is_done(dltk: Command, trained: Trained) -> None:
    before = (trained.path / "ledger.jsonl").read_bytes()
    said = dltk("train", trained.path)
    assert said.code == 0
    assert "is done already; --extend with more train.steps" in said.out
    assert said.out.splitlines()[-1] == str(trained.path)
    assert (trained.path / "ledger.jsonl").read_bytes() == before


def test_other_settings_for_a_run_are_refused(dltk: Command, trained: Trained) -> None:
    said = dltk("train", trained.path, "optimizer.lr=0.3")
    assert said.code == 2
    assert "optimizer.lr" in said.err
    assert "--fork" in said.err


def test_several_seeds_make_the_verdict(trained: Trained, tmp_path: Path, dltk: Command) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(trained.path, runs / "mlp_digits" / "first")
    other = runs / "mlp_digits" / "second"
    shutil.copytree(trained.path, other)
    frozen = other / "recipe.yaml"
    frozen.write_text(frozen.read_text().replace("seed: 0", "seed: 1"))
    summary = json.loads((other / "summary.json").read_text())
    summary["evaluation"]["metrics"]["test/top1_error"] = 5.0
    (other / "summary.json").write_text(json.dumps(summary))
    stranger = runs / "mlp_digits" / "third"
    shutil.copytree(trained.path, stranger)
    frozen = stranger / "recipe.yaml"
    frozen.write_text(frozen.read_text().replace("lr: 0.05", "lr: 0.2").replace("seed: 0", "seed: 2"))
    values = claims.same_recipe(RunFolder.open(other), Claim(metric="test/top1_error", value=8.0, tolerance=8.0))
    assert list(values) == [0, 1]
    assert values[1] == 5.0
    said = dltk("train", other)
    assert "PASS: test/top1_error" in said.out
    assert "(2 seeds)" in said.out


@pytest.mark.parametrize(
    ("file", "old", "new", "reason"),
    [
        (
            "recipe.yaml",
            "protocol: single_crop",
            "protocol: ten_crop",
            "measured on test by single_crop, not on test by",
        ),
        (
            "summary.json",
            '"split": "test"',
            '"split": "val"',
            "measured on val by single_crop, not on test by single_crop",
        ),
        ("run.json", '"parent": null', '"parent": "runs/x/y@200"', "the run was forked from runs/x/y@200"),
    ],
)
def test_a_verdict_needs_a_run_measured_as_claimed(
    trained: Trained, tmp_path: Path, dltk: Command, file: str, old: str, new: str, reason: str
) -> None:
    run = tmp_path / "mlp_digits" / "first"
    shutil.copytree(trained.path, run)
    text = (run / file).read_text()
    assert text.count(old) == 1
    (run / file).write_text(text.replace(old, new))
    said = dltk("train", run)
    assert said.code == 0, said.err
    assert reason in said.out
    assert "UNTESTED: test/" in said.out
    assert "PASS" not in said.out
    claim = Claim(**RunFolder.open(run).recipe["claim"])
    assert claims.same_recipe(RunFolder.open(run), claim) == {}


def test_a_claim_given_for_a_run_that_is_done_is_judged(trained: Trained, dltk: Command) -> None:
    said = dltk("train", trained.path, "claim.protocol=ten_crop")
    assert "UNTESTED: test/top1_error: measured on test by single_crop, not on test by ten_crop; claimed 8" in said.out
    said = dltk("train", trained.path, "claim.checkpoint=last")
    assert "UNTESTED: test/top1_error: measured at the best checkpoint, not at the last one; claimed 8" in said.out
    said = dltk("train", trained.path, "claim.data=0123456789abcdef")
    assert "UNTESTED: test/top1_error: measured on other data than the claim's; claimed 8" in said.out
    reason = claims.why_not(RunFolder.open(trained.path), Claim(metric="test/bleu", value=1.0, tolerance=1.0))
    assert reason is not None
    assert reason.startswith("not measured (but test/")


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (["batch.global=5000"], "batch.global: 5000 samples make a batch"),
        (["data={name: images, image_size: 8, channels: 1}", "data_dir=/none"], "data.folder: is no folder"),
        pytest.param(
            ["launch.accelerator=cuda"],
            "launch.accelerator",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="has CUDA"),
        ),
    ],
)
def test_a_mistake_leaves_no_run_folder(tmp_path: Path, dltk: Command, mistake: list[str], says: str) -> None:
    said = dltk("train", "linear_digits", *mistake, f"runs_dir={tmp_path}")
    assert said.code == 2
    assert says in said.err
    assert not list(tmp_path.iterdir())


NET = """
from torch import nn


class Net(nn.Sequential):
    def __init__(self, *, num_classes: int, **more) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, num_classes))
"""


def test_what_the_recipe_says_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "noted_net.py").write_text(NET)
    monkeypatch.syspath_prepend(str(tmp_path))
    model = "model={architecture: noted_net:Net, num_classes: 10, depth: 3}"
    rest = ["data={name: digits}", "optimizer={name: sgd, lr: 0.1}", "batch.global=8", "train.steps=1"]
    train._check([model, "task={name: classification}", *rest])
    assert [line for line in capsys.readouterr().err.splitlines() if "depth" in line]


def test_files_that_are_no_pictures_are_counted() -> None:
    assert train._data_text(Facts({"train": 7}, 2, (1, 8, 8))) == "train 7"
    assert train._data_text(Facts({"train": 7}, 2, (1, 8, 8), 3)) == "train 7; 3 files that are no pictures left out"
    assert train._data_text(Facts({"train": 7}, 2, (1, 8, 8)), 2) == "train 7"
    assert train._data_text(Facts({"train": 7}, 2, (1, 8, 8)), 1000) == "train 7; 2 classes, of the network's 1,000"


@pytest.mark.usefixtures("signals")
def test_seeds_train_one_after_another(tmp_path: Path, dltk: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [
        "train",
        "linear_digits",
        "train.epochs=null",
        "train.steps=2",
        "launch.threads=1",
        "log.wandb=disabled",
        "--seeds",
        2,
    ]
    said = dltk(*arguments)
    assert said.code == 0, said.err
    folder = tmp_path / "runs" / "linear_digits"
    assert sorted(path.name for path in folder.iterdir()) == ["seed-0", "seed-1"]
    assert [RunFolder.open(folder / f"seed-{k}").recipe["train"]["seed"] for k in (0, 1)] == [0, 1]
    assert said.out.splitlines()[-1] == "runs/linear_digits/seed-1"


def test_new_package_trains_at_once(
    tmp_path: Path, dltk: Command, start: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert dltk("new", "my_nets").code == 0
    said = dltk("new", "my_nets")
    assert (said.code, said.err) == (2, "my_nets: exists already. Choose another name.\n")
    said = start(
        "train",
        "my_nets/recipes/strokes.yaml",
        "train.epochs=2",
        "log.wandb=disabled",
        "launch.threads=1",
        "run=a",
        cwd=tmp_path,
    )
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1] == "runs/strokes/a"
    error = json.loads((tmp_path / "runs/strokes/a/summary.json").read_text())["metrics"]["test/top1_error"]
    assert error < 20  # by chance 75
