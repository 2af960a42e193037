import subprocess
import sys
from pathlib import Path

import pytest

from dltk.cli import run
from tests.cli.conftest import ROOT, Command


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing"], "dltk: No such command 'nothing'. See `dltk --help`."),
        (["list", "--jsn"], "dltk list: No such option"),
        (["show", "lenett5"], "lenett5: is no run folder, recipe or network. Did you mean 'lenet5'?"),
        (["show", "lenet5", "num_clases=3"], "no setting 'num_clases' in lenet5. Did you mean 'num_classes'?"),
        (["show", "lenet5", "--lr"], "is a network, which has no learning rate"),
        (["show", "lenet5", "--settings", "modl"], "Did you mean 'model'?"),
        (
            ["show", "mlp_digits", "--settings", "data.augment"],
            "--settings: data.augment is none, which has no settings. Choose one of data.augment=affine, data.augment=",
        ),
        (
            ["validate", "lenet5_digits", "optimizer.groups=[{match: c1, lrr: 0.1}]"],
            "override 'optimizer.groups=[{match: c1, lrr: 0.1}]': optimizer.groups.0.lrr: no setting 'lrr' in a group "
            "of sgd. Did you mean 'lr'?\n",
        ),
        (["show", "lenet5", "num_classes=1"], "lenet5: num_classes is 1, too few to tell apart. "),
        (["validate", "linear_digits", "train.epoch=1"], "no setting 'epoch' in train. Did you mean 'epochs'?"),
        (["validate", "train.epochs=1"], "names a network. Give a recipe first."),
        (["train"], "RECIPE: is missing."),
        (["train", "linear_digits", "--seeds", "2", "run=x"], "--seeds: cannot be combined with 'run=x'."),
        (["train", "nowhere.yaml"], "nowhere.yaml: no such file"),
        *(
            (
                [command, "linear_digits", "train.precision=16-mixed", "launch.accelerator=cpu"],
                "train.precision: 16-mixed given, and it runs on CPUs, where 16 bits are trained in bf16 only. Set it",
            )
            for command in ("train", "debug")
        ),
        (["train", "--fork", "nowhere"], "nowhere: no such folder."),
        (["evaluate", "nowhere"], "nowhere: no such folder. `dltk runs` lists the runs."),
        (["evaluate", "nowhere", "--split", "all"], "Invalid value for '--split'"),
        (["evaluate", "nowhere", "--protocol", "tencrop"], "there is no 'tencrop'. Did you mean 'ten_crop'?"),
        (["evaluate", "nowhere", "--scales", "2x"], "--scales: '2x' is no list of sizes. Write it like 256,384,512."),
        (["evaluate", "launch.devices=2"], "RUN: is missing. Give a run folder"),
        (["runs", "nowhere"], "nowhere: no such folder."),
        (["new", "Bad-Name"], "'Bad-Name' cannot name a package."),
        (["new", "json"], "'json' cannot name a package."),
        (["draw", "nowhere", "warp"], "nowhere: no such folder."),
    ],
)
def test_a_mistake_is_one_line_and_2(
    arguments: list[str], says: str, dltk: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = dltk(*arguments)
    assert said.code == 2
    assert says in said.err
    assert len(said.err.splitlines()) == 1
    assert not said.out
    assert not list(tmp_path.iterdir())


def test_our_own_faults_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dltk.cli.listing.listed_recipes", lambda: [][0])
    with pytest.raises(IndexError):
        run(["list"])


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dltk.cli.listing.listed_recipes", interrupted)
    assert run(["list"]) == 130


def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    for arguments in (["list"], ["list", "--json"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "dltk", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait() == 0
