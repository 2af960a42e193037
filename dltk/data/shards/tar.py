"""Tar archives as they lie: which bytes hold which member. Nothing is ever extracted.

Headers are read by our own few lines, since a shard is scanned as a stream that is hashed on the way, and a sample is
later found again by its offset alone. Formats: ustar, GNU (long names), pax (path and size).
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, Protocol

from dltk.errors import DataError

BLOCK = 512
CUT_OFF = "It was cut off; fetch or pack it again."
MAX_NAME = 64 * 1024  # bytes of a long name or a pax header; nobody needs more
NOT_DECODED = ("pkl", "pickle", "pyd", "pth", "pt", "npz", "joblib")  # what others unpickle; never opened here
REGULAR = (b"0", b"\0", b"7")
NOT_A_FILE = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device", b"6": "a pipe"}


class Member(NamedTuple):
    """One file of an archive."""

    name: str
    start: int  # byte where its first header begins, long-name headers included
    data: int  # byte where its contents begin
    size: int  # bytes of them
    contents: bytes = b""  # where they were asked for

    @property
    def end(self) -> int:
        """The byte after its padding."""
        return self.data + -(-self.size // BLOCK) * BLOCK


class Stream(Protocol):
    """What an archive is read from."""

    def read(self, count: int = -1, /) -> bytes:
        """The next bytes."""


class Part:
    """A part of a file as a stream of its own, whose contents can be passed over without being read.

    Args:
        file: opened for reading; not shared meanwhile.
        start: first byte.
        size: bytes.
    """

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._at, self._end = file, start, start + size

    def read(self, count: int = -1) -> bytes:
        """The next bytes."""
        left = self._end - self._at
        self._file.seek(self._at)
        data = self._file.read(left if count < 0 else min(count, left))
        self._at += len(data)
        return data

    def skip(self, count: int) -> int:
        """Pass over bytes; returns how many are missing."""
        passed = min(count, self._end - self._at)
        self._at += passed
        return count - passed


def scan(stream: Stream, where: object, wanted: tuple[str, ...] = (), *, marked: bool = False) -> Iterator[Member]:
    """The regular files of an archive, in order. Reads every byte once; of a `Part` the headers only.

    Args:
        stream: the archive from its first byte.
        where: its name, for messages.
        wanted: extensions of small members whose contents are kept.
        marked: the archive ends with its mark, a block of zeros; without it, it was cut off between two files.

    Raises:
        DataError: it is damaged, cut off, or holds something else than files and folders.
    """
    at, start, long_name, pax = 0, 0, "", {}
    while True:
        header = _exactly(stream, BLOCK, where, at)
        if header is None and (marked or at > start):
            raise DataError(where, f"byte {at}", "the archive ends without its mark", CUT_OFF)
        if header is None or not header.strip(b"\0"):
            return
        name, size, kind = _parse(header, where, at)
        at += BLOCK
        padded = -(-size // BLOCK) * BLOCK
        if kind in (b"L", b"x", b"g"):
            if size > MAX_NAME:
                raise DataError(where, f"byte {at - BLOCK}", f"a name of {size} bytes", "This is no shard.")
            text = _contents(stream, padded, where, at)[:size]
            if kind == b"L":
                long_name = text.rstrip(b"\0").decode("utf-8", "replace")
            elif kind == b"x":
                pax = _pax(text)
            at += padded
            continue
        size = _decimal(pax["size"], where, name) if "size" in pax else size
        padded = -(-size // BLOCK) * BLOCK
        name = pax.get("path") or long_name or name
        _require_file(name, kind, where)
        if kind in REGULAR:
            keep = size <= MAX_NAME and split_name(name)[1] in wanted
            contents = _contents(stream, padded, where, at)[:size] if keep else b""
            _skip(stream, 0 if keep else padded, where, name)
            yield Member(name, start, at, size, contents)
            at += padded
        start, long_name, pax = at, "", {}


def split_name(name: str) -> tuple[str, str]:
    """A member's key and extension: `n01/x.seg.png` gives `n01/x` and `seg.png`, as WebDataset does."""
    folder, slash, file = name.removeprefix("./").rpartition("/")
    stem, _, extension = file.partition(".")
    return folder + slash + stem, extension.lower()


def members(block: bytes, where: object) -> tuple[str, dict[str, bytes]]:
    """The key and the files of one sample.

    Args:
        block: its bytes, from its first header to the end of its last member.
        where: for messages.

    Returns:
        The key, and the contents by extension.

    Raises:
        DataError: no tar lies there.
    """
    quick = _plain_members(block)
    found = quick or [(one.name, block[one.data : one.data + one.size]) for one in scan(Whole(block), where)]
    fields: dict[str, bytes] = {}
    key = ""
    for name, contents in found:
        before, (key, extension) = key, split_name(name)
        if before and key != before:
            raise DataError(where, key, f"lies among the files of {before}")
        fields[extension] = contents
    return key, fields


def _plain_members(block: bytes) -> list[tuple[str, bytes]]:
    """Name and contents of each member, where every header is of the simplest kind; else nothing.

    Read for every sample of a training, so without the checksums, which the index's maker has looked at; the reader
    compares the key.
    """
    found, at = [], 0
    while at < len(block):
        if block[at + 156 : at + 157] not in REGULAR or block[at + 345 : at + 346] != b"\0":
            return []
        digits = block[at + 124 : at + 136].strip(b"\0 ")
        if not digits or digits.strip(b"01234567"):  # `int` would also take a sign
            return []
        size = int(digits, 8)
        name = block[at : at + 100].partition(b"\0")[0]
        at += BLOCK
        found.append((name.decode("utf-8", "replace"), block[at : at + size]))
        at += -(-size // BLOCK) * BLOCK
    return found


class Whole:
    """Bytes as a stream."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def read(self, count: int = -1) -> bytes:
        """The next bytes."""
        data = self._data[self._at :] if count < 0 else self._data[self._at : self._at + count]
        self._at += len(data)
        return data


def _parse(header: bytes, where: object, at: int) -> tuple[str, int, bytes]:
    """Name, size and kind of a header block whose checksum is right."""
    try:
        wanted = int(header[148:156].rstrip(b"\0 ") or b"0", 8)
    except ValueError:
        wanted = -1
    if sum(header[:148]) + 8 * 32 + sum(header[156:]) != wanted:
        raise DataError(where, f"byte {at}", "no tar header", "The shard is damaged; fetch or pack it again.")
    name = header[:100].rstrip(b"\0").decode("utf-8", "replace")
    if header[257:262] == b"ustar" and header[257:265] != b"ustar  \0":
        prefix = header[345:500].rstrip(b"\0").decode("utf-8", "replace")
        name = f"{prefix}/{name}" if prefix else name
    return name, _number(header[124:136], where, at), header[156:157]


def _number(field: bytes, where: object, at: int) -> int:
    """Octal digits, or from 8 GB on binary."""
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b"\0 ") or b"0"
    if digits.strip(b"01234567"):
        raise DataError(where, f"byte {at}", "a size that is no number", "The shard is damaged.")
    return int(digits, 8)


def _decimal(text: str, where: object, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise DataError(where, name, f"a size of '{text[:30]}'", "The shard is damaged.")
    return int(text)


def _pax(text: bytes) -> dict[str, str]:
    """The records `length key=value` of a pax header."""
    found = {}
    while text:
        length, _, _ = text.partition(b" ")
        if not length.isdigit() or not 0 < int(length) <= len(text):
            break
        record, text = text[: int(length)], text[int(length) :]
        key, _, value = record[len(length) + 1 :].rstrip(b"\n").partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
    return found


def _require_file(name: str, kind: bytes, where: object) -> None:
    if kind not in REGULAR and kind != b"5":
        what = f"is {NOT_A_FILE.get(kind, f'of kind {kind!r}')}; a shard holds files only"
        raise DataError(where, name, what, "Pack it again without.")


def _exactly(stream: Stream, count: int, where: object, at: int) -> bytes | None:
    """A header block; None at the end of the stream."""
    block = stream.read(count)
    if not block:
        return None
    while len(block) < count:
        more = stream.read(count - len(block))
        if not more:
            raise DataError(where, f"byte {at}", "the archive ends here", CUT_OFF)
        block += more
    return block


def _contents(stream: Stream, count: int, where: object, at: int) -> bytes:
    return _exactly(stream, count, where, at) or b"" if count else b""


def _skip(stream: Stream, count: int, where: object, name: str) -> None:
    if isinstance(stream, Part):
        count = stream.skip(count)
    while count:
        piece = stream.read(min(count, 1 << 20))
        if not piece:
            raise DataError(where, name, f"{count} bytes are missing", CUT_OFF)
        count -= len(piece)
