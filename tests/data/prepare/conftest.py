"""What tests of known sets share: archives made by hand, a web server, and the samples of a set that was made."""

import contextlib
import functools
import io
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from dltk.data.shards.index import Index
from dltk.data.shards.reader import ShardReader


def quiet(done: int, of: int | None = None, what: str = "samples") -> None:
    """Hear of progress, and say nothing."""


def tar(path: Path, files: dict[str, bytes]) -> Path:
    """An archive of files, zipped where its name says so."""
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
        for name, data in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return path


def debian_package(folder: Path, name: str, files: dict[str, bytes]) -> None:
    """A package of Debian that holds files by their paths; those in a folder `bin` can be run."""
    root = folder / f"{name}.root"
    (root / "DEBIAN").mkdir(parents=True)
    about = f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\n"
    (root / "DEBIAN" / "control").write_text(f"{about}Description: small\n")
    for place, data in files.items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if path.parent.name == "bin" else 0o644)
    command = ["dpkg-deb", "-Znone", "--build", str(root), f"{folder}/{name}_1.0_all.deb"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def samples(folder: Path, split: str) -> dict[str, dict[str, bytes]]:
    """The files of each sample of a part, by key."""
    index = Index(folder / split / "index")
    reader = ShardReader(index, cache=None)
    found = {key: reader.fields(number) for number, key in enumerate(index.keys[:])}
    reader.close()
    return found


def pairs(folder: Path, split: str) -> set[tuple[str, str]]:
    """The sentences of a part and their translations."""
    return {(one["src.txt"].decode(), one["tgt.txt"].decode()) for one in samples(folder, split).values()}


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A folder behind a web server of this machine: its address, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, code: object = "-", size: object = "-") -> None:
            asked.append(self.path)

        def log_error(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
