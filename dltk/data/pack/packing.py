"""Packing any list of samples: shuffled once, cut into shards, written by several processes, resumed after a kill.

The same input and seed give the same bytes, whatever the number of processes: which samples make a shard follows from
their keys alone.
"""

import io
import itertools
import math
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dltk.data.pack.pictures import encoded
from dltk.data.plan import permutation
from dltk.data.progress import Progress, silent
from dltk.data.shards.build import Scanned
from dltk.data.shards.fields import PICTURES
from dltk.data.shards.sets import FILE, ShardSet
from dltk.data.shards.tar import BLOCK, members
from dltk.data.shards.writer import SHARD_BYTES, Journal, Sample, index_shards, write_shard
from dltk.data.sound import EXTENSIONS, read
from dltk.data.splits import SPLITS, split
from dltk.errors import DataError

TRIED = 64  # samples from which the size of the others is guessed
TELL_EVERY = 1000  # samples
JOURNAL = ".packing"
SPOOL = ".spool.tar"


class Item(NamedTuple):
    """Where a sample lies: a file, a part of an archive, or the files of one sample in a tar."""

    key: str
    path: str
    offset: int
    size: int
    extension: str = ""  # of the file; "" where a whole sample lies there
    target: int | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How samples are packed."""

    seed: int = 0  # of the order
    shard_bytes: int = SHARD_BYTES  # about what a shard weighs
    resize: int | None = None  # shorter side of a picture
    square: bool = False  # its middle square only
    quality: int = 90  # of a JPEG that is written anew
    max_bad: int = 0  # damaged samples that may be left out
    processes: int = field(default=1, compare=False)


class TooManyDamaged(DataError):
    """More samples are damaged than may be left out.

    Args:
        folder: of the set.
        bad: key and reason of each.
        allowed: how many may be.
    """

    def __init__(self, folder: Path, bad: list[tuple[str, str]], allowed: int) -> None:
        key, reason = bad[0]
        what = f"{len(bad)} damaged sample(s), {allowed} allowed; the first is '{key}': {reason}"
        super().__init__(folder, "--max-bad", what, "Mend or remove them, or allow them; what is packed is kept.")
        self.bad = bad


class Packing(NamedTuple):
    """What was packed."""

    set: ShardSet
    samples: dict[str, int]  # by split
    bytes: int
    bad: list[tuple[str, str]]  # key and reason of each sample left out


def pack(
    samples: Mapping[str, Sequence[Item]] | Sequence[Item] | Iterable[Sample],
    to: str | Path,
    *,
    name: str,
    kind: str = "images",
    classes: Sequence[str] | None = None,
    about: Mapping[str, Any] | None = None,
    same: Mapping[str, str] | None = None,
    settings: Settings = Settings(),
    split_of: Callable[[str], str] | None = None,
    progress: Progress = silent,
) -> Packing:
    """Pack samples into a set of shards.

    Args:
        samples: items by split; items that are split here, 70/10/20 of each class by key; or any iterable of
            `{"__key__": name, extension: bytes, …}`, which is split likewise.
        to: the set's folder.
        name: of the set.
        kind: images, text, audio, arrays or other.
        classes: names by class number.
        about: facts that `set.json` keeps.
        same: splits that are another one, such as `{"test": "val"}`.
        settings: size of shards, pictures, processes.
        split_of: the split of a key, where it is not 70/10/20.
        progress: hears the samples done and their number; before, of an iterable, those that were read.

    Raises:
        DataError: there is a set already, there are no samples, more are damaged than may be, or a key is there twice.
    """
    folder = Path(to)
    if (folder / FILE).exists():
        raise DataError(folder, "", "there is a set already", "Remove it, or give another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    spooled = not isinstance(samples, Mapping) and not (isinstance(samples, Sequence) and _are_items(samples))
    items = _spool(folder, samples, progress) if spooled else samples  # type: ignore[arg-type]
    parts = items if isinstance(items, Mapping) else _split(items, split_of)  # type: ignore[arg-type]
    parts = {part: sorted(chosen) for part, chosen in parts.items() if chosen}
    if not parts:
        raise DataError(folder, "", "there are no samples to pack", "Look at what they are made from.")
    written, bad = _write(folder, name, parts, settings, progress)
    if len(bad) > settings.max_bad:
        raise TooManyDamaged(folder, bad, settings.max_bad)
    made = {**{part: part for part in parts}, **(same or {})}
    found = ShardSet(
        name=name,
        kind=kind,
        splits={part: made[part] for part in SPLITS if part in made},
        classes=None if classes is None else list(classes),
        about={**(about or {}), "packed": asdict(settings) | {"processes": None}, "left_out": [key for key, _ in bad]},
    )
    for part in parts:
        shutil.rmtree(folder / part / "index", ignore_errors=True)  # of a packing that was cut off here
        index_shards(folder / part, written[part], classes)
        (folder / part / JOURNAL).unlink()
    (folder / SPOOL).unlink(missing_ok=True)
    found.write(folder)
    counts = {part: sum(len(one.keys) for _, one in written[part]) for part in parts}
    return Packing(found, counts, sum(one.bytes for part in parts for _, one in written[part]), bad)


def _write(
    folder: Path,
    name: str,
    parts: Mapping[str, Sequence[Item]],
    settings: Settings,
    progress: Progress,
) -> tuple[dict[str, list[tuple[str, Scanned]]], list[tuple[str, str]]]:
    """Write all shards that are not there yet; returns every shard by split, and what was damaged."""
    total, done = sum(map(len, parts.values())), 0
    written: dict[str, list[tuple[str, Scanned]]] = {}
    bad: list[tuple[str, str]] = []
    with _pool(settings.processes) as pool:
        for part, items in parts.items():
            _require_different(items)
            shards = _shards(items, part, settings)
            place = folder / part
            place.mkdir(exist_ok=True)
            plan = {**asdict(settings), "processes": None, "max_bad": None, "samples": len(items), "keys": _hash(items)}
            journal = Journal(place / JOURNAL, plan)
            names = [f"{name}-{part}-{number:06d}.tar" for number in range(len(shards))]
            todo = {one: chosen for one, chosen in zip(names, shards, strict=True) if one not in journal.done}
            done += len(items) - sum(map(len, todo.values()))
            progress(done, total)
            for one, scanned, damaged in _each(pool, place, todo, settings):
                journal.add(one, scanned, damaged)
                done += len(todo[one])
                progress(done, total)
            written[part] = [(one, journal.done[one]) for one in names]
            bad += [(key, reason) for key, reason in journal.notes]
    return written, sorted(bad)


def _each(
    pool: ProcessPoolExecutor | None, place: Path, todo: Mapping[str, Sequence[Item]], settings: Settings
) -> Iterator[tuple[str, Scanned, list[tuple[str, str]]]]:
    """Write shards, and tell of each when it is finished."""
    if pool is None:
        for one, items in todo.items():
            yield one, *_write_one(place / one, items, settings)
        return
    waiting: dict[Future[Any], str] = {}
    queue = iter(todo.items())
    while True:
        for one, items in queue:  # a few more than there are processes: the items of all would fill the memory
            waiting[pool.submit(_write_one, place / one, items, settings)] = one
            if len(waiting) >= 2 * settings.processes:
                break
        if not waiting:
            return
        finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
        for future in finished:
            yield waiting.pop(future), *future.result()


def _write_one(path: Path, items: Sequence[Item], settings: Settings) -> tuple[Scanned, list[tuple[str, str]]]:
    """Write one shard; returns it and what was damaged."""
    bad: list[tuple[str, str]] = []

    def samples() -> Iterator[Sample]:
        for item in items:
            try:
                yield _sample(item, settings)
            except (DataError, OSError) as error:
                bad.append((item.key, str(error)))
            except ValueError as error:  # of the encoder: JPEG has sides of at most 65,500 pixels
                bad.append((item.key, f"cannot be stored: {error}"))

    return write_shard(path, samples()), bad


def _sample(item: Item, settings: Settings) -> Sample:
    """Read one sample, its pictures as they are to be stored.

    Raises:
        DataError: it was cut off, or its picture or recording is damaged.
        LaunchError: it is a recording, and soundfile is not installed.
    """
    data = _bytes(item.path, item.offset, item.size)
    if item.extension:
        fields = {item.extension: data}
    else:
        fields = {extension: bytes(one) for extension, one in members(data, item.path)[1].items()}
    if settings.resize is not None and not any(extension in PICTURES for extension in fields):
        raise DataError(item.path, item.key, "has no picture")
    stored: dict[str, Any] = {"__key__": item.key}
    for extension, contents in fields.items():
        if extension in PICTURES:
            extension, contents = encoded(
                contents, extension, resize=settings.resize, square=settings.square, quality=settings.quality
            )
        elif extension in EXTENSIONS:
            read(io.BytesIO(contents), math.inf)  # to see that it is a recording, and has something to hear
        stored[extension] = contents
    if item.target is not None:
        stored["cls"] = str(item.target).encode()
    return stored


def _bytes(path: str, offset: int, size: int) -> bytes:
    with open(path, "rb", buffering=0) as file:
        data = os.pread(file.fileno(), size, offset)
    if len(data) < size:
        raise DataError(path, "", f"ends {size - len(data)} bytes too early", "It was cut off; fetch it again.")
    return data


def _shards(items: Sequence[Item], part: str, settings: Settings) -> list[list[Item]]:
    """The samples of each shard, in a random order that their sorted keys and the seed fix."""
    order = permutation(len(items), settings.seed, "pack", part).tolist()
    shuffled = [items[number] for number in order]
    sizes = []
    for item in shuffled[:TRIED]:
        try:
            sizes.append(sum(BLOCK + len(data) for data in _sample(item, settings).values() if isinstance(data, bytes)))
        except (DataError, OSError, ValueError):
            continue
    each = float(np.mean(sizes)) if sizes else 1.0
    count = max(1, round(len(items) * each / settings.shard_bytes))
    return [list(map(shuffled.__getitem__, one)) for one in np.array_split(np.arange(len(items)), count)]


def _split(items: Sequence[Item], split_of: Callable[[str], str] | None) -> dict[str, list[Item]]:
    """As `split_of` says, or 70/10/20 of each class by the hashes of the keys."""
    items = sorted(items)
    _require_different(items)
    if split_of is not None:
        return {part: [item for item in items if split_of(item.key) == part] for part in SPLITS}
    targets = [0 if item.target is None else item.target for item in items]
    parts = split([item.key for item in items], np.asarray(targets, dtype=np.int64))
    return {name: [items[i] for i in part.tolist()] for name, part in zip(SPLITS, parts, strict=True)}


def _spool(folder: Path, samples: Iterable[Sample], progress: Progress) -> list[Item]:
    """Write samples as they come into one file, from which they are packed."""
    path = folder / SPOOL
    one = write_shard(path, _told(samples, progress))
    targets: Sequence[int | None] = one.targets or [None] * len(one.keys)
    rows = zip(one.keys, one.offsets, one.sizes, targets, strict=True)
    # The class is among the files already; here it only serves to split.
    return [Item(key, str(path), offset, size, "", target) for key, offset, size, target in rows]


def _told(samples: Iterable[Sample], progress: Progress) -> Iterator[Sample]:
    for number, sample in enumerate(samples):
        if number % TELL_EVERY == 0:
            progress(number, None, "samples read")
        yield sample


def _are_items(samples: Sequence[Any]) -> bool:
    return len(samples) == 0 or isinstance(samples[0], Item)


def _require_different(items: Sequence[Item]) -> None:
    for item in items:
        if not item.key.isascii():
            _require_text(item)
    for one, other in itertools.pairwise(items):
        if one.key == other.key:
            raise DataError(other.path, one.key, f"is the key of {one.path} too", "Rename one of them.")


def _require_text(item: Item) -> None:
    try:
        item.key.encode()
    except UnicodeEncodeError:
        shown = item.key.encode(errors="backslashreplace").decode()
        raise DataError("", shown, "is no name in UTF-8", "Rename the file.") from None


def _hash(items: Sequence[Item]) -> str:
    import hashlib

    digest = hashlib.blake2b(digest_size=16)
    for item in items:
        digest.update(f"{item.key}\n{item.offset} {item.size} {item.target}\n".encode())
    return digest.hexdigest()


class _NoPool:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        pass


def _pool(processes: int) -> Any:
    if processes <= 1:
        return _NoPool()
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_one_thread)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
