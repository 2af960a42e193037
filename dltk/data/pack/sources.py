"""Where samples to pack come from: folders of pictures, parallel text, speech, arrays."""

import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltk.data.images import SUFFIXES
from dltk.data.pack.packing import Item
from dltk.data.sound import EXTENSIONS
from dltk.errors import DataError

NUMBERS = ("cls", "id")  # extensions whose files hold one whole number


def class_folders(source: str | Path) -> tuple[dict[str, list[Item]] | list[Item], list[str]]:
    """Pictures in a folder for each class, below folders `train`, `val` and `test` where there are such.

    Returns:
        Items, by split where the source has splits; and the names of the classes, sorted.

    Raises:
        DataError: there are no pictures.
    """
    root = Path(source)
    if not root.is_dir():
        raise DataError(root, "--source", "is no folder", "Name the one that holds a folder for each class.")
    parts = [name for name in ("train", "val", "test") if (root / name).is_dir()]
    places = {name: root / name for name in parts} if "train" in parts else {"": root}
    _require_no_more(root, parts if "train" in parts else [])
    classes = sorted({entry.name for place in places.values() for entry in place.iterdir() if _is_class(entry)})
    found = {part: _pictures(place, classes) for part, place in places.items()}
    if not any(found.values()):
        raise DataError(root, "--source", f"holds no pictures in its {len(classes)} folder(s)")
    return found.get("", found), classes


def text(
    source: str | Path, target: str | Path, left_out: Callable[[int], None] = lambda line: None
) -> Iterator[dict[str, Any]]:
    """Two files whose lines are translations of each other, as samples with `src.txt` and `tgt.txt`.

    Args:
        source: a sentence on each line.
        target: their translations.
        left_out: hears the number of each line that is empty in one of them, from 1.

    Raises:
        DataError: one has more lines than the other, or is not in UTF-8.
    """
    with open(source, "rb") as left, open(target, "rb") as right:
        for number, (one, other) in enumerate(aligned(left, right, (source, target))):
            if one and other:
                yield pair(f"{number:09d}", one, other)
            else:
                left_out(number + 1)


def aligned(
    source: Iterable[bytes], target: Iterable[bytes], names: tuple[object, object]
) -> Iterator[tuple[str, str]]:
    """Lines that belong together, as text without the spaces around it.

    Args:
        source: lines, as files opened for bytes give them. (As text, what some encodings take for the end of a line
            would also end one, and shift everything behind it.)
        target: as many.
        names: of the two, for messages.

    Raises:
        DataError: one has more lines than the other, or is not in UTF-8.
    """
    for number, lines in enumerate(itertools.zip_longest(source, target)):
        if None in lines:
            longer, shorter = names if lines[1] is None else names[::-1]
            raise DataError(longer, "", f"has more lines than {shorter}, which has {number:,}", "Align them again.")
        one, other = (_decoded(line, name, number + 1) for line, name in zip(lines, names, strict=True))
        yield one, other


def pair(key: str, source: str, target: str) -> dict[str, Any]:
    """A sentence and its translation as a sample."""
    return {"__key__": key, "src.txt": source.encode(), "tgt.txt": target.encode()}


def audio(folder: str | Path) -> Iterator[dict[str, Any]]:
    """Recordings (wav, flac, sph) with a text of the same name beside each.

    Raises:
        DataError: a recording has no transcript, or there are none.
    """
    root = Path(folder)
    recordings = sorted(path for path in root.rglob("*") if path.suffix.lower()[1:] in EXTENSIONS)
    if not recordings:
        raise DataError(root, "--source", f"holds no {', '.join(EXTENSIONS)} files")
    for path in recordings:
        transcript = path.with_suffix(".txt")
        if not transcript.exists():
            raise DataError(path, "", f"has no transcript {transcript.name} beside it", "Write it, or remove the file.")
        key = _key(path.relative_to(root))
        yield {"__key__": key, path.suffix[1:].lower(): path.read_bytes(), "txt": transcript.read_bytes()}


def arrays(files: Mapping[str, str | Path]) -> Iterator[dict[str, Any]]:
    """Rows of arrays (.npy), by the extension that each is to have: `{"npy": "x.npy", "cls": "y.npy"}`.

    Raises:
        DataError: a file holds Python objects, classes are no whole numbers, or the files differ in length.
    """
    loaded = {extension: _loaded(extension, path) for extension, path in files.items()}
    lengths = {extension: len(array) for extension, array in loaded.items()}
    if len(set(lengths.values())) > 1:
        raise DataError("", "--source", f"the arrays differ in length: {lengths}", "Give one row for each sample.")
    for number in range(next(iter(lengths.values()))):
        row = {extension: _row(extension, array[number]) for extension, array in loaded.items()}
        yield {"__key__": f"{number:09d}", **row}


def _require_no_more(root: Path, parts: Sequence[str]) -> None:
    """See that no pictures lie where none are looked for."""
    beside = [entry.name for entry in root.iterdir() if _is_class(entry) and entry.name not in parts] if parts else []
    if beside:
        what = f"holds '{sorted(beside)[0]}' beside {', '.join(parts)}"
        raise DataError(root, "--source", what, "The parts are train, val and test: rename it, or move it away.")
    loose = sum(entry.suffix.lower() in SUFFIXES and entry.is_file() for entry in root.iterdir())
    if loose:
        raise DataError(root, "--source", f"holds {loose:,} picture(s) in no class's folder", "Move them into one.")


def _is_class(entry: Path) -> bool:
    return entry.is_dir() and not entry.name.startswith(".")


def _pictures(place: Path, classes: Sequence[str]) -> list[Item]:
    items = []
    for target, name in enumerate(classes):
        for path in sorted((place / name).rglob("*")) if (place / name).is_dir() else []:
            if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith("."):
                key = _key(path.relative_to(place))
                items.append(Item(key, str(path), 0, path.stat().st_size, path.suffix[1:].lower(), target))
    return items


def _key(path: Path) -> str:
    """A file's path without its extension; dots in its name would end the key."""
    return (path.parent / path.stem.replace(".", "_")).as_posix()


def _decoded(line: bytes, name: object, number: int) -> str:
    try:
        return line.decode().strip()
    except UnicodeDecodeError as error:
        raise DataError(name, f"line {number}", f"is not in UTF-8 ({error})", "Convert the file.") from None


def _loaded(extension: str, path: str | Path) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(path, "", f"cannot be read as an array ({error})") from None
    if array.ndim == 0:
        raise DataError(path, "", "holds one number, not a row for each sample", "Give it one axis at least.")
    if extension in NUMBERS and (array.ndim > 1 or array.dtype.kind not in "iu"):
        what = f"holds {array.dtype} of shape {array.shape}, and classes are whole numbers (n,)"
        raise DataError(path, "", what, "Give class numbers, or more than two arrays.")
    return array


def _row(extension: str, value: Any) -> bytes:
    if extension in NUMBERS:
        return str(int(value)).encode()
    file = io.BytesIO()
    np.save(file, np.asarray(value), allow_pickle=False)
    return file.getvalue()
