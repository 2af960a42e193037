"""Attacks by files from elsewhere: a checkpoint, a recipe, a run folder, a picture, a data file. Each leaves no mark.

A marker file appears when foreign code runs. Every test fails when its guard is taken away.
"""

import gzip
import hashlib
import json
import os
import pickle
import struct
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dltk import cli
from dltk.data.images import read_image
from dltk.data.mnist import read_idx
from dltk.errors import DataError, LaunchError, RecipeError
from dltk.launch.evaluation import load_predictions
from dltk.run.checkpoint import Checkpoints, load_file
from dltk.run.folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.marker),))


@pytest.fixture
def marker(tmp_path: Path) -> Any:
    path = tmp_path / "foreign-code-ran"
    yield path
    assert not path.exists(), "foreign code ran"


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def test_the_bomb_works(tmp_path: Path) -> None:
    """Without a guard it goes off; else the tests below would prove nothing."""
    torch.save(Bomb(tmp_path / "mark"), tmp_path / "bomb.pt")
    torch.load(tmp_path / "bomb.pt", weights_only=False)
    assert (tmp_path / "mark").is_dir()


def test_a_checkpoint_that_is_a_pickle(tmp_path: Path, marker: Path) -> None:
    """Even with a manifest that fits: who can write the one can write the other."""
    folder = tmp_path / "checkpoints" / "step-00000007"
    folder.mkdir(parents=True)
    torch.save({"state_dict": Bomb(marker)}, folder / "state.pt")
    data = (folder / "state.pt").read_bytes()
    files = {"state.pt": {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}}
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "step": 7, "files": files}))
    checkpoints = Checkpoints(folder.parent)
    assert checkpoints.verify(folder) is None
    with pytest.raises(LaunchError, match="cannot be loaded as plain data"):
        checkpoints.load(folder)


@pytest.mark.parametrize("protocol", [2, 4])
def test_weights_that_are_a_bare_pickle(tmp_path: Path, marker: Path, protocol: int) -> None:
    (tmp_path / "weights.pth").write_bytes(pickle.dumps({"w": Bomb(marker)}, protocol=protocol))
    with pytest.raises(LaunchError, match="cannot be loaded as plain data"):
        load_file(tmp_path / "weights.pth")


def test_init_from_a_pickle(
    tmp_path: Path, marker: Path, command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"output.weight": Bomb(marker)}, tmp_path / "weights.pt")
    code, _, err = command(
        "train", "linear_digits", "train.epochs=1", "log.wandb=disabled", f"init=[{{from: '{tmp_path}/weights.pt'}}]"
    )
    assert code == 2
    assert err.strip().splitlines()[-1].startswith(f"{tmp_path}/weights.pt: cannot be loaded as plain data")


def test_predictions_with_pickled_objects(tmp_path: Path, marker: Path) -> None:
    np.savez(tmp_path / "test-single_crop.npz", keys=np.array([Bomb(marker)], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_predictions(tmp_path / "test-single_crop.npz")


@pytest.mark.parametrize(
    "text",
    [
        "model: !!python/object/apply:os.mkdir ['{marker}']",
        "model: !!python/name:os.mkdir",
        "!!python/object/new:os.mkdir ['{marker}']",
    ],
)
def test_a_recipe_with_python_tags(tmp_path: Path, marker: Path, text: str) -> None:
    from dltk import recipe

    (tmp_path / "r.yaml").write_text(text.format(marker=marker))
    with pytest.raises(RecipeError):
        recipe.load(tmp_path / "r.yaml")


def test_a_recipe_of_many_aliases(tmp_path: Path) -> None:
    from dltk import recipe

    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    (tmp_path / "r.yaml").write_text("\n".join(levels))
    with pytest.raises(RecipeError):
        recipe.load(tmp_path / "r.yaml")


@pytest.fixture
def foreign_run(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run folder of somebody else, whose recipe names code that lies in the current folder."""
    (tmp_path / "evil.py").write_text(
        textwrap.dedent(f"""
            import os
            os.mkdir({str(marker)!r})

            class Net:
                def __init__(self, *, num_classes: int = 10) -> None: ...
            """)
    )
    monkeypatch.chdir(tmp_path)
    from dltk import recipe

    settings = recipe.load("linear_digits").settings
    settings["model"] = {"architecture": "evil:Net", "num_classes": 10}
    settings["task"] = {"name": "evil:Net"}
    settings["data"]["name"] = "evil:Net"
    text = recipe.freeze(recipe.Recipe("linear_digits", settings, {}))
    run = RunFolder.create(tmp_path / "runs", "linear_digits", settings, run="theirs", text=text)
    run.metrics.append(step=1, epoch=0, samples=1, time=0.0, **{"train/[red]loss[/red]": 1.0})
    return run


def test_listing_and_showing_run_nothing_of_a_foreign_folder(
    foreign_run: RunFolder, command: Callable[..., tuple[int, str, str]]
) -> None:
    for arguments in (["list"], ["runs"], ["runs", foreign_run.path], ["show", foreign_run.path]):
        for more in ([], ["--json"]):
            code, out, err = command(*arguments, *more)
            assert code == 0, err
            assert out
    assert "evil" not in sys.modules


def test_printed_text_is_escaped(foreign_run: RunFolder, command: Callable[..., tuple[int, str, str]]) -> None:
    """A name in brackets is text, not a colour; an escape sequence does not reach the terminal."""
    (foreign_run.path / "run.json").unlink()
    strange = foreign_run.path.with_name("[red]x[unk]")
    foreign_run.path.rename(strange)
    (strange / "run.json").write_text(json.dumps({"format": 1}))
    _, out, _ = command("runs", "runs")
    assert "[red]x[unk]" in out
    code, _, err = command("show", "no\x1b[31msuch[unk]")
    assert code == 2
    assert "\x1b" not in err
    assert "[unk]" in err


@pytest.mark.parametrize("name", ["../escape", "a/b", "/tmp/x", "..", ".hidden", "a\nb", ""])
def test_a_run_is_named_inside_its_folder_only(tmp_path: Path, name: str) -> None:
    with pytest.raises(LaunchError, match="is not a name"):
        RunFolder.create(tmp_path / "runs", "recipe", {"name": "recipe"}, run=name)
    with pytest.raises(LaunchError, match="is not a name"):
        RunFolder.create(tmp_path / "runs", name, {"name": "recipe"})


def test_a_manifest_that_points_outside(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints" / "step-00000001"
    folder.mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    files = {"../../secret": {"sha256": hashlib.sha256(b"x").hexdigest(), "bytes": 1}}
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "step": 1, "files": files}))
    assert Checkpoints(folder.parent).verify(folder) == "its manifest names a file outside: '../../secret'"


def png_of(width: int, height: int) -> bytes:
    """A picture that is a few bytes and claims to be large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def test_a_picture_of_a_gigapixel(tmp_path: Path) -> None:
    (tmp_path / "huge.png").write_bytes(png_of(40_000, 40_000))
    with pytest.raises(DataError, match="pixels"):
        read_image(tmp_path / "huge.png", 32, channels=1)


def test_an_idx_file_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    header = struct.pack(">HBBIII", 0, 8, 3, 2**31, 2**15, 2**15)
    (tmp_path / "images-idx3-ubyte").write_bytes(header + b"\0" * 100)
    with gzip.open(tmp_path / "images-idx3-ubyte.gz", "wb") as file:
        file.write(header + b"\0" * 100)
    for name in ("images-idx3-ubyte", "images-idx3-ubyte.gz"):
        with pytest.raises(DataError):
            read_idx(tmp_path / name, 3)


def test_secrets_stay_out_of_the_run(tmp_path: Path) -> None:
    """Keys in the environment are in no file of a run, its W&B files among them."""
    secrets = {"WANDB_API_KEY": "0123456789abcdef" * 2 + "01234567", "AWS_SECRET_ACCESS_KEY": "s3cr3t-of-aws-key"}
    environment = {**os.environ, **secrets, "WANDB_BASE_URL": "http://127.0.0.1:9", "PYTHONPATH": str(ROOT)}
    arguments = ["train", "linear_digits", "train.epochs=null", "train.steps=3", "log.wandb=offline", "run=r"]
    command = [sys.executable, "-m", "dltk", *arguments]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=100)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    for path in files:
        data = path.read_bytes()
        for secret in secrets.values():
            assert secret.encode() not in data, path


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import joblib",
        "import yaml; yaml.load('')",
        "import torch; torch.load('x')",
        "import subprocess; subprocess.run('ls', shell=True)",
        "eval('1')",
        "import tarfile; tarfile.TarFile('x').extractall()",
        "import tarfile; tarfile.open('x').extractall()",
    ],
)
def test_the_linter_refuses_what_runs_foreign_code(line: str) -> None:
    ruff = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--no-cache",
        "--output-format=concise",
        "--stdin-filename=dltk/x.py",
    ]
    done = subprocess.run([*ruff, "-"], input=f'"""A module."""\n\n{line}\n', capture_output=True, text=True, cwd=ROOT)
    codes = {word for row in done.stdout.splitlines() for word in row.split()[1:2]}
    assert codes & {"TID251", "S102", "S202", "S301", "S307", "S506", "S602", "S604", "S605"}, done.stdout + done.stderr


def test_nothing_is_unpickled_by_numpy() -> None:
    """No linter rule knows this argument."""
    assert not [path for path in (ROOT / "dltk").rglob("*.py") if "allow_pickle=True" in path.read_text()]


def test_safetensors_are_read(tmp_path: Path) -> None:
    """The way in that stays open."""
    from dltk.weights import read_weights

    save_file({"w": torch.ones(2)}, tmp_path / "w.safetensors")
    assert torch.equal(read_weights(tmp_path / "w.safetensors")[0]["w"], torch.ones(2))
