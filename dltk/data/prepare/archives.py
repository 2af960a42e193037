"""The archives that a set is made from: in a folder of the user's, or fetched and held to a known hash."""

import bz2
import contextlib
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from dltk.data.prepare import Origin, Progress
from dltk.data.shards.source import PIECE, Steady, hash_of
from dltk.errors import DataError

FOLDER = ".archives"  # in the set's folder, while it is made
DAMAGED = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
)  # what reading an archive raises


class Archive(NamedTuple):
    """A file that somebody publishes."""

    url: str
    sha256: str = ""  # empty where it changes, or nobody has published one
    size: int = 0  # bytes; 0 if unknown

    @property
    def name(self) -> str:
        """The last part of its address."""
        return self.url.rpartition("/")[2]


def obtain(archives: Sequence[Archive], origin: Origin, to: Path, progress: Progress) -> dict[str, Path]:
    """The archives of a set by name: those in the user's folder, or all of them, fetched.

    Args:
        archives: of the set.
        origin: the user's folder, where there is one; hashes of archives that have none here.
        to: the set's folder.
        progress: hears the bytes fetched.

    Raises:
        DataError: an archive has no known hash, cannot be fetched, or is another than expected.
    """
    if origin.folder is not None:
        if not origin.folder.is_dir():
            raise DataError(origin.folder, "--source", "is no folder", "Name the one that holds the archives.")
        beside = {one.name: origin.folder / one.name for one in archives}
        found = {name: path for name, path in beside.items() if path.exists()}
        for name in found.keys() & origin.hashes.keys():
            _require_hash(found[name], origin.hashes[name], found[name])
        return found
    hashes = {one.name: origin.hashes.get(one.name, one.sha256) for one in archives}
    _require_hashes(archives, hashes, origin.hashes)
    folder = to / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return {one.name: _fetched(one, hashes[one.name], folder, progress) for one in archives}


@contextlib.contextmanager
def member(archive: Path, name: str) -> Iterator[IO[bytes]]:
    """A file of a tar, a zip or a folder, gunzipped where its name says that it is zipped; or the file itself.

    Args:
        archive: a tar, a zip, a folder, or one file, zipped or not.
        name: of the member, with or without its folders.

    Raises:
        DataError: it is not there, or the archive is damaged.
    """
    with contextlib.ExitStack() as stack:
        try:
            file = _member(archive, name, stack)
        except DAMAGED as error:
            raise _damaged(archive, error) from None
        if file is None:
            raise DataError(archive, name, "is not in it", "Fetch it again.")
        yield file


def lines(archive: Path, name: str) -> Iterator[bytes]:
    """The lines of a file of an archive; see `member`.

    Raises:
        DataError: it is not there, or the archive is damaged or cut off.
    """
    with member(archive, name) as file:
        try:
            yield from file
        except DAMAGED as error:
            raise _damaged(archive, error) from None


def _member(archive: Path, name: str, stack: contextlib.ExitStack) -> IO[bytes] | None:
    if archive.is_dir():
        path = next(iter(sorted(archive.rglob(name))), None)
        return None if path is None else _unzipped(stack.enter_context(path.open("rb")), path.name)
    if archive.suffix == ".zip":
        zipped = stack.enter_context(zipfile.ZipFile(archive))
        found = next((one for one in zipped.namelist() if _is(one, name)), None)
        return None if found is None else stack.enter_context(zipped.open(found))
    if archive.suffix in (".tgz", ".tar") or archive.name.endswith(".tar.gz"):
        opened = stack.enter_context(tarfile.open(archive))  # noqa: SIM115 - the stack closes it
        for one in opened:
            if one.isfile() and _is(one.name, name):
                file = opened.extractfile(one)
                return None if file is None else _unzipped(file, one.name)
        return None
    return _unzipped(stack.enter_context(archive.open("rb")), archive.name)


def _is(path: str, name: str) -> bool:
    return path == name or path.endswith(f"/{name}")


def _unzipped(file: IO[bytes], name: str) -> Any:
    openers: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    opener = openers.get(Path(name).suffix)
    return file if opener is None else opener(file)


def _require_hashes(archives: Sequence[Archive], hashes: Mapping[str, str], given: Mapping[str, str]) -> None:
    """Nothing is fetched that could be anything."""
    strange = next((name for name in given if name not in hashes), None)
    if strange is not None:
        remedy = f"Choose from {', '.join(hashes)}."
        raise DataError("", "--sha256", f"'{strange}' is no archive of this set", remedy)
    unknown = next((one for one in archives if not hashes[one.name]), None)
    if unknown is not None:
        what = f"has no sha256 that is known here, and is not fetched without: {unknown.url}"
        remedy = f"Give --source with a folder that holds it, or --sha256 {unknown.name}=HASH."
        raise DataError("", unknown.name, what, remedy)


def _fetched(archive: Archive, sha256: str, folder: Path, progress: Progress) -> Path:
    path = folder / archive.name
    if path.exists():  # checked before it had its name
        return path
    partial = folder / f"{archive.name}.part"
    start = partial.stat().st_size if partial.exists() else 0
    with Steady(archive.url, start=start, size=archive.size) as source, partial.open("ab") as file:
        while piece := source.read(PIECE):
            file.write(piece)
            progress(file.tell(), archive.size or None, archive.name)
    try:
        _require_hash(partial, sha256, archive.url)
    except DataError:
        partial.unlink()
        raise
    return partial.rename(path)


def _require_hash(path: Path, sha256: str, where: object) -> None:
    if (found := hash_of(path)) != sha256:
        what = f"has sha256 {found}, {sha256} was expected"
        raise DataError(where, "", what, "It has changed since, or on the way; nothing of it is used.")


def _damaged(archive: Path, error: Exception) -> DataError:
    return DataError(archive, "", f"cannot be read ({error or type(error).__name__})", "Fetch it again.")
