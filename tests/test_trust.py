"""Attacks by files from elsewhere: a checkpoint, a recipe, a run folder, a picture, a data file. Each leaves no mark.

A marker file appears when foreign code runs. Every test fails when its guard is taken away.
"""

import gzip
import hashlib
import http.server
import io
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import textwrap
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image
from safetensors.torch import save_file

from dltk import cli
from dltk.data.images import read_image
from dltk.data.mnist import read_idx
from dltk.data.shards.build import build
from dltk.data.shards.dataset import Shards
from dltk.data.shards.fields import decoded
from dltk.data.shards.source import fetch
from dltk.data.shards.tar import members, split_name
from dltk.errors import DataError, LaunchError, RecipeError
from dltk.launch.evaluation import load_predictions, save_predictions
from dltk.run.checkpoint import Checkpoints, load_file
from dltk.run.folder import RunFolder
from tests.commands import Server

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
    with pytest.raises(LaunchError, match="cannot be loaded as plain data: it ") as caught:
        load_file(tmp_path / "weights.pth")
    assert "weights_only" not in str(caught.value), "torch's advice to load it all the same"


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


PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU"
    b"\x00\x00\x00\nIDATx\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82"
)  # one black pixel
PAIR = (("cls", b"1"), ("png", PNG))


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


# Shards and their indexes -------------------------------------------------------------------------------------------


def tar(path: Path, *files: tuple[str, bytes], **kinds: bytes) -> Path:
    """An archive of files, and of members of other kinds by name."""
    with tarfile.open(path, "w") as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for name, kind in kinds.items():
            member = tarfile.TarInfo(f"{name}.txt")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    return path


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A set of one shard under `data`, as it may come from elsewhere: copied, its index with it."""
    place = tmp_path / "made" / "set" / "train"
    place.mkdir(parents=True)
    files = [(f"s{number}.{kind}", data) for number in range(4) for kind, data in (("cls", b"1"), ("png", PNG))]
    build([str(tar(place / "a.tar", *files))], place / "index")
    shutil.copytree(tmp_path / "made", tmp_path / "data")
    return tmp_path / "data" / "set"


def opened(shards: Path) -> Shards:
    return Shards("train", str(shards.parent), folder="set", image_size=8)


@pytest.mark.parametrize("extension", ["pkl", "pickle", "pyd", "pth", "pt", "npz", "joblib", "target.pkl", "PKL"])
def test_a_shard_with_a_pickle(tmp_path: Path, marker: Path, extension: str) -> None:
    data = pickle.dumps(Bomb(marker))
    path = tar(tmp_path / "a.tar", ("a.cls", b"1"), (f"a.{extension}", data))
    with pytest.raises(DataError, match="is a pickle, which runs commands"):
        build([str(path)], tmp_path / "index")
    with pytest.raises(DataError, match="is a pickle, which runs commands"):
        decoded(extension.lower(), data)


def test_an_array_of_pickled_objects_in_a_shard(marker: Path) -> None:
    file = io.BytesIO()
    np.save(file, np.array([Bomb(marker)], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="npy: cannot be read"):
        decoded("npy", file.getvalue())


def test_an_array_that_claims_a_terabyte() -> None:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (1 << 37,)})
    with pytest.raises(DataError, match=r"npy: cannot be read \(\(137438953472,\) of float64 in 128 bytes\)"):
        decoded("npy", file.getvalue())


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_a_shard_with_what_is_no_file(tmp_path: Path, kind: bytes) -> None:
    path = tar(tmp_path / "a.tar", ("a.txt", b"x"), b=kind)
    with pytest.raises(DataError, match="a shard holds files only"):
        build([str(path)], tmp_path / "index")
    with pytest.raises(DataError, match="a shard holds files only"):
        members(path.read_bytes()[1024:1536], "b")


@pytest.mark.parametrize("key", ["../../escape", "/etc/escape", "a/../../escape"])
def test_keys_are_never_paths(
    shards: Path,
    tmp_path: Path,
    key: str,
    command: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An index is refused for them. One that came with its shards may hold them: everything that takes its keys is made
    to, and no file is opened for writing whose name comes from one.
    """
    tar(shards / "train" / "a.tar", *[(f"{key}{n}.{kind}", data) for n in "12" for kind, data in PAIR])
    with pytest.raises(DataError, match="leads out of the folder it would be unpacked in"):
        build([str(shards / "train" / "a.tar")], shards / "train" / "index", replace=True)
    with monkeypatch.context() as careless:
        careless.setattr("dltk.data.shards.build._named", lambda member, url: split_name(member.name))
        build([str(shards / "train" / "a.tar")], shards / "train" / "index", replace=True)
    written: list[str] = []

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and noting and isinstance(arguments[0], str) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            written.append(arguments[0])
        if event in ("os.mkdir", "os.rename", "os.symlink", "os.link") and noting:
            written.extend(str(argument) for argument in arguments[:2] if not isinstance(argument, int))

    noting = [True]
    sys.addaudithook(note)  # stays for ever, and says nothing later
    cached = Shards("train", str(shards.parent), folder="set", image_size=8, cache=str(tmp_path / "cache"))
    assert cached.sample(0)["target"] == 1
    code, _, err = command("data", "show", shards / "train", "--png", tmp_path / "sheet.png")
    assert code == 0, err
    code, out, err = command("data", "verify", shards / "train", "--decode")
    assert code == 1
    assert "leads out of the folder it would be unpacked in" in out + err
    save_predictions(tmp_path / "predictions.npz", {"keys": np.array(cached.keys[:])})
    noting.clear()
    assert (tmp_path / "sheet.png").is_file()
    assert written  # the cache, the sheet
    assert not [path for path in written if "escape" in path or not path.startswith(str(tmp_path))]


@pytest.mark.parametrize("name", ["offsets", "sizes", "key_ends", "targets", "shards"])
def test_an_index_of_pickled_objects(shards: Path, marker: Path, name: str) -> None:
    np.save(shards / "train" / "index" / f"{name}.npy", np.array([Bomb(marker)], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=rf"{name}\.npy: cannot be read"):
        opened(shards)


def change(shards: Path, *, root: str | None = None, name: str | None = None) -> None:
    index = shards / "train" / "index"
    if root is not None:
        about = json.loads((index / "index.json").read_text())
        (index / "index.json").write_text(json.dumps({**about, "root": root}))
    if name is not None:
        (index / "names.txt").write_text(f"{name}\n")


@pytest.mark.parametrize("wrong", [
    {"root": "/etc"},
    {"root": "../../../.."},
    {"name": "../../../made/set/train/a.tar"},
    {"name": "/etc/passwd"},
    {"root": "/etc", "name": "passwd"},
    {"root": "..", "name": "../../secret.tar"},
])  # fmt: skip
def test_an_index_that_names_files_outside_of_its_set(shards: Path, wrong: dict[str, str]) -> None:
    """Also where the file is there, and is a shard that fits."""
    shutil.copy(shards / "train" / "a.tar", shards.parent / "secret.tar")
    assert opened(shards).fields(0)["cls"] == b"1"
    change(shards, **wrong)
    with pytest.raises(
        DataError, match=r"index\.json: it came from elsewhere, and names .* outside of the set's folder"
    ):
        opened(shards).fields(0)


@pytest.mark.parametrize("address", [
    "file://{there}", "file:///etc/passwd", "local://{there}", "ftp://127.0.0.1/a.tar", "ssh://127.0.0.1/a.tar",
    "simplecache::file://{there}", "s3://bucket/a.tar::file://{there}", "reference://{there}", "zip://a::{there}",
])  # fmt: skip
def test_an_index_that_names_what_is_no_address_of_a_shard(shards: Path, tmp_path: Path, address: str) -> None:
    """fsspec would open any of them."""
    address = address.format(there=shards / "train" / "a.tar")
    change(shards, name=address)
    with pytest.raises(DataError, match="is no address of a shard"):
        Shards("train", str(shards.parent), folder="set", image_size=8, cache=str(tmp_path / "cache"))
    with pytest.raises(DataError, match="is no address of a shard"):
        fetch(address, tmp_path / "x.tar")


@pytest.mark.parametrize("splits", [
    {"train": "../elsewhere"}, {"train": "/etc"}, {"train": ".."}, {"train": "."}, {"train": ""}, {"train": "a\0b"},
    {"train": 7}, {"train": "a\nb"}, [["train", "x"]], None,
])  # fmt: skip
def test_a_set_that_names_folders_outside(shards: Path, splits: Any) -> None:
    (shards / "set.json").write_text(json.dumps({"format": 1, "name": "x", "kind": "images", "splits": splits}))
    with pytest.raises(DataError, match=r"set\.json"):
        opened(shards)


def test_commands_of_an_index_run_only_where_a_place_allows_it(
    shards: Path, tmp_path: Path, marker: Path, command: Callable[..., tuple[int, str, str]]
) -> None:
    """Not by the recipe that comes with it."""
    from dltk import recipe

    run = tmp_path / "run.sh"
    run.write_text(f"#!/bin/sh\nmkdir {marker}\n")
    run.chmod(0o755)
    change(shards, name=f"pipe:{run}")
    index = str(shards / "train" / "index")
    for arguments in (["verify", index], ["show", index], ["index", f"pipe:{run}", "--to", str(tmp_path / "i")]):
        code, out, err = command("data", *arguments)
        assert code != 0, out + err
    model = "{architecture: mlp, num_classes: 2, image: [3, 8, 8], hidden_sizes: [4]}"
    data = "{name: shards, folder: set, image_size: 8, allow_pipe: true}"
    text = (
        f"model: {model}\ndata: {data}\noptimizer: {{name: sgd, lr: 0.1}}\nbatch: {{global: 2}}\ntrain: {{steps: 1}}\n"
    )
    (tmp_path / "theirs.yaml").write_text(text)
    with pytest.raises(
        RecipeError, match=r"theirs\.yaml:2: data\.allow_pipe: True given, .* Move it to a place overlay"
    ):
        recipe.load(tmp_path / "theirs.yaml")
    (tmp_path / "theirs.yaml").write_text(text.replace(", allow_pipe: true", ""))
    with pytest.raises(RecipeError, match=r"override 'data\.allow_pipe=true'"):
        recipe.load(tmp_path / "theirs.yaml", "data.allow_pipe=true")
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "here.yaml").write_text("data: {allow_pipe: true}\n")
    assert recipe.load(tmp_path / "theirs.yaml")["data"]["allow_pipe"] is False
    assert recipe.load(tmp_path / "theirs.yaml", tmp_path / "cluster" / "here.yaml")["data"]["allow_pipe"] is True


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1:9/a.tar", "data:text/plain,x"])
def test_a_server_that_leads_elsewhere(tmp_path: Path, target: str) -> None:
    class Server(http.server.BaseHTTPRequestHandler):
        asked = 0

        def do_GET(self) -> None:
            type(self).asked += 1
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(DataError, match=r"cannot be fetched \(.*(leads to|not allowed).*tried 1 time"):
        fetch(f"http://127.0.0.1:{server.server_port}/a.tar", tmp_path / "x.tar")
    server.shutdown()
    assert Server.asked == 1
    assert not (tmp_path / "x.tar").exists() or not (tmp_path / "x.tar").stat().st_size


def test_a_gigapixel_picture_in_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused by its header, before anything is decoded, whatever the file says that it is."""
    jpeg = bytearray(simplejpeg.encode_jpeg(np.zeros((8, 8, 3), np.uint8)))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 60_000, 60_000)
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *_, **__: pytest.fail("decoded"))
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    place = tmp_path / "set" / "train"
    place.mkdir(parents=True)
    files = [("a.cls", b"1"), ("a.jpg", bytes(jpeg)), ("b.cls", b"1"), ("b.jpg", png_of(40_000, 40_000))]
    build([str(tar(place / "a.tar", *files))], place / "index")
    data = Shards("train", str(tmp_path), folder="set", image_size=8)
    for number in range(2):
        with pytest.raises(DataError, match=r"a\.tar: [ab]: .* pixels"):
            data.sample(number)


def test_a_sample_that_claims_gigabytes(shards: Path) -> None:
    path = shards / "train" / "index" / "sizes.npy"
    np.save(path, np.full(4, 2**32 - 1, np.uint32))
    with pytest.raises(DataError, match="is 4,294,967,295 bytes long, 1,073,741,824 are allowed"):
        opened(shards).fields(0)


def test_secrets_stay_out_of_the_run(server: Server, tmp_path: Path) -> None:
    """Keys in the environment are in no file of a run, its W&B files among them."""
    secrets = {
        "WANDB_API_KEY": "0123456789abcdef" * 2 + "01234567",
        "AWS_SECRET_ACCESS_KEY": "-".join(("s3cr3t", "of", "aws")),
    }
    arguments = ["train", "linear_digits", "train.epochs=null", "train.steps=3", "log.wandb=offline", "run=r"]
    server.start(*arguments, folder=tmp_path, **secrets, WANDB_BASE_URL="http://127.0.0.1:9").end()
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
