"""An index of shards that exist already, whoever wrote them. The shards are read once, and not changed."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from dltk.data.shards.fields import PICTURES, label
from dltk.data.shards.index import Index, IndexWriter
from dltk.data.shards.source import Steady, is_local
from dltk.data.shards.tar import NOT_DECODED, Member, scan, split_name
from dltk.errors import DataError

LABELS = ("cls", "json")


class Scanned(NamedTuple):
    """What one shard holds."""

    bytes: int
    sha256: str
    offsets: list[int]
    sizes: list[int]
    keys: list[str]
    targets: list[int] | None
    fields: set[str]
    mtime_ns: int


class _Hashing:
    """A stream that hashes what is read from it."""

    def __init__(self, source: Any) -> None:
        self._source, self._digest, self.count = source, hashlib.sha256(), 0

    def read(self, count: int = -1) -> bytes:
        data: bytes = self._source.read(count)
        self._digest.update(data)
        self.count += len(data)
        return data

    def finish(self) -> str:
        """Read the rest, and return the hash of it all."""
        while self.read(1 << 20):
            pass
        return self._digest.hexdigest()


def scan_shard(url: str, *, allow_pipe: bool = False) -> Scanned:
    """Read a shard once.

    Raises:
        DataError: it is damaged or unreachable, the files of a sample lie apart, or one would run code when it is read.
    """
    return scan_samples(url, allow_pipe=allow_pipe)[0]


def scan_samples(url: str, *, allow_pipe: bool = False) -> tuple[Scanned, list[frozenset[str]]]:
    """Read a shard once; returns also the extensions of each sample's files.

    Raises:
        DataError: as `scan_shard`.
    """
    offsets: list[int] = []
    ends: list[int] = []
    keys: list[str] = []
    labels: list[dict[str, bytes]] = []
    found: list[set[str]] = []
    before = _mtime(url)
    with Steady(url, allow_pipe=allow_pipe) as source:
        hashing = _Hashing(source)
        for member in scan(hashing, url, LABELS, marked=True):
            key, extension = _named(member, url)
            if not keys or key != keys[-1]:
                offsets.append(member.start)
                ends.append(member.end)
                keys.append(key)
                labels.append({})
                found.append(set())
            if extension in found[-1]:
                raise DataError(url, member.name, "is there twice", "Pack the shard again.")
            ends[-1] = member.end
            found[-1].add(extension)
            if extension in LABELS:
                labels[-1][extension] = member.contents
        sha256 = hashing.finish()
    if len(set(keys)) != len(keys):
        twice = next(key for key, count in Counter(keys).items() if count > 1)
        raise DataError(url, twice, "has its files in two places", "Pack the shard again, sorted by key.")
    if _mtime(url) != before:
        raise DataError(url, "", "changed while it was read", "Read it again when it is finished.")
    sizes = [end - start for start, end in zip(offsets, ends, strict=True)]
    kinds = {kinds: kinds for kinds in map(frozenset, found)}  # few different ones, each kept once
    targets = _targets(url, keys, labels)
    whole = Scanned(hashing.count, sha256, offsets, sizes, keys, targets, set().union(*kinds), before)
    return whole, [kinds[frozenset(one)] for one in found]


class Halves:
    """Samples that lack a file which others have, by what they lack."""

    def __init__(self) -> None:
        self._counts: Counter[frozenset[str]] = Counter()
        self._first: dict[frozenset[str], str] = {}  # by its kinds of files, a sample's key and shard

    def add(self, name: str, keys: Sequence[str], extensions: Sequence[frozenset[str]]) -> None:
        """Look at the samples of a shard."""
        for key, each in zip(keys, extensions, strict=True):
            kinds = frozenset(map(kind, each))
            self._counts[kinds] += 1
            self._first.setdefault(kinds, f"'{key}' in {name}")

    def lacking(self, kinds: set[str]) -> int:
        """Samples that lack one of these kinds of files."""
        return sum(count for has, count in self._counts.items() if kinds - has)

    def lines(self) -> list[str]:
        """One for each kind of lack."""
        whole: frozenset[str] = frozenset().union(*self._counts)
        return [
            f"{count:,} sample(s) have no {', '.join(sorted(whole - kinds))}; the first is {self._first[kinds]}"
            for kinds, count in self._counts.items()
            if kinds != whole
        ]


def kind(extension: str) -> str:
    """The kind of a file; pictures of any format are one."""
    head, _, last = extension.rpartition(".")
    return f"{head}.picture".lstrip(".") if last in PICTURES else extension


def _mtime(url: str) -> int:
    """When a local shard was changed last, in ns; 0 of others, and of what is not there."""
    try:
        return os.stat(url).st_mtime_ns if is_local(url) else 0
    except OSError:
        return 0


def build(
    urls: Sequence[str],
    to: Path,
    *,
    classes: Sequence[str] | None = None,
    workers: int = 1,
    allow_pipe: bool = False,
    replace: bool = False,
    done: Callable[[int], None] = lambda count: None,
    halves: Halves | None = None,
) -> Index:
    """Scan shards and write their index.

    Args:
        urls: of the shards, in the order that they are to have.
        to: folder of the index.
        classes: names by class number.
        workers: shards scanned at the same time.
        allow_pipe: run `pipe:` commands.
        replace: publish over an older index.
        done: hears how many shards have been scanned.
        halves: sees all samples, to tell of those that lack a file.

    Raises:
        DataError: a shard is damaged. Keys that several shards share are told by `verify`.
    """
    writer = IndexWriter(to, replace=replace)
    try:
        return _write(writer, urls, classes, workers, allow_pipe, done, halves or Halves())
    except BaseException:
        writer.abandon()
        raise


def _write(
    writer: IndexWriter,
    urls: Sequence[str],
    classes: Sequence[str] | None,
    workers: int,
    allow_pipe: bool,
    done: Callable[[int], None],
    halves: Halves,
) -> Index:
    root, names = _relative(urls, writer.folder)
    fields: set[str] = set()
    with ThreadPoolExecutor(workers) as pool:
        scans = pool.map(lambda url: scan_samples(url, allow_pipe=allow_pipe), urls)
        for number, (name, (one, extensions)) in enumerate(zip(names, scans, strict=True)):
            halves.add(name, one.keys, extensions)
            writer.add_shard(
                name=name,
                bytes=one.bytes,
                sha256=one.sha256,
                offsets=one.offsets,
                sizes=one.sizes,
                keys=one.keys,
                targets=one.targets,
                mtime_ns=one.mtime_ns,
            )
            fields |= one.fields
            done(number + 1)
    return writer.finish(root=root, fields=sorted(fields), classes=classes)


def _relative(urls: Sequence[str], folder: Path) -> tuple[str, list[str]]:
    """The root that an index writes, and the shards' names below it."""
    if all(is_local(url) for url in urls):
        paths = [Path(url).resolve() for url in urls]
        root, here = os.path.commonpath([path.parent for path in paths] or [Path.cwd()]), folder.resolve()
        inside = Path(root).is_relative_to(here.parent.parent)  # then the set may be moved as a whole
        return os.path.relpath(root, here) if inside else root, [os.path.relpath(path, root) for path in paths]
    roots = {url.rpartition("/")[0] for url in urls}
    if len(roots) == 1 and not any(url.startswith("pipe:") for url in urls):
        return roots.pop(), [url.rpartition("/")[2] for url in urls]
    return "..", list(urls)


def _named(member: Member, url: str) -> tuple[str, str]:
    key, extension = split_name(member.name)
    if not extension or not key:
        raise DataError(url, member.name, "has no extension, so nobody knows what it holds", "Name it KEY.EXTENSION.")
    if key.startswith("/") or ".." in key.split("/"):
        raise DataError(url, member.name, "leads out of the folder it would be unpacked in", "Pack it by other names.")
    if extension.rpartition(".")[2] in NOT_DECODED:
        what = "is a pickle, which runs commands when it is read"
        raise DataError(url, member.name, what, "Pack it as npy or json.")
    return key, extension


def _targets(url: str, keys: Sequence[str], labels: Sequence[dict[str, bytes]]) -> list[int] | None:
    """The class of each sample, where all have one."""
    targets: list[int] = []
    for key, fields in zip(keys, labels, strict=True):
        try:
            named = label(fields)
        except DataError as error:
            raise DataError(f"{url}: {key}", error.key, error.what, "Mend it, or leave the sample out.") from None
        if named is None:
            return None
        targets.append(named)
    return targets
