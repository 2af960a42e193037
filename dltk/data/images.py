"""Pictures in folders: one folder for each class, its name the class's name."""

import functools
import os
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dltk.data.decode import MAX_PIXELS, decode, upright
from dltk.data.pictures import NOTHING, Pictures
from dltk.data.splits import ENOUGH, SPLITS, split
from dltk.data.views import CentreCrop, Frame, require_sides
from dltk.errors import DataError

# Shapes: n pictures, c channels, s rows and columns of an image.

MAX_BYTES = 1 << 30  # of a file
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")


class Images(Pictures):
    """One split of a folder of pictures, 70/10/20 of each class by path.

    Args:
        split: train, val or test.
        data_dir: where data lie on this machine.
        image_size: rows and columns; without `resize` the middle square of a picture is resized to it.
        folder: the folder under data_dir that holds a folder for each class.
        channels: 1 for grey, 3 for red, green, blue.
        background: what shines through transparent pixels.
        max_pixels: a picture with more is not decoded, and counts as damaged.
        resize: shorter side in evaluation, of which the middle is cut; default: image_size.

    Raises:
        DataError: the folder is missing, holds no classes, or too few pictures of them to split.
    """

    def __init__(
        self,
        split: str,
        data_dir: str | None = None,
        *,
        image_size: int,
        folder: str = ".",
        channels: Literal[1, 3] = 3,
        background: Literal["white", "black"] = "white",
        max_pixels: int = MAX_PIXELS,
        resize: int | None = None,
    ) -> None:
        resize = image_size if resize is None else resize
        require_sides(image_size, resize)
        if data_dir is None:
            raise DataError("", "data_dir", "is not set", "Set data_dir=FOLDER or DLTK_DATA.")
        self.frame = Frame(image_size, resize, channels, max_pixels, background)
        self.root = Path(data_dir, folder)
        listing = _list(self.root)
        numbers = listing.parts[split]
        if not len(numbers):
            raise _too_few(self.root, split, listing)
        self.classes = listing.classes
        self.ignored = listing.ignored  # files that are no pictures
        self.keys = [listing.keys[number] for number in numbers.tolist()]
        self._targets = listing.targets[numbers]

    def __len__(self) -> int:
        return len(self.keys)

    def key(self, number: int) -> str:
        """The path of a picture."""
        return str(self.root / self.keys[number])

    def fields(self, number: int) -> dict[str, bytes]:
        """The bytes of a picture's file.

        Raises:
            DataError: it cannot be read.
        """
        path = self.root / self.keys[number]
        return {path.suffix[1:].lower(): _bytes(path)}

    def picture(self, fields: dict[str, bytes]) -> bytes:
        """The picture, upright."""
        (contents,) = fields.values()
        return upright(contents, self.frame.max_pixels)

    def target(self, number: int, fields: dict[str, bytes]) -> int:
        """The class of a sample."""
        return int(self._targets[number])


def read_image(
    path: str | Path,
    image_size: int | None = None,
    *,
    channels: Literal[1, 3] = 3,
    background: Literal["white", "black"] = "white",
    max_pixels: int = MAX_PIXELS,
) -> Tensor:
    """A picture as uint8 (c, s, s): turned upright, on a background, its middle square resized.

    Args:
        path: a file in one of the formats of dltk.data.decode.
        image_size: s; None keeps the picture's own shape (c, h, w).
        channels: 1 for grey, 3 for red, green, blue.
        background: what shines through transparent pixels.
        max_pixels: bound on width × height, seen before anything is decoded.

    Raises:
        DataError: the file is missing, damaged, of another format or too large.
    """
    data = _bytes(Path(path))
    try:
        data = upright(data, max_pixels)
        if image_size is not None:
            frame = Frame(image_size, image_size, channels, max_pixels, background)
            return CentreCrop().cut(data, frame, NOTHING)
        pixels = decode(data, channels=channels, max_pixels=max_pixels, background=background)  # (h, w, c)
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
    except DataError as error:
        raise DataError(path, error.key, error.what, error.remedy) from None


def _bytes(path: Path) -> bytes:
    """What a file of pictures holds.

    Raises:
        DataError: it is missing, no file, longer than any picture, or may not be read.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise DataError(path, "", f"is {size:,} bytes long, {MAX_BYTES:,} are allowed")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(path, "", "no such file", "Check its name and folder.") from None
    except IsADirectoryError:
        raise DataError(path, "", "is a folder, not a picture", "Name the pictures in it.") from None
    except PermissionError:
        raise DataError(path, "", "may not be read", "Change its permissions.") from None


class _Listing(NamedTuple):
    classes: list[str]
    keys: list[str]
    targets: NDArray[np.int64]
    parts: dict[str, NDArray[np.int64]]
    ignored: int


def _too_few(root: Path, split: str, listing: _Listing) -> DataError:
    """The error that a part is empty, which names the class with the fewest pictures."""
    counts = np.bincount(listing.targets, minlength=len(listing.classes)).tolist()
    count, name = min(zip(counts, listing.classes, strict=True))
    what = f"leaves the {split} part empty: class '{name}' has {count} picture{'s' if count != 1 else ''}"
    return DataError(root, "data.folder", what, f"Put at least {ENOUGH} of each class there.")


@functools.lru_cache(maxsize=4)
def _list(root: Path) -> _Listing:
    """All pictures below the folder, and their splits; folders and files in the order of their names."""
    if not root.is_dir():
        raise DataError(
            root, "data.folder", "is no folder", "Set data_dir or data.folder to one that holds the classes."
        )
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    keys: list[str] = []
    targets: list[int] = []
    ignored = 0
    for target, name in enumerate(classes):
        files = sorted(path.relative_to(root).as_posix() for path in (root / name).rglob("*") if path.is_file())
        pictures = [file for file in files if file.lower().endswith(SUFFIXES) and "/." not in file]
        ignored += len(files) - len(pictures)
        keys += pictures
        targets += [target] * len(pictures)
    if not keys:
        raise DataError(
            root, "data.folder", f"holds no pictures in its {len(classes)} folder(s)", "Put each class's into a folder."
        )
    numbers = np.asarray(targets, dtype=np.int64)
    return _Listing(classes, keys, numbers, dict(zip(SPLITS, split(keys, numbers), strict=True)), ignored)
