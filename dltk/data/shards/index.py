"""What lies where in a set of shards: a folder of memory-mapped files beside them.

Nothing is held per sample in Python: a billion samples cost address space, and the pages that are looked at.

    index.json   samples, shards, bytes, where the shards lie, fields, classes, and a hash of it all
    shards.npy   count, bytes, sha256 and time of change of each shard
    names.txt    their names, a line each
    offsets.npy  byte where each sample begins;  sizes.npy  its bytes
    keys.bin     all keys, end to end;  key_ends.npy  where each ends
    targets.npy  class of each sample, where all have one
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dltk.data.keys import Keys
from dltk.data.plan import Numbers
from dltk.data.shards.source import is_local
from dltk.errors import DataError

# Letters: N samples in all, S shards, b samples asked for.

FORMAT = 1
REMEDY = "Make the index again: `dltk data index`."
SHARD = np.dtype([("count", "<u4"), ("bytes", "<u8"), ("sha256", "V32"), ("mtime_ns", "<i8")])
COLUMNS = {"offsets": "<u8", "sizes": "<u4", "key_ends": "<u8", "targets": "<i4"}


class KeptKeys(Keys):
    """The keys of all samples, read when they are asked for."""

    def __init__(self, blob: NDArray[np.uint8], ends: NDArray[np.uint64]) -> None:
        self._blob, self._ends = blob, ends

    def __len__(self) -> int:
        return len(self._ends)

    def key(self, at: int) -> str:
        """The key of a sample.

        Raises:
            DataError: its bytes are no text.
        """
        start = int(self._ends[at - 1]) if at else 0
        try:
            return self._blob[start : int(self._ends[at])].tobytes().decode()
        except UnicodeDecodeError:
            raise DataError("", "keys.bin", f"the key of sample {at:,} is no text", REMEDY) from None


class Index:
    """One split's index; opened by its folder, and pickled as nothing else.

    Args:
        folder: of the index.

    Raises:
        DataError: there is none, it is of a newer format, or its files do not belong together.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        about = _about(self.folder)
        self.total, self.root, self.hash = about.samples, about.root, about.hash
        self._made_here = about.folder == _number_of(self.folder)
        self.fields, self.classes = about.fields, about.classes or []
        shards = self._map("shards", SHARD, about.shards)
        self.counts: Numbers = shards["count"].astype(np.int64)  # (S,)
        self.bytes: Numbers = shards["bytes"].astype(np.int64)  # (S,)
        self._sha256, self.mtimes = shards["sha256"], shards["mtime_ns"]
        self._ends = np.cumsum(self.counts)  # (S,) first sample number after each shard
        if self.total != int(self.counts.sum()):
            raise DataError(self.folder, "index.json", f"{self.total} samples, its shards hold {self.counts.sum()}")
        self.offsets = self._map("offsets", COLUMNS["offsets"], self.total)
        self.sizes = self._map("sizes", COLUMNS["sizes"], self.total)
        key_ends = self._map("key_ends", COLUMNS["key_ends"], self.total)
        self.keys = KeptKeys(self._text(int(key_ends[-1]) if self.total else 0), key_ends)
        has_targets = (self.folder / "targets.npy").exists()
        self.targets: NDArray[np.int32] | None = (
            self._map("targets", COLUMNS["targets"], self.total) if has_targets else None
        )
        self._names = self._read_names()
        if len(self._names) != len(self.counts):
            raise DataError(self.folder, "names.txt", f"{len(self._names)} names of {len(self.counts)} shards", REMEDY)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.folder, self.hash)

    def __len__(self) -> int:
        return self.total

    def locate(self, numbers: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """Shard, first byte and bytes of each sample (b,)."""
        numbers = np.asarray(numbers, dtype=np.int64)
        shards = np.searchsorted(self._ends, numbers, side="right")
        return shards, self.offsets[numbers].astype(np.int64), self.sizes[numbers].astype(np.int64)

    def lies(self, number: int) -> tuple[int, int, int]:
        """Shard, first byte and bytes of one sample."""
        shard = int(self._ends.searchsorted(number, side="right"))
        return shard, int(self.offsets[number]), int(self.sizes[number])

    def first(self, shard: int) -> int:
        """The number of a shard's first sample."""
        return int(self._ends[shard] - self.counts[shard])

    def url(self, shard: int) -> str:
        """Where a shard lies: a path or an address.

        Raises:
            DataError: a path outside of the set's folder, which an index from elsewhere might name.
        """
        name = self._names[shard]
        if not is_local(name):
            return name
        if not is_local(self.root):
            return f"{self.root.rstrip('/')}/{name}"
        # As written: a link inside of the set was made by whoever may do that here.
        here = Path(os.path.normpath(self.folder.absolute()))  # the folder may be written as `../data/…`
        path = os.path.normpath(here / self.root / name)
        if not self._made_here and not Path(path).is_relative_to(here.parent.parent):
            what = f"it came from elsewhere, and names {path}, which is outside of the set's folder"
            raise DataError(self.folder, "index.json", what, "Where that is right, make the index again here.")
        return path

    def name(self, shard: int) -> str:
        """A shard's name, for messages."""
        return self._names[shard].rpartition("/")[2]

    def sha256(self, shard: int) -> str:
        """The hash that a shard had when it was indexed."""
        return bytes(self._sha256[shard]).hex()

    def _map(self, name: str, kind: Any, count: int) -> Any:
        """One of the .npy files."""
        path = self.folder / f"{name}.npy"
        try:
            mapped = _mapped(path)
        except (OSError, ValueError) as error:
            raise DataError(path, "", f"cannot be read ({error})", REMEDY) from None
        if mapped.dtype != np.dtype(kind) or mapped.shape != (count,):
            what = f"holds {mapped.shape} of {mapped.dtype}, not ({count},) of {np.dtype(kind)}"
            raise DataError(path, "", what, REMEDY)
        return mapped

    def _text(self, length: int) -> Any:
        """The bytes of all keys."""
        path = self.folder / "keys.bin"
        try:
            if os.path.getsize(path) != length:
                raise ValueError(f"it has {os.path.getsize(path):,} bytes, the keys {length:,}")
            return np.memmap(path, mode="r", dtype="u1").view(np.ndarray) if length else np.empty(0, np.uint8)
        except (OSError, ValueError) as error:
            raise DataError(path, "", f"cannot be read ({error})", REMEDY) from None

    def _read_names(self) -> list[str]:
        path = self.folder / "names.txt"
        try:
            return path.read_text(encoding="utf-8").split("\n")[:-1]
        except (OSError, ValueError) as error:
            raise DataError(path, "", f"cannot be read ({error})", REMEDY) from None


def _reopened(folder: Path, known: str) -> Index:
    """The index in another process, where it must still be the same."""
    index = Index(folder)
    if index.hash != known:
        raise DataError(folder, "", "was replaced while it was read", "Start again.")
    return index


class IndexWriter:
    """Writes an index shard by shard, and publishes it whole.

    Args:
        folder: of the index; must not exist yet.
        replace: publish over an older index.

    Raises:
        DataError: there is an index already.
    """

    def __init__(self, folder: str | Path, *, replace: bool = False) -> None:
        self.folder, self.replace = Path(folder), replace
        if self.folder.exists() and not replace:
            raise DataError(self.folder, "", "there is an index already", "Remove it, or say --replace.")
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._place = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}-", dir=self.folder.parent))
        self._place.chmod(0o755)
        self._columns = {name: _Column(self._place / f"{name}.npy", np.dtype(kind)) for name, kind in COLUMNS.items()}
        self._keys: BinaryIO = (self._place / "keys.bin").open("wb")
        self._shards: list[tuple[int, int, bytes, int]] = []
        self._names: list[str] = []
        self._key_end = 0
        self._all_have_targets = True

    def add_shard(
        self,
        *,
        name: str,
        bytes: int,
        sha256: str,
        offsets: Sequence[int] | Numbers,
        sizes: Sequence[int] | Numbers,
        keys: Sequence[str],
        targets: Sequence[int] | Numbers | None = None,
        mtime_ns: int = 0,
    ) -> None:
        """Add one shard.

        Args:
            name: below the root, or whole.
            bytes: of the archive.
            sha256: of it, 64 hexadecimal digits.
            offsets: first byte of each sample (n,).
            sizes: bytes of each (n,).
            keys: of them (n,).
            targets: their classes (n,), where they have any.
            mtime_ns: when the file was changed last; 0 if nobody knows.
        """
        assert len(offsets) == len(sizes) == len(keys), "offsets, sizes and keys differ in number"
        if "\n" in name:
            raise DataError(name, "", "a shard whose name has a line break", "Rename it.")
        encoded = [key.encode() for key in keys]
        ends = self._key_end + np.cumsum([len(key) for key in encoded], dtype=np.uint64)
        self._keys.write(b"".join(encoded))
        self._key_end = int(ends[-1]) if len(ends) else self._key_end
        self._columns["offsets"].add(offsets)
        self._columns["sizes"].add(sizes)
        self._columns["key_ends"].add(ends)
        self._all_have_targets &= targets is not None
        if self._all_have_targets:
            assert targets is not None
            self._columns["targets"].add(targets)
        self._shards.append((len(keys), bytes, bytes_of(sha256), mtime_ns))
        self._names.append(name)

    def finish(self, *, root: str = "..", fields: Sequence[str], classes: Sequence[str] | None = None) -> Index:
        """Write the rest, and give the index its name."""
        total = sum(count for count, *_ in self._shards)
        for column in self._columns.values():
            column.close()
        self._keys.close()
        if not (self._all_have_targets and self._shards):
            (self._place / "targets.npy").unlink()
        np.save(self._place / "shards.npy", np.array(self._shards, dtype=SHARD), allow_pickle=False)
        (self._place / "names.txt").write_text("".join(f"{name}\n" for name in self._names), encoding="utf-8")
        about = {
            "format": FORMAT,
            "samples": total,
            "shards": len(self._shards),
            "bytes": sum(size for _, size, *_ in self._shards),
            "root": root,
            "fields": sorted(fields),
            "classes": None if classes is None else list(classes),
            "hash": self._hash(),
        }
        if os.path.isabs(root):
            about["folder"] = _number_of(self._place)
        (self._place / "index.json").write_text(json.dumps(about, ensure_ascii=False, indent=1) + "\n", "utf-8")
        self._publish()
        return Index(self.folder)

    def abandon(self) -> None:
        """Remove what was written."""
        self._keys.close()
        for column in self._columns.values():
            with contextlib.suppress(ValueError):
                column.file.close()
        shutil.rmtree(self._place, ignore_errors=True)

    def _hash(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for (count, _, sha256, _), name in zip(self._shards, self._names, strict=True):
            digest.update(f"{name.rpartition('/')[2]} {count} {sha256.hex()}\n".encode())
        return digest.hexdigest()

    def _publish(self) -> None:
        for path in self._place.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        old = None
        if self.replace and self.folder.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{self.folder.name}-old-", dir=self.folder.parent)) / "index"
            self.folder.rename(old)
        self._place.rename(self.folder)
        if old is not None:
            shutil.rmtree(old.parent)


class _Column:
    """A one-dimensional .npy file that grows; its header is written last."""

    HEADER = 128

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self.dtype, self.count = dtype, 0
        self.file = path.open("wb")
        self.file.write(b"\0" * self.HEADER)

    def add(self, values: Any) -> None:
        array = np.asarray(values)
        limits = np.iinfo(self.dtype)
        if array.size and (array.min() < limits.min or array.max() > limits.max):
            outside = array.max() if array.max() > limits.max else array.min()
            raise DataError("", "index", f"{outside} does not fit {self.dtype}", "Pack smaller samples or classes.")
        self.file.write(array.astype(self.dtype).tobytes())
        self.count += len(array)

    def close(self) -> None:
        text = f"{{'descr': {self.dtype.str!r}, 'fortran_order': False, 'shape': ({self.count},), }}"
        header = b"\x93NUMPY\x01\x00" + (self.HEADER - 10).to_bytes(2, "little")
        self.file.seek(0)
        self.file.write(header + text.ljust(self.HEADER - 11).encode() + b"\n")
        self.file.close()


def name_classes(folder: Path, classes: Sequence[str]) -> None:
    """Give an index the names of its classes, by class number; its hash stays."""
    about = {**_said(folder), "classes": list(classes)}
    partial = folder / ".index.json.part"
    partial.write_text(json.dumps(about, ensure_ascii=False, indent=1) + "\n", "utf-8")
    partial.rename(folder / "index.json")


def bytes_of(sha256: str) -> bytes:
    """The 32 bytes of a hash."""
    value = bytes.fromhex(sha256)
    assert len(value) == 32, f"'{sha256}' is no sha256"
    return value


def _number_of(folder: Path) -> int:
    return folder.stat().st_ino if folder.exists() else -1


class _About(NamedTuple):
    """What `index.json` says."""

    samples: int
    shards: int
    root: str
    fields: list[str]
    classes: list[str] | None
    hash: str
    folder: int = 0  # where the root is a path: the number (inode) of its own, which goes when that is copied


def _said(folder: Path) -> dict[str, Any]:
    """The contents of an `index.json`."""
    path = folder / "index.json"
    try:
        said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        newer = said["format"] > FORMAT
    except FileNotFoundError:
        raise DataError(folder, "", "holds no index", "Make one: `dltk data index SHARDS`.") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(path, "", f"is no index ({error})", REMEDY) from None
    if newer:
        raise DataError(path, "format", f"{said['format']} is newer than {FORMAT}", "Install a newer dltk.")
    return said


def _about(folder: Path) -> _About:
    path, said = folder / "index.json", _said(folder)
    try:
        about = _About(**{name: said[name] for name in _About._fields if name in said or name != "folder"})
        texts = [about.root, about.hash, *about.fields, *(about.classes or [])]
    except KeyError as error:
        raise DataError(path, "", f"has no {error.args[0]}", REMEDY) from None
    except TypeError as error:
        raise DataError(path, "", f"is no index ({error})", REMEDY) from None
    numbers = [about.samples, about.shards, about.folder]
    if not all(isinstance(one, str) for one in texts) or not all(isinstance(one, int) and one >= 0 for one in numbers):
        raise DataError(path, "", "is no index (a text or a number is of another kind)", REMEDY)
    return about


def _mapped(path: Path) -> Any:
    """A .npy file as a memory map; an empty one as an array."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype.hasobject:
            raise ValueError("it holds Python objects")
        if 0 in shape:
            return np.empty(shape, dtype)
        # As a plain array: looking up one number in numpy's own class for maps takes several times as long.
        return np.memmap(path, mode="r", dtype=dtype, shape=shape, offset=file.tell()).view(np.ndarray)
