"""Slow sources and the cache before them: a real http server, a real S3 server, commands, kills, a full disk."""

import contextlib
import errno
import http.server
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dltk.data.datamodule import DataModule
from dltk.data.dataset import check_data
from dltk.data.loader import Reader, TrainLoader
from dltk.data.shards import source
from dltk.data.shards.build import build
from dltk.data.shards.cache import HOST, Cache
from dltk.data.shards.dataset import Shards
from dltk.data.shards.index import Index
from dltk.data.shards.reader import ShardReader
from dltk.data.shards.source import fetch, hash_of
from dltk.errors import DataError, SourceError


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves a folder, with ranges; `faults` names what goes wrong on the next requests."""

    protocol_version = "HTTP/1.1"
    folder: Path
    faults: list[str]
    seen: list[tuple[str, str]]

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        type(self).seen.append((self.path, self.headers.get("Range", "")))
        fault = self.faults.pop(0) if self.faults else ""
        path = self.folder / urllib.parse.unquote(self.path.lstrip("/"))
        if fault == "busy" or not path.exists():
            self.send_error(503 if fault == "busy" else 404)
            return
        if fault.startswith("leads to "):
            self.send_response(302)
            self.send_header("Location", fault.removeprefix("leads to "))
            self.end_headers()
            return
        if fault == "nonsense":
            self.wfile.write(b"this is no http\r\n\r\n")
            self.close_connection = True
            return
        data = path.read_bytes()
        if fault == "changed":
            data = data[:700] + bytes([data[700] ^ 1]) + data[701:]
        start = 0
        if self.headers.get("Range") and fault != "no ranges":
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                self.send_error(416)
                return
            self.send_response(206)
        else:
            self.send_response(200)
        if fault == "endless":
            self.send_header("Content-Length", str(1 << 40))
        elif fault == "cut chunks":
            self.send_header("Transfer-Encoding", "chunked")
        elif fault != "cut, no length":
            self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        half = data[start : start + (len(data) - start) // 2]
        if fault == "endless":
            with contextlib.suppress(OSError):
                for _ in range(1000):
                    self.wfile.write(data)
                type(self).seen.append(("read on for ever", ""))
            return
        if fault == "cut chunks":
            self.wfile.write(f"{len(data) - start:x}\r\n".encode() + half)
        if fault == "cut, no length":
            self.wfile.write(half)
        if fault.startswith("cut"):
            self.wfile.flush()
            self.close_connection = True
        if fault in ("cut chunks", "cut, no length"):
            return
        if fault == "slow":
            time.sleep(0.5)
        self.wfile.write(half if fault == "cut" else data[start:])


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


@pytest.mark.parametrize("faults", [
    ["busy", "busy"], ["cut"], ["cut", "no ranges"], ["busy", "cut", "busy", "cut"],
    ["cut chunks"], ["cut, no length"], ["nonsense", "cut chunks"], ["leads to /photos-train-000000.tar"],
])  # fmt: skip
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
    with pytest.raises(DataError, match=r"has fewer bytes than the .* that the index says"):
        fetch(f"{web.url}/{name}", tmp_path / "x.tar", size=size + 1)


def test_no_more_is_taken_than_the_index_says(web: Web, packed: Path, tmp_path: Path) -> None:
    """A source that never ends must not fill the disk."""
    name, sha256, size = shard(packed)
    web.handler.faults += ["endless"] * 2
    with pytest.raises(SourceError, match=r"has more bytes than the .* that the index says"):
        fetch(f"{web.url}/{name}", tmp_path / "x.tar", sha256=sha256, size=size)
    assert ("read on for ever", "") not in web.handler.seen


def test_what_an_earlier_try_left_may_be_damaged(web: Web, packed: Path, tmp_path: Path) -> None:
    name, sha256, size = shard(packed)
    (tmp_path / "x.tar").write_bytes(bytes(1000))
    fetch(f"{web.url}/{name}", tmp_path / "x.tar", sha256=sha256, size=size)
    assert [ranged for _, ranged in web.handler.seen] == ["bytes=1000-", ""]
    assert hash_of(tmp_path / "x.tar") == sha256
    web.handler.faults += ["changed"]  # for good: told after one more look
    (tmp_path / "y.tar").write_bytes(bytes(1000))
    web.handler.faults += ["changed"]
    with pytest.raises(SourceError, match="has sha256"):
        fetch(f"{web.url}/{name}", tmp_path / "y.tar", sha256=sha256, size=size)


def test_addresses_with_spaces_and_letters_of_other_languages(web: Web, packed: Path, tmp_path: Path) -> None:
    web.handler.folder = tmp_path
    shutil.copy(packed / "train" / shard(packed)[0], tmp_path / "a ü.tar")
    fetch(f"{web.url}/a ü.tar", tmp_path / "x.tar", sha256=shard(packed)[1])


def test_indexing_from_a_flaky_server(web: Web, packed: Path, tmp_path: Path) -> None:
    web.handler.faults += ["busy", "cut", "no ranges"]
    index = build([f"{web.url}/{shard(packed)[0]}"], tmp_path / "index")
    assert index.sha256(0) == shard(packed)[1]
    with pytest.raises(SourceError, match=r"nothing\.tar: cannot be fetched \(HTTP Error 404"):
        build([f"{web.url}/nothing.tar"], tmp_path / "other")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.timeout(60)
def test_an_unreachable_source_stops_the_run_and_damages_no_sample(
    web: Web, packed: Path, tmp_path: Path, workers: int
) -> None:
    """At once: asking again for each of a batch's samples would take hours."""
    data_dir = remote(web.url, packed, tmp_path)
    web.server.shutdown()
    web.server.server_close()
    settings = {"folder": "far", "image_size": 32, "lanes": 1, "cache": str(tmp_path / "cache")}
    data = DataModule(Shards, settings, data_dir=str(data_dir), batch=64, epochs=1, max_bad=1000, workers=workers)
    began = time.monotonic()
    with pytest.raises(SourceError) as caught:
        list(data.train_dataloader())
    assert time.monotonic() - began < 40
    assert "cannot be fetched (Connection refused), tried 5 time(s)" in str(caught.value) or workers
    assert "Traceback" not in str(caught.value)
    assert not data.damage.reasons
    data.teardown("fit")
    with pytest.raises(SourceError, match="Connection refused"):
        check_data(Shards, settings, str(data_dir))


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


def test_an_object_store_that_cannot_be_reached(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its library raises exceptions of its own."""
    monkeypatch.setattr(source, "FIRST_PAUSE", 0.01)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(SourceError, match=r"s3://bucket/x\.tar: cannot be fetched \(.*Could not connect.*tried 2"):
        fetch("s3://bucket/x.tar", tmp_path / "x.tar", tries=2)
    s3fs.S3FileSystem.clear_instance_cache()


def test_objects_that_changed_since_they_were_indexed(s3: str, packed: Path, tmp_path: Path) -> None:
    import s3fs

    files = s3fs.S3FileSystem()
    files.mkdir("changing")
    path = packed / "train" / shard(packed)[0]
    files.put(str(path), "changing/a.tar")
    index = build(["s3://changing/a.tar"], tmp_path / "index")
    reader = ShardReader(index, cache=Cache(tmp_path / "cache", 10**9))
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    for contents, says in (
        (bytes(data), "has sha256"), (bytes(data[:20_000]), "has fewer bytes"), (bytes(data) + b"x", "has more bytes"),
    ):  # fmt: skip
        files.pipe("changing/a.tar", contents)
        files.invalidate_cache()
        with pytest.raises(SourceError, match=rf"s3://changing/a\.tar: {says}"):
            reader.fields(0)
    files.pipe("changing/a.tar", path.read_bytes())
    files.invalidate_cache()
    assert reader.fields(0)


def test_an_object_that_is_not_there(s3: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot be fetched \(.*tried 1 time"):
        fetch("s3://nowhere/x.tar", tmp_path / "x.tar")


@pytest.mark.timeout(60)
def test_a_silent_command_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "COMMAND_TIMEOUT", 0.3)
    with pytest.raises(SourceError, match=r"the command was silent for 0\.3 s"):
        fetch("pipe:sleep 1000", tmp_path / "x.tar", allow_pipe=True, tries=1)
    with pytest.raises(SourceError, match="the command left with 1"):
        fetch("pipe:false", tmp_path / "x.tar", allow_pipe=True, tries=1)
    with pytest.raises(DataError, match="is no command"):
        fetch("pipe:cat 'x", tmp_path / "x.tar", allow_pipe=True)


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


def known_shards(packed: Path, count: int) -> list[tuple[str, str, int]]:
    index = Index(packed / "train" / "index")
    return [(index.url(number), index.sha256(number), int(index.bytes[number])) for number in range(count)]


def crowd(folder: str, limit: int, known: list[tuple[str, str, int]], begin: int) -> None:
    cache = Cache(folder, limit)
    for one in known[begin:] + known[:begin]:
        os.close(cache.open(*one))


def test_many_processes_keep_to_the_limit(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is taken when a fetch begins, and those for whom there is none wait."""
    known = known_shards(packed, 4)
    largest = max(size for _, _, size in known)
    limit = 2 * largest
    monkeypatch.setattr(source, "PIECE", 1 << 12)
    slow = source._copy

    def slowly(*arguments: Any) -> None:
        time.sleep(0.05)
        slow(*arguments)

    monkeypatch.setattr(source, "_copy", slowly)
    context = multiprocessing.get_context("fork")
    crowded = [context.Process(target=crowd, args=(str(tmp_path), limit, known, begin)) for begin in range(4)]
    for one in crowded:
        one.start()
    most = 0
    while any(one.is_alive() for one in crowded):
        held = 0
        for path in [*tmp_path.glob("*.tar"), *tmp_path.glob("*.part")]:
            with contextlib.suppress(FileNotFoundError):
                held += path.stat().st_size
        most = max(most, held)
    assert [one.exitcode for one in crowded] == [0] * 4
    assert 0 < most <= limit + largest  # one may be renamed while we look
    assert sum(path.stat().st_size for path in tmp_path.glob("*.tar")) <= limit
    assert not list(tmp_path.glob("*.part"))


def test_what_a_killed_process_began_goes_when_room_is_made(packed: Path, tmp_path: Path) -> None:
    known = known_shards(packed, 3)
    cache = Cache(tmp_path, sum(size for _, _, size in known) - 1)
    begun = tmp_path / f"{known[0][1]}.{known[0][2]}.{HOST}.part"
    begun.write_bytes(b"half of it")
    foreign = tmp_path / f"{known[0][1]}.{known[0][2]}.another-machine.part"
    foreign.write_bytes(b"half of it")
    for one in known[1:]:
        cache.path(*one)
    assert not begun.exists()
    assert foreign.exists()  # of a machine whose locks may not be seen here
    os.utime(foreign, (1, 1))
    cache.path(*known[0])
    assert not foreign.exists()


def test_a_shard_that_goes_before_it_is_opened_is_fetched_again(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = known_shards(packed, 1)[0]
    cache, path = Cache(tmp_path, 10**9), Cache.path
    removed: list[Path] = []

    def path_and_removal(self: Cache, *arguments: Any) -> Path:
        found = path(self, *arguments)
        if len(removed) < 2:
            found.unlink()
            removed.append(found)
        return found

    monkeypatch.setattr(Cache, "path", path_and_removal)
    file = cache.open(*known)
    assert os.fstat(file).st_size == known[2]
    os.close(file)
    assert len(removed) == 2


def test_a_reader_lets_go_of_what_the_cache_removed(packed: Path, tmp_path: Path) -> None:
    """A file without a name takes room as long as it is open."""
    index = Index(packed / "train" / "index")
    reader = ShardReader(index, cache=Cache(tmp_path, int(2 * index.bytes.max())))
    for shard_number in range(len(index.counts)):
        assert reader.fields(index.first(shard_number))
        gone = [os.fstat(file.descriptor).st_nlink for file in reader._files.values()].count(0)
        assert gone <= 1  # seen when the next is opened
    reader.close()


def test_the_need_counts_windows_that_reach_over_several_shards(packed: Path, tmp_path: Path) -> None:
    index = Index(packed / "train" / "index")
    largest, mean = int(index.bytes.max()), index.total / len(index.counts)
    settings = {"folder": "photos", "image_size": 32, "lanes": 2, "cache": str(tmp_path)}
    for window, shards in ((1, 2), (int(0.9 * mean), 3), (10**6, None)):
        need = int(index.bytes.sum()) if shards is None else 2 * shards * largest
        with pytest.raises(DataError, match="too few"):
            Shards("train", str(packed.parent), **settings, window=window, cache_gb=(need - 1000) / 1e9)
        Shards("train", str(packed.parent), **settings, window=window, cache_gb=(need + 1000) / 1e9)


def test_shards_are_fetched_a_window_ahead(packed: Path, tmp_path: Path) -> None:
    """While one window is read; else every process would wait at once where all lanes begin their next."""
    settings = {"folder": "photos", "image_size": 32, "lanes": 2, "window": 16, "cache": str(tmp_path)}
    data = DataModule(Shards, settings, data_dir=str(packed.parent), batch=8, epochs=1, whole_run=True)
    loader, index, plan = data.train_dataloader(), data.part("train").index, data.plan
    first, later = (set(index.locate(plan.samples(0, np.arange(8) + start))[0].tolist()) for start in (0, 32))
    assert later - first
    next(iter(loader))
    for shard_number in later:
        path = tmp_path / f"{index.sha256(shard_number)}.tar"
        until = time.monotonic() + 20
        while not path.exists():
            assert time.monotonic() < until, "it was not fetched"
            time.sleep(0.01)


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: Path) -> None:
    def refuse(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(SourceError, match=r"data\.cache: cannot be locked \(No locks .* Name a folder on a local disk"):
        Cache(tmp_path, 10**9).path(*known_shards(packed, 1)[0])


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"data\.cache: cannot be used \(Not a directory\)"):
        Cache(tmp_path / "file" / "cache", 10**9)


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from dltk.data.shards.cache import Cache
from dltk.errors import SourceError
try:
    Cache(sys.argv[1], 10**9).path(sys.argv[2], sys.argv[3], int(sys.argv[4]))
except SourceError as error:
    print(error)
"""


def test_a_disk_that_takes_no_more(packed: Path, tmp_path: Path) -> None:
    """A quota is seen only when it is reached; here a limit of this process's files. No root is needed."""
    url, sha256, size = known_shards(packed, 1)[0]
    assert size > 20_000
    command = [sys.executable, "-c", LIMITED, str(tmp_path), url, sha256, str(size)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert f"{tmp_path}: data.cache: cannot keep a shard of" in said
    assert "(File too large). Free some space, or name another disk." in said
    assert not list(tmp_path.glob("*.part"))


def test_a_damaged_copy_is_fetched_again(packed: Path, tmp_path: Path) -> None:
    index = Index(packed / "train" / "index")
    known = index.url(0), index.sha256(0), int(index.bytes[0])
    path = Cache(tmp_path, 10**9).path(*known)
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    assert hash_of(Cache(tmp_path, 10**9).path(*known)) == known[1]


def test_a_shard_is_checked_once_a_run(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once by each worker: hashing costs as much as decoding a third of the pictures."""
    hashed: list[Path] = []
    monkeypatch.setattr("dltk.data.shards.cache.hash_of", lambda path: hashed.append(path) or hash_of(path))
    known = known_shards(packed, 1)[0]
    cache = Cache(tmp_path, 10**9)
    worker = pickle.loads(pickle.dumps(cache))
    path = cache.path(*known)
    os.utime(path, (path.stat().st_atime, time.time() + 1))  # clocks of file systems lag a little
    assert worker.path(*known) == path
    assert not hashed
    os.utime(path, (1, 1))
    run = Cache(tmp_path, 10**9)
    workers = [pickle.loads(pickle.dumps(run)) for _ in range(3)]
    assert [one.path(*known) for one in workers] == [path] * 3
    assert len(hashed) == 1


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


@pytest.mark.parametrize(("rank", "world"), [(0, 1), (1, 2)])
def test_nothing_consumed_is_read_again_after_a_resume(
    packed: Path, monkeypatch: pytest.MonkeyPatch, rank: int, world: int
) -> None:
    """From local shards no byte of a consumed sample is read, and none of another rank's."""
    settings = {"folder": "photos", "image_size": 32, "lanes": 2, "window": 8}
    data = DataModule(Shards, settings, data_dir=str(packed.parent), batch=8, epochs=2, whole_run=True)
    part, plan, index = data.part("train"), data.plan, data.part("train").index
    begin = data.first_step(1) + 9 * data.steps_per_epoch() // 10
    read: list[tuple[int, int, int]] = []
    pread = os.pread

    def noted(file: int, size: int, at: int) -> bytes:
        read.append((os.fstat(file).st_ino, at, size))
        return pread(file, size, at)

    monkeypatch.setattr(os, "pread", noted)
    reader = Reader(part, part.keys)
    span = {"span": lambda: (0, data.total_steps), "start": lambda: begin}
    assert len(list(TrainLoader(reader, plan, rank=rank, world=world, **span))) == data.total_steps - begin
    wanted = []
    for step in range(begin, data.total_steps):
        epoch, number = plan.locate(step)
        for sample in plan.samples(epoch, np.arange(*plan.bounds(epoch, number))[rank::world]).tolist():
            shard_number, at, size = index.lies(sample)
            wanted.append((os.stat(index.url(shard_number)).st_ino, at, size))
    assert sorted(read) == sorted(wanted)
    assert len(read) < 8 * data.steps_per_epoch() / 4
