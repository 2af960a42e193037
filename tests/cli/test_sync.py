"""`dltk sync`: every segment goes to W&B once, in order, and only what has arrived counts as sent."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dltk.run import tracking, upload
from dltk.run.folder import RunFolder
from dltk.run.tracking import Tracker
from dltk.run.wandb_files import HEADER, folders, segments
from tests.cli.conftest import Command
from tests.cli.wandb_stand_in import KEY, StandIn, serving

NAMES = ("offline-run-20261126_100000-abcd", "offline-run-20261126_110000-abcd", "offline-run-20261126_120000-abcd")
FINISHED = ["View run r at http://there/team/runs/abcd", "Finished syncing it"]


def keep(run: RunFolder, name: str, data: bytes = b"some records") -> Path:
    file = run.path / "wandb" / name / f"run-{name.rpartition('-')[2]}.wandb"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(HEADER + data)
    return file


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run of three starts, in a folder with runs, someone logged in, and a server that answers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(tracking, "_answers", lambda url, seconds: True)
    run = RunFolder.create("runs", "small", {"a": 1}, run="first")
    for name in NAMES[::-1]:
        keep(run, name)
    return run


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What a fake `wandb sync` says of a segment, by its folder, where it should say something of its own."""
    says: dict[str, list[str]] = {}
    asked: list[str] = []

    def fake(folder: Path, file: Path) -> list[str]:
        asked.append(file.parent.name)
        return says.get(file.parent.name, FINISHED)

    monkeypatch.setattr(upload, "_wandb_sync", fake)
    says["asked"] = asked
    return says


def test_segments_go_once_in_order_by_a_fake_wandb(here: RunFolder, told: dict[str, list[str]], dltk: Command) -> None:
    said = dltk("sync")
    assert (said.code, said.out) == (0, "small/first: 3 segments sent: http://there/team/runs/abcd\n")
    assert told["asked"] == list(NAMES)
    assert dltk("sync").out == "Nothing is left to be sent.\n"
    keep(here, NAMES[2], b"some records and more")
    assert dltk("sync", "small").code == 0
    assert told["asked"] == [*NAMES, NAMES[2]]


def test_what_failed_is_not_remembered_by_a_fake_wandb(
    here: RunFolder, told: dict[str, list[str]], dltk: Command
) -> None:
    told[NAMES[1]] = ["View run r at http://there", "ERROR permission denied", "Finished syncing it"]
    said = dltk("sync")
    assert said.code == 1
    assert "1 segment sent" in said.out
    assert said.err == f"small/first: not sent: {NAMES[1]}: permission denied\n"
    assert told["asked"] == list(NAMES[:2])
    del told[NAMES[1]]
    assert dltk("sync").code == 0
    assert told["asked"] == [*NAMES[:2], *NAMES[1:]]


def test_a_torn_end_keeps_nothing_back_by_a_fake_wandb(
    here: RunFolder, told: dict[str, list[str]], dltk: Command
) -> None:
    told[NAMES[0]] = ['ERROR Failed to sync all data from "x": the file ends with an incomplete record. If the run …']
    said = dltk("sync")
    assert (said.code, said.err) == (
        0,
        f"small/first: {NAMES[0]}: its end is torn, and sent as far as it is whole\n",
    )
    assert dltk("sync", "--dry-run", "--json").json[0]["unsent"] == []


def test_another_server_has_nothing_yet_by_a_fake_wandb(
    here: RunFolder, told: dict[str, list[str]], dltk: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    dltk("sync")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")
    assert len(dltk("sync", "--dry-run", "--json").json[0]["unsent"]) == 3


def test_two_at_once_are_refused_by_a_fake_wandb(
    here: RunFolder, told: dict[str, list[str]], dltk: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = {"host": "elsewhere", "pid": 7, "heartbeat": 4e9, "token": "x"}
    (here.path / "wandb" / "SYNC").write_text(json.dumps(record))
    said = dltk("sync")
    assert (said.code, said.err) == (
        1,
        "small/first: runs/small/first/wandb: process 7 on elsewhere sends this run to W&B. Wait for it.\n",
    )
    assert told["asked"] == []


def test_what_would_be_sent(here: RunFolder, dltk: Command) -> None:
    (told,) = dltk("sync", "--dry-run", "--json").json
    assert (told["run"], told["id"], told["segments"], told["unsent"]) == ("small/first", "abcd", 3, list(NAMES))
    assert told["bytes"] == 3 * len(HEADER + b"some records")
    assert "small/first" in dltk("sync", "--dry-run").out
    keep(here, "run-20261126_130000-abcd")  # W&B sent it itself
    keep(here, "offline-run-20261126_140000-abcd", b"")  # nothing has reached the disk yet
    assert dltk("sync", "--dry-run", "--json").json[0]["unsent"] == list(NAMES)


def test_a_folder_of_another_project(here: RunFolder, dltk: Command, tmp_path: Path) -> None:
    shutil.copytree(here.path / "wandb", tmp_path / "other" / "wandb")
    (told,) = dltk("sync", tmp_path / "other", "--dry-run", "--json").json
    assert (told["run"], len(told["unsent"])) == ("other", 3)
    assert folders(tmp_path) == [tmp_path / "other" / "wandb"]  # of runs of ours the run folder knows


def test_mistakes_are_one_line(here: RunFolder, dltk: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, words in (
        (("smal",), "smal: no run has this name. Did you mean 'small'?"),
        (("--every", "5"), "--every: '5' is no duration. Write it like 5m or 1h30m."),
        (("--json",), "--json: lists what would be sent. Say --dry-run too."),
    ):
        said = dltk("sync", *arguments)
        assert (said.code, said.out, said.err) == (2, "", words + "\n")
    monkeypatch.setattr(tracking, "_answers", lambda url, seconds: False)
    said = dltk("sync")
    assert said.code == 2
    assert said.err.startswith("wandb: api.wandb.ai does not answer. ")
    monkeypatch.delenv("WANDB_API_KEY")
    for arguments in ((), ("--watch",)):
        said = dltk("sync", *arguments)
        assert (said.code, said.err) == (
            2,
            "wandb: not logged in at api.wandb.ai. Log in with `wandb login`, or set WANDB_API_KEY.\n",
        )


def test_watching_waits_for_the_server_by_a_fake_wandb(
    here: RunFolder, told: dict[str, list[str]], dltk: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def sleep(seconds: float) -> None:
        nonlocal looks
        looks += 1
        assert seconds == 120
        if looks == 2:
            monkeypatch.setattr(tracking, "_answers", lambda url, seconds: True)
        if looks == 3:
            keep(here, NAMES[2], b"some records and more")
        if looks == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("dltk.cli.sync.time.sleep", sleep)
    monkeypatch.setattr(tracking, "_answers", lambda url, seconds: False)
    said = dltk("sync", "--watch", "--every", "2m")
    assert said.code == 130
    assert said.err.count("does not answer; waiting for it") == 1
    assert told["asked"] == [*NAMES, NAMES[2]]


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run that W&B followed twice without a network."""
    run = RunFolder.create(tmp_path_factory.mktemp("offline") / "runs", "small", {"a": 1}, run="first")
    for first in (0, 3):
        tracker = Tracker(run, "offline", "project", config={"model": {"width": 3}})
        for step in range(first, first + 3):
            tracker.log(step, {"train/loss": 1 / (step + 1)})
        assert tracker.finish(0, 60)
    return run


@pytest.fixture
def server() -> Iterator[StandIn]:
    with serving() as made:
        yield made


@pytest.mark.cluster
def test_segments_become_one_curve_at_a_stand_in_for_the_server(
    offline: RunFolder, server: StandIn, dltk: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(offline.path.parents[1], tmp_path / "runs", symlinks=True)
    monkeypatch.chdir(tmp_path)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.refusing = True
    said = dltk("sync")
    assert said.code == 1
    assert "Fatal error while uploading data" in said.err
    first, second = segments(tmp_path / "runs/small/first/wandb")
    assert first.file.with_suffix(".wandb.synced").exists()  # W&B takes it for sent
    assert upload.unsent([first, second]) == [first, second]
    server.refusing = False
    said = dltk("sync")
    assert (said.code, said.err) == (0, "")
    assert f"2 segments sent: {server.url}/team/project/runs/{first.identity}" in said.out
    (lines,) = server.runs.values()
    assert [(line["_step"], line["step"]) for line in lines] == [(step, step) for step in range(6)]
    assert server.configs[first.identity]["model"]["value"] == {"width": 3}
    assert dltk("sync").out == "Nothing is left to be sent.\n"
    assert not (tmp_path / "wandb").exists()


@pytest.mark.cluster
def test_a_server_out_of_reach_has_nothing(offline: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_X_GRAPHQL_RETRY_MAX", "1")
    some = segments(offline.path / "wandb")
    sent = upload.send(offline.path / "wandb", some)
    assert (sent.count, upload.unsent(some)) == (0, some)
    assert "connection refused" in sent.error
