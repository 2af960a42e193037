"""W&B's own files: the segments of a run, and the records in them.

A run that W&B followed without a network leaves a folder for each time that it was started,
`wandb/offline-run-<time>-<id>/run-<id>.wandb`; one that was preempted leaves several of one id. A file is a header of 7
bytes (`:W&B`, 0xBEE1, version), then blocks of 32,768 bytes, the first of which counts the header, that hold records as
LevelDB's log does: checksum (4 bytes), length (2), kind (1: whole, 2 to 4: first, middle, last part), then a message of
`wandb.proto`. W&B 0.31 has no reader of it in Python.
"""

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

HEADER = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
_BLOCK = 32768  # bytes
_DEPTH = 4  # folders below one that is named, in which W&B's are looked for
_ENDING = (1, 4)  # kinds with which a record ends
_BEGINNING = (1, 2)


@dataclass(frozen=True, order=True)
class Segment:
    """What W&B kept of one start of a run.

    Args:
        began: when, as its folder has it: `20261126_181911`.
        file: the `.wandb` file.
    """

    began: str
    file: Path

    @property
    def identity(self) -> str:
        """The run's W&B id."""
        return self.file.stem.removeprefix("run-")

    @property
    def offline(self) -> bool:
        """Whether it was kept without a network."""
        return self.file.parent.name.startswith("offline-")

    @property
    def size(self) -> int:
        """Bytes; 0 where it is gone."""
        try:
            return self.file.stat().st_size
        except OSError:
            return 0


def segments(folder: Path) -> list[Segment]:
    """The segments in a folder `wandb`, in the order of their starts."""
    found = []
    for file in (*folder.glob("offline-run-*/run-*.wandb"), *folder.glob("run-*/run-*.wandb")):
        began, _, _ = file.parent.name.removeprefix("offline-").removeprefix("run-").rpartition("-")
        found.append(Segment(began, file))
    return sorted(found)


def folders(path: Path, depth: int = _DEPTH) -> list[Path]:
    """The folders of W&B at a path and below it, by name; those in runs of ours are theirs, and passed over."""
    try:
        names = sorted(entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
    if any(name.startswith(("offline-run-", "run-")) for name in names) and segments(path):
        return [path]
    if (path / "run.json").is_file() and (path / "recipe.yaml").is_file():
        return []
    below = (path / name for name in names if depth and not name.startswith("."))
    return [folder for inner in below for folder in folders(inner, depth - 1)]


def by_identity(some: Sequence[Segment]) -> dict[str, list[Segment]]:
    """Segments by W&B's id of the run, each in order."""
    found: dict[str, list[Segment]] = {}
    for one in some:
        found.setdefault(one.identity, []).append(one)
    return found


def records(file: Path) -> Iterator[Any]:
    """The whole records of a file, messages of `wandb.proto`; a torn end and damaged records are passed over."""
    # Generated modules, and a package without types: nothing here is known to a type checker.
    proto: Any = import_module("wandb.proto.wandb_internal_pb2")
    damaged: Any = import_module("google.protobuf.message").DecodeError
    for payload in _payloads(file.read_bytes()):
        record = proto.Record()
        try:
            record.ParseFromString(payload)
        except damaged:
            continue
        yield record


def _payloads(data: bytes) -> Iterator[bytes]:
    if data[:6] != HEADER[:6]:
        return
    place, parts = len(HEADER), b""
    while place + 7 <= len(data):
        left = _BLOCK - place % _BLOCK
        if left < 7:  # no room for another record's head: zeros fill the block
            place += left
            continue
        checksum, length, kind = struct.unpack_from("<IHB", data, place)
        part = data[place + 7 : place + 7 + length]
        if len(part) < length:
            return
        if length + 7 > left or zlib.crc32(data[place + 6 : place + 7 + length]) != checksum:
            place, parts = place + left, b""  # the next block begins anew
            continue
        place += 7 + length
        if kind in _BEGINNING:
            parts = b""
        parts += part
        if kind in _ENDING:
            yield parts
