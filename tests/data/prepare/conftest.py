"""What tests of known sets share: archives made by hand, a web server, and the samples of a set that was made."""

import contextlib
import functools
import io
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
