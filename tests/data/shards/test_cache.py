"""Slow sources and the cache before them: a real http server, a real S3 server, commands, kills, a full disk."""

import contextlib
import http.server
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dltk.data.datamodule import DataModule
from dltk.data.shards import source
from dltk.data.shards.build import build
from dltk.data.shards.cache import Cache
from dltk.data.shards.dataset import Shards
from dltk.data.shards.index import Index
from dltk.data.shards.source import fetch, hash_of
from dltk.errors import DataError


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves a folder, with ranges; `faults` names what goes wrong on the next requests."""

    folder: Path
    faults: list[str]
    seen: list[tuple[str, str]]

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        type(self).seen.append((self.path, self.headers.get("Range", "")))
        fault = self.faults.pop(0) if self.faults else ""
        path = self.folder / self.path.lstrip("/")
        if fault == "busy" or not path.exists():
            self.send_error(503 if fault == "busy" else 404)
            return
        data = path.read_bytes()
        start = 0
        if self.headers.get("Range") and fault != "no ranges":
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self.send_error(416)
                return
            self.send_response(206)
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if fault == "slow":
            time.sleep(0.5)
        self.wfile.write(data[start : start + (len(data) - start) // 2] if fault == "cut" else data[start:])
        if fault == "cut":
            self.wfile.flush()
            self.connection.close()


class Web:
    """A running server."""

    def __init__(self, folder: Path) -> None:
        self.handler = type("Bound", (Handler,), {"folder": folder, "faults": [], "seen": []})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def web(packed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """The training shards by http."""
    monkeypatch.setattr(source, "FIRST_PAUSE", 0.01)
    running = Web(packed / "train")
    yield running
    running.server.shutdown()


def remote(root: str, packed: Path, to: Path) -> Path:
    """A set whose shards lie at an address; returns its data_dir."""
    names = [path.name for path in sorted((packed / "train").glob("*.tar"))]
    build([f"{root}/{name}" for name in names], to / "far" / "train" / "index", classes=["a", "b", "c"])
    for split in ("val", "test"):
        shutil.copytree(to / "far" / "train", to / "far" / split)
    return to


def shard(packed: Path) -> tuple[str, str, int]:
    """Name, hash and bytes of the first shard."""
    index = Index(packed / "train" / "index")
    return index.name(0), index.sha256(0), int(index.bytes[0])


def test_training_from_http_through_a_cache(web: Web, packed: Path, tmp_path: Path) -> None:
    data_dir = remote(web.url, packed, tmp_path)
    with pytest.raises(DataError, match=r"data\.cache: the shards lie at http://127.* Set data\.cache=FOLDER"):
        Shards("train", str(data_dir), folder="far", image_size=32)
    assert Index(data_dir / "far" / "train" / "index").hash == Index(packed / "train" / "index").hash
    web.handler.seen.clear()
    keys = {}
    for name, cache in (("far", str(tmp_path / "cache")), ("near", None)):
        shutil.copytree(packed, tmp_path / "near", dirs_exist_ok=True)
        settings = {"folder": name, "image_size": 32, "lanes": 2, "window": 8, "cache": cache}
        data = DataModule(Shards, settings, data_dir=str(tmp_path), batch=8, epochs=2, whole_run=True)
        keys[name] = [batch["info"].keys for batch in data.train_dataloader()]
    assert keys["far"] == keys["near"]
    asked = [path for path, _ in web.handler.seen]
    assert len(asked) == len(set(asked)) == len(Index(packed / "train" / "index").counts)  # each once, in two epochs


@pytest.mark.parametrize("faults", [["busy", "busy"], ["cut"], ["cut", "no ranges"], ["busy", "cut", "busy", "cut"]])
def test_a_flaky_source_is_asked_again(web: Web, packed: Path, tmp_path: Path, faults: list[str]) -> None:
    name, sha256, size = shard(packed)
    web.handler.faults += faults
    fetch(f"{web.url}/{name}", tmp_path / "x.tar", sha256=sha256, size=size)
    assert hash_of(tmp_path / "x.tar") == sha256
    if faults == ["cut"]:
        assert web.handler.seen[-1][1] == f"bytes={size // 2}-"  # only what was missing


def test_a_source_that_stays_away_is_told(web: Web, packed: Path, tmp_path: Path) -> None:
    name, _, size = shard(packed)
    with pytest.raises(DataError, match=r"cannot be fetched \(HTTP Error 404.*tried 1 time"):
        fetch(f"{web.url}/nothing.tar", tmp_path / "x.tar")
    web.handler.faults += ["busy"] * 9
    with pytest.raises(DataError, match=r"HTTP Error 503.*tried 5 time\(s\)\. Look at the address"):
        fetch(f"{web.url}/{name}", tmp_path / "x.tar")
    with pytest.raises(DataError, match="Connection refused"):
        fetch("http://127.0.0.1:9/x.tar", tmp_path / "x.tar", tries=2)
    web.handler.faults.clear()
    with pytest.raises(DataError, match=r"has sha256 .* the index says 0000"):
        fetch(f"{web.url}/{name}", tmp_path / "x.tar", sha256="0" * 64, size=size)
    assert not (tmp_path / "x.tar").exists()


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A local S3 server's address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (
            ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ):  # fmt: skip
            patch.setenv(name, value)
        yield f"http://{host}:{port}"
    server.stop()


def test_training_from_s3(s3: str, packed: Path, tmp_path: Path) -> None:
    import s3fs

    files = s3fs.S3FileSystem()
    files.mkdir("bucket")
    for path in sorted((packed / "train").glob("*.tar")):
        files.put(str(path), f"bucket/photos/{path.name}")
    data_dir = remote("s3://bucket/photos", packed, tmp_path)
    far = Shards("train", str(data_dir), folder="far", image_size=32, cache=str(tmp_path / "cache"))
    near = Shards("train", str(packed.parent), folder="photos", image_size=32)
    assert far.index_hash == near.index_hash
    assert far.fields(17) == near.fields(17)


def test_commands_run_only_where_allowed(packed: Path, tmp_path: Path) -> None:
    name, sha256, size = shard(packed)
    url = f"pipe:cat {packed}/train/{name}"
    with pytest.raises(DataError, match="commands of an index are not run"):
        fetch(url, tmp_path / "x.tar")
    fetch(url, tmp_path / "x.tar", sha256=sha256, size=size, allow_pipe=True)
    marker = tmp_path / "marker"
    with pytest.raises(DataError, match="cannot be fetched"):  # no shell reads it
        fetch(f"pipe:cat nothing; touch {marker}", tmp_path / "y.tar", allow_pipe=True, tries=1)
    assert not marker.exists()


def take(folder: str, url: str, sha256: str, size: int) -> None:
    Cache(folder, 10**9).path(url, sha256, size)


def test_two_processes_fetch_a_shard_once(web: Web, packed: Path, tmp_path: Path) -> None:
    name, sha256, size = shard(packed)
    web.handler.faults.append("slow")
    context = multiprocessing.get_context("fork")
    arguments = (str(tmp_path), f"{web.url}/{name}", sha256, size)
    both = [context.Process(target=take, args=arguments) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
        assert one.exitcode == 0
    assert len(web.handler.seen) == 1


KILLED = """
import sys
from dltk.data.shards.cache import Cache
Cache(sys.argv[1], 10**9).path(sys.argv[2], sys.argv[3], int(sys.argv[4]))
"""


def test_a_kill_while_fetching_leaves_nothing_that_counts(web: Web, packed: Path, tmp_path: Path) -> None:
    name, sha256, size = shard(packed)
    web.handler.faults.append("slow")
    arguments = [str(tmp_path), f"{web.url}/{name}", sha256, str(size)]
    process = subprocess.Popen([sys.executable, "-c", KILLED, *arguments])
    while not list(tmp_path.glob("*.part")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(tmp_path.glob("*.tar"))
    path = Cache(tmp_path, 10**9).path(f"{web.url}/{name}", sha256, size)
    assert hash_of(path) == sha256
    assert not list(tmp_path.glob("*.part"))


def test_the_oldest_go_when_room_is_needed_and_open_ones_stay_readable(packed: Path, tmp_path: Path) -> None:
    index = Index(packed / "train" / "index")
    known = [(index.url(number), index.sha256(number), int(index.bytes[number])) for number in range(4)]
    cache = Cache(tmp_path, sum(size for _, _, size in known[:2]) + 1000)
    first = cache.path(*known[0])
    with first.open("rb") as reading:
        os.utime(first, (1, 1))
        cache.path(*known[1])
        third = cache.path(*known[2])
        assert (first.exists(), third.exists()) == (False, True)
        assert len(reading.read()) == known[0][2]
    assert sum(path.stat().st_size for path in tmp_path.glob("*.tar")) <= cache.limit
    assert cache.path(*known[0]).exists()


def test_a_damaged_copy_is_fetched_again(packed: Path, tmp_path: Path) -> None:
    index = Index(packed / "train" / "index")
    known = index.url(0), index.sha256(0), int(index.bytes[0])
    path = Cache(tmp_path, 10**9).path(*known)
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    assert hash_of(Cache(tmp_path, 10**9).path(*known)) == known[1]


def test_a_cache_too_small_for_the_lanes_is_refused(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.cache_gb: 1e-05 GB are too few: the lanes read .* GB at a time"):
        Shards("train", str(packed.parent), folder="photos", image_size=32, cache=str(tmp_path), cache_gb=1e-5)


def test_a_full_disk(packed: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        reason = "a full disk needs a small tmpfs. Run the tests as root."
        assert os.environ.get("CI") != "true", reason
        pytest.skip(reason)
    index = Index(packed / "train" / "index")
    known = index.url(0), index.sha256(0), int(index.bytes[0])
    with contextlib.ExitStack() as stack:
        stack.callback(subprocess.run, ["umount", "-l", disk], check=True)
        cache = Cache(disk, 10**9)
        (disk / "filler").write_bytes(bytes(4 << 20))
        with pytest.raises(DataError, match=r"data\.cache: no room for a shard of .* are free"):
            cache.path(*known)
        with pytest.raises(DataError, match=r"data\.cache: .* GB are free, the lanes read"):
            Cache(disk, 10**9, need=10**7)
        (disk / "filler").unlink()
        assert cache.path(*known).exists()


def test_nothing_consumed_is_read_again_after_a_resume(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From local shards no byte of a consumed sample is read."""
    settings = {"folder": "photos", "image_size": 32, "lanes": 2, "window": 8}
    data = DataModule(Shards, settings, data_dir=str(packed.parent), batch=8, epochs=1, whole_run=True)
    consumed = np.concatenate(
        [data.plan.samples(0, np.arange(*data.plan.bounds(0, step))) for step in range(data.total_steps - 2)]
    )
    read: list[int] = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, at: read.append(at) or pread(file, size, at))
    loader = data.train_dataloader()
    loader._start = lambda: data.total_steps - 2
    assert len(list(loader)) == 2
    index = data.part("train").index
    offsets = index.locate(data.plan.samples(0, np.arange(8 * (data.total_steps - 2), 8 * data.total_steps)))[1]
    assert sorted(read) == sorted(offsets.tolist())
    assert len(consumed) == 8 * (data.total_steps - 2)
