"""Checkpoints: published whole, verified before trusted, loaded without pickle."""

import collections
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dltk.errors import LaunchError
from dltk.run.checkpoint import Checkpoints, load_file


def _state(step: int) -> dict[str, Any]:
    return {"weights": torch.full((64, 64), float(step)), "step": step, "milestones": collections.Counter([1, 2])}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    made = Checkpoints(tmp_path / "checkpoints")
    for step in (10, 20, 30):
        made.write(step, _state(step), {"epoch": 0, "samples": step * 8, "metric": {"val/error": 50.0 - step}})
    return made


def _flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_what_is_written_is_loaded(checkpoints: Checkpoints) -> None:
    newest = checkpoints.newest()
    assert newest == checkpoints.path / "step-00000030"
    state = checkpoints.load(newest)
    assert torch.equal(state["weights"], torch.full((64, 64), 30.0))
    manifest = json.loads((newest / "manifest.json").read_text())
    assert (manifest["format"], manifest["step"], manifest["samples"]) == (1, 30, 240)
    assert manifest["files"]["state.pt"]["bytes"] == (newest / "state.pt").stat().st_size
    assert (checkpoints.path / "LATEST").read_text() == "step-00000030\n"
    assert checkpoints.verify(newest) is None
    assert sorted(entry.name for entry in checkpoints.path.iterdir()) == [
        "LATEST", "step-00000010", "step-00000020", "step-00000030",
    ]  # fmt: skip


def _truncate(path: Path) -> None:
    os.truncate(path / "state.pt", 1000)


def _empty(path: Path) -> None:
    os.truncate(path / "state.pt", 0)


DAMAGES = {
    "truncated": (_truncate, "state.pt has 1000 bytes, manifest says"),
    "empty": (_empty, "state.pt has 0 bytes"),
    "a bit flipped": (lambda path: _flip(path / "state.pt", 3000), "state.pt is not what was written"),
    "state gone": (lambda path: (path / "state.pt").unlink(), "state.pt is missing"),
    "manifest gone": (lambda path: (path / "manifest.json").unlink(), "it has no manifest.json"),
    "manifest torn": (lambda path: os.truncate(path / "manifest.json", 40), "manifest.json is damaged"),
    "manifest empty": (lambda path: (path / "manifest.json").write_text("{}"), "manifest.json is damaged"),
    "manifest a list": (lambda path: (path / "manifest.json").write_text("[]"), "manifest.json is damaged"),
    "no files": (lambda path: (path / "manifest.json").write_text('{"format":1,"files":{}}'), "lists no file"),
    "newer": (lambda path: (path / "manifest.json").write_text('{"format":2,"files":{}}'), "format 2 is newer"),
    "outside": (
        lambda path: (path / "manifest.json").write_text(
            '{"format":1,"files":{"../step-00000020/state.pt":{"bytes":1,"sha256":""}}}'
        ),
        "names a file outside",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_newest_is_named_skipped_and_kept(checkpoints: Checkpoints, damage: str) -> None:
    spoil, words = DAMAGES[damage]
    newest = checkpoints.path / "step-00000030"
    spoil(newest)
    before = sorted((path.name, path.read_bytes()) for path in newest.iterdir())
    told: list[str] = []
    again = Checkpoints(checkpoints.path, told.append)
    assert again.newest() == checkpoints.path / "step-00000020"
    assert again.newest() == checkpoints.path / "step-00000020"
    (line,) = again.warnings
    assert told == [line]
    assert line.startswith(f"{newest}: damaged checkpoint skipped: ")
    assert words in line
    with pytest.raises(LaunchError, match="is damaged"):
        again.load(newest)
    with pytest.raises(LaunchError, match="is damaged"):
        again.at(30)
    again.prune(1, 0)
    assert again.steps().keys() == {20, 30}
    assert again.best("val/error", "min") == checkpoints.path / "step-00000020"
    assert sorted((path.name, path.read_bytes()) for path in newest.iterdir()) == before


def test_every_single_flipped_bit_is_seen(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    path = checkpoints.write(1, {"a": torch.zeros(2)})
    size = (path / "state.pt").stat().st_size
    for offset in range(0, size, max(1, size // 100)):
        _flip(path / "state.pt", offset)
        assert checkpoints.verify(path)
        _flip(path / "state.pt", offset)
    assert checkpoints.verify(path) is None


def test_all_damaged_means_none(checkpoints: Checkpoints) -> None:
    for path in checkpoints.steps().values():
        _truncate(path)
    assert checkpoints.newest() is None
    assert len(checkpoints.warnings) == 3
    assert checkpoints.prune(1, 1, "val/error") == []
    assert len(checkpoints.steps()) == 3


def test_without_checkpoints_there_is_none(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "none")
    assert checkpoints.newest() is checkpoints.best("x", "min") is None
    assert checkpoints.prune(1, 1, "x") == []
    with pytest.raises(LaunchError, match="There are: none"):
        checkpoints.at(3)


def test_a_kill_before_the_pointer_loses_nothing(checkpoints: Checkpoints) -> None:
    for pointer in ("step-00000010\n", "step-0", ""):
        (checkpoints.path / "LATEST").write_text(pointer)
        assert Checkpoints(checkpoints.path).newest() == checkpoints.path / "step-00000030"
    (checkpoints.path / "LATEST").unlink()
    assert Checkpoints(checkpoints.path).newest() == checkpoints.path / "step-00000030"


def test_a_good_one_of_the_same_step_stays_and_learns_metrics(checkpoints: Checkpoints) -> None:
    path = checkpoints.path / "step-00000030"
    before = (path / "state.pt").read_bytes()
    assert checkpoints.write(30, {"other": 1}, {"metric": {"val/loss": 1.0}}) == path
    assert (path / "state.pt").read_bytes() == before
    assert checkpoints.manifest(path)["metric"] == {"val/error": 20.0, "val/loss": 1.0}
    assert checkpoints.verify(path) is None


def test_a_damaged_one_of_the_same_step_is_moved_aside(checkpoints: Checkpoints) -> None:
    path = checkpoints.path / "step-00000030"
    for number in (1, 2):
        _flip(path / "state.pt", 100)
        damaged = (path / "state.pt").read_bytes()
        assert Checkpoints(checkpoints.path).write(30, _state(30)) == path
        assert checkpoints.load(path)["step"] == 30
        assert (checkpoints.path / f"damaged-step-00000030-{number}" / "state.pt").read_bytes() == damaged
    assert list(checkpoints.steps()) == [10, 20, 30]


def test_best_and_retention(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    values = {1: 5.0, 2: 1.0, 3: 1.0, 4: float("nan"), 5: 3.0, 6: 4.0, 7: None}
    for step, value in values.items():
        checkpoints.write(step, _state(step), {"metric": {} if value is None else {"e": value}})
    assert checkpoints.best("e", "min") == tmp_path / "step-00000003", "of equals the later"
    assert checkpoints.best("e", "max") == tmp_path / "step-00000001"
    assert checkpoints.best("other", "min") is None
    removed = checkpoints.prune(keep_last=2, keep_best=2, metric="e")
    assert [path.name[-1] for path in removed] == ["5", "4", "1"]
    assert list(checkpoints.steps()) == [2, 3, 6, 7]
    checkpoints.prune(keep_last=0, keep_best=0)
    assert list(checkpoints.steps()) == [7]  # never the newest


def test_retention_counts_sound_ones_only(checkpoints: Checkpoints) -> None:
    _flip(checkpoints.path / "step-00000030" / "state.pt", 500)
    assert Checkpoints(checkpoints.path).prune(keep_last=1, keep_best=0) == [checkpoints.path / "step-00000010"]
    assert list(checkpoints.steps()) == [20, 30]


def test_what_a_killed_attempt_left_is_swept(checkpoints: Checkpoints) -> None:
    for name in (".writing-step-00000040-1", ".removing-step-00000010-1"):
        shutil.copytree(checkpoints.path / "step-00000030", checkpoints.path / name)
    assert list(checkpoints.steps()) == [10, 20, 30]
    checkpoints.write(40, _state(40))
    assert not [path for path in checkpoints.path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("value", [np.float64(1.0), np.zeros(3), Path("x")])
def test_what_would_not_load_again_is_refused_at_writing(checkpoints: Checkpoints, value: object) -> None:
    with pytest.raises(LaunchError, match="does not load without pickle") as caught:
        checkpoints.write(40, {"callbacks": {"x": value}})
    assert "\n" not in str(caught.value)
    assert list(checkpoints.steps()) == [10, 20, 30]
    assert not list(checkpoints.path.glob(".writing*"))


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("how", ["torch", "legacy", "pickle"])
def test_a_pickle_bomb_is_refused_and_does_not_go_off(checkpoints: Checkpoints, tmp_path: Path, how: str) -> None:
    ran = tmp_path / "ran"
    path = checkpoints.path / "step-00000030"
    bomb = {"weights": torch.zeros(1), "bomb": Bomb(f"touch {ran}")}
    if how == "pickle":
        (path / "state.pt").write_bytes(pickle.dumps(bomb))
    else:
        torch.save(bomb, path / "state.pt", _use_new_zipfile_serialization=how == "torch")
    _make_sound(path)
    assert checkpoints.verify(path) is None  # its maker knows sha256 too
    with pytest.raises(LaunchError, match="cannot be loaded as plain data") as caught:
        checkpoints.load(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(LaunchError):
        load_file(path / "state.pt")
    assert not ran.exists()


def _make_sound(path: Path) -> None:
    import hashlib

    data = (path / "state.pt").read_bytes()
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (path / "manifest.json").write_text(json.dumps({"format": 1, "step": 30, "files": {"state.pt": entry}}))


def test_foreign_files_are_refused_in_one_line(tmp_path: Path) -> None:
    for name, data in (("empty", b""), ("text", b"hello\nworld"), ("zip", b"PK\x03\x04" + b"\0" * 100)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(LaunchError) as caught:
            load_file(tmp_path / name)
        assert "\n" not in str(caught.value)
    torch.save([1, 2], tmp_path / "list")
    with pytest.raises(LaunchError, match="holds a list, not a dict"):
        load_file(tmp_path / "list")
    with pytest.raises(LaunchError, match="no such file"):
        load_file(tmp_path / "none")


def test_shared_storages_need_room_once(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = torch.zeros(1 << 20)  # 4 MB
    usage = shutil.disk_usage(checkpoints.path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=6 << 20))
    checkpoints.write(40, {"a": weights, "b": weights.view(2, -1), "c": [{"d": weights[:5]}]})
    with pytest.raises(LaunchError, match=r"no room for a checkpoint: it takes 9.4 MB, 6.3 MB are free"):
        checkpoints.write(50, {"a": weights, "b": weights.clone()})
    assert list(checkpoints.steps()) == [10, 20, 30, 40]
