"""Archives as others write them, and as they lie after an accident or an attack: nothing hangs, nothing is lost."""

import io
import tarfile
from pathlib import Path

import pytest

from dltk.data.shards.build import build, scan_shard
from dltk.data.shards.index import IndexWriter
from dltk.data.shards.reader import ShardReader
from dltk.data.shards.tar import BLOCK, Part, Whole, members, scan
from dltk.errors import DataError

GIGABYTE = 1 << 30


def member(name: str, data: bytes = b"x", **about: object) -> bytes:
    """A file of an archive, header and padding."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in about.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % BLOCK)


def with_field(header: bytes, at: int, field: bytes) -> bytes:
    """A header with another field, and the checksum that fits."""
    changed = bytearray(header)
    changed[at : at + len(field)] = field
    changed[148:156] = b" " * 8
    changed[148:156] = f"{sum(changed[:BLOCK]):06o}\0 ".encode()
    return bytes(changed)


def pax(records: bytes) -> bytes:
    return member("PaxHeaders/x", records, type=b"x")


def test_a_name_that_fills_its_field(tmp_path: Path) -> None:
    name = "n" * 96 + ".txt"  # 100 bytes, without a zero behind
    (tmp_path / "a.tar").write_bytes(member(name, b"contents") + member("b.txt") + bytes(2 * BLOCK))
    index = build([str(tmp_path / "a.tar")], tmp_path / "index")
    assert ShardReader(index, cache=None).fields(0) == {"txt": b"contents"}


@pytest.mark.parametrize(
    "block",
    [
        with_field(member("a.txt"), 124, b"-0000001000\0"),
        with_field(member("a.txt"), 124, b"0000000_001\0"),
        with_field(member("a.txt"), 124, b"\xff" * 12),
        pax(b"13 size=-512\n") + member("a.txt"),
        pax(b"12 size=1e9\n") + member("a.txt"),
        pax(b"40 size=99999999999999999999999999999999\n") + member("a.txt"),
    ],
    ids=["negative", "with a line", "below zero in binary", "negative in pax", "no number in pax", "beyond all disks"],
)
@pytest.mark.timeout(20)
def test_sizes_that_are_none(tmp_path: Path, block: bytes) -> None:
    """A negative size would lead a reader back to where it was, for ever."""
    with pytest.raises(DataError):
        members(block, "a")
    with pytest.raises(DataError):
        list(scan(Whole(block + bytes(2 * BLOCK)), "a", marked=True))
    (tmp_path / "a.tar").write_bytes(block + bytes(2 * BLOCK))
    with (tmp_path / "a.tar").open("rb") as file, pytest.raises(DataError):
        list(scan(Part(file, 0, len(block) + 2 * BLOCK), "a", marked=True))


def test_an_archive_cut_off_between_two_files(tmp_path: Path) -> None:
    """Its samples are all whole, and some are missing."""
    whole = member("a.txt") + member("b.txt") + member("c.txt") + bytes(2 * BLOCK)
    path = tmp_path / "a.tar"
    for end in range(0, len(whole) - 2 * BLOCK + 1, BLOCK):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match="cut off"):
            scan_shard(str(path))
    path.write_bytes(whole)
    assert scan_shard(str(path)).keys == ["a", "b", "c"]


def test_an_archive_that_ends_behind_a_long_name(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(pax(b"15 path=b.txt\n\n"))
    with pytest.raises(DataError, match="without its mark"):
        scan_shard(str(tmp_path / "a.tar"))


def test_samples_behind_nine_gigabytes(tmp_path: Path) -> None:
    """On a file with a hole: a member of nine gigabytes has its size in binary."""
    first = tarfile.TarInfo("big.bin")
    first.size = 9 * GIGABYTE
    header = first.tobuf(tarfile.GNU_FORMAT)
    assert header[124] & 0x80
    path = tmp_path / "a.tar"
    with path.open("wb") as file:
        file.write(header)
        file.seek(BLOCK + first.size)
        file.write(member("small.txt", b"behind") + bytes(2 * BLOCK))
    with path.open("rb") as file:
        found = list(scan(Part(file, 0, path.stat().st_size), path, marked=True))
    assert [(one.name, one.start, one.size) for one in found] == [
        ("big.bin", 0, first.size),
        ("small.txt", BLOCK + first.size, 6),
    ]
    writer = IndexWriter(tmp_path / "index")
    writer.add_shard(
        name="a.tar", bytes=path.stat().st_size, sha256="0" * 64, offsets=[found[1].start],
        sizes=[found[1].end - found[1].start], keys=["small"],
    )  # fmt: skip
    assert ShardReader(writer.finish(fields=["txt"]), cache=None).fields(0) == {"txt": b"behind"}


def test_a_python_archive_in_every_format(tmp_path: Path) -> None:
    """Names of up to 300 bytes, read by offset as by the standard library."""
    names = ["a" * length + ".txt" for length in (1, 90, 95, 96, 97, 120, 250)]
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        path = tmp_path / f"{form}.tar"
        with tarfile.open(path, "w", format=form) as archive:
            for number, name in enumerate(names):
                info = tarfile.TarInfo(name)
                info.size = number
                archive.addfile(info, io.BytesIO(bytes(number)))
        reader = ShardReader(build([str(path)], tmp_path / f"{form}"), cache=None)
        assert [reader.fields(number)["txt"] for number in range(len(names))] == [bytes(n) for n in range(len(names))]
