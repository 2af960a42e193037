"""Writes shards: the same samples give the same bytes, and a shard that has its name is whole."""

import hashlib
import json
import os
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dltk.data.shards.build import Scanned
from dltk.data.shards.fields import label
from dltk.data.shards.index import Index, IndexWriter
from dltk.data.shards.tar import BLOCK, split_name
from dltk.errors import DataError

SHARD_BYTES = 128_000_000
RIGHTS = 0o444  # of every file in an archive
NAME_BYTES, CHECKSUM = 100, 148  # of a header: the length of its first field, and where that of the checksum begins
Sample = Mapping[str, Any]  # "__key__": name; every other entry a file: bytes by extension


def write_shard(path: Path, samples: Iterable[Sample]) -> Scanned:
    """Write one shard, under a temporary name until it is whole.

    Raises:
        DataError: a sample has no key, an impossible one, or a file that is not bytes.
    """
    partial = path.with_name(f".{path.name}.part")
    offsets, sizes, keys, labels, fields = [], [], [], [], set()
    with partial.open("wb") as file:
        at = 0
        for sample in samples:
            key, files = _files(sample)
            block = b"".join(_member(f"{key}.{extension}", data) for extension, data in files)
            file.write(block)
            offsets.append(at)
            sizes.append(len(block))
            keys.append(key)
            labels.append(label(dict(files)))
            fields |= {extension for extension, _ in files}
            at += len(block)
        file.write(bytes(2 * BLOCK))
        file.flush()
        os.fsync(file.fileno())
    with partial.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    partial.rename(path)
    targets = None if None in labels else [int(one) for one in labels if one is not None]
    status = path.stat()
    return Scanned(status.st_size, sha256, offsets, sizes, keys, targets, fields, status.st_mtime_ns)


def index_shards(folder: Path, written: Sequence[tuple[str, Scanned]], classes: Sequence[str] | None) -> Index:
    """The index of shards that were just written into a folder."""
    writer = IndexWriter(folder / "index")
    for name, one in written:
        values = one._asdict()
        values.pop("fields")
        writer.add_shard(name=name, **values)
    fields = sorted(set().union(*(one.fields for _, one in written)))
    return writer.finish(root="..", fields=fields, classes=classes)


def _files(sample: Sample) -> tuple[str, list[tuple[str, bytes]]]:
    key = sample.get("__key__")
    if not isinstance(key, str) or not key or split_name(f"{key}.x")[0] != key or len(key.encode()) > 90:
        what = f"'{key}' is no key"
        raise DataError("", "__key__", what, "Give a name without a dot in its last part, of at most 90 bytes.")
    files = sorted((extension, data) for extension, data in sample.items() if extension != "__key__")
    wrong = next((extension for extension, data in files if not isinstance(data, bytes)), None)
    if wrong is not None or not files:
        what = "has no files" if not files else f"{type(sample[wrong or '']).__name__} given for '{wrong}'"
        raise DataError("", key, what, "Give bytes for each extension.")
    return key, files


def _member(name: str, data: bytes) -> bytes:
    """A file of an archive: header, contents, padding. Owner, time and rights are always the same."""
    return _header(name, len(data)) + data + bytes(-len(data) % BLOCK)


def _header(name: str, size: int) -> bytes:
    """What `tarfile` makes of them, in a tenth of the time where the name is short: a set may have 10^8 files."""
    encoded = name.encode()
    if len(encoded) > NAME_BYTES or size >= 8**11:
        about = tarfile.TarInfo(name)
        about.size, about.mode = size, RIGHTS
        return about.tobuf(tarfile.USTAR_FORMAT)
    block = encoded.ljust(NAME_BYTES, b"\0") + _BEFORE_SIZE + b"%011o\0" % size + _AFTER_SIZE
    return block[:CHECKSUM] + b"%06o\0" % sum(block) + block[CHECKSUM + 7 :]


def _template() -> tuple[bytes, bytes]:
    """What stands before and after the size in every header; in the place of the checksum, blanks."""
    about = tarfile.TarInfo("")
    about.mode = RIGHTS
    block = about.tobuf(tarfile.USTAR_FORMAT)
    return block[NAME_BYTES:124], block[136:CHECKSUM] + b" " * 8 + block[CHECKSUM + 8 :]


_BEFORE_SIZE, _AFTER_SIZE = _template()


class Journal:
    """What a packing has finished, so that one that was killed goes on from there.

    A shard with notes, of samples that were damaged, is written anew: they may have been mended since.

    Args:
        path: of the file; a line for each shard.
        plan: what is being packed, as JSON; another plan starts anew.
    """

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        self.path = path
        self.done: dict[str, Scanned] = {}
        self.notes: list[Any] = []
        head = json.dumps(plan, sort_keys=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        if lines and lines[0] == head:
            for line in lines[1:]:
                self._read(line)
        else:
            path.write_text(head + "\n", encoding="utf-8")

    def add(self, name: str, one: Scanned, notes: Sequence[Any] = ()) -> None:
        """A shard is finished."""
        self.done[name] = one
        self.notes += notes
        values = {**one._asdict(), "fields": sorted(one.fields)}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, "shard": values, "notes": list(notes)}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
            one = Scanned(**{**entry["shard"], "fields": set(entry["shard"]["fields"])})
        except (ValueError, KeyError, TypeError):
            return  # cut off by the kill
        path = self.path.parent / entry["name"]
        if not entry["notes"] and path.exists() and path.stat().st_size == one.bytes:
            self.done[entry["name"]] = one
