"""Pictures in folders: one folder for each class, its name the class's name."""

import functools
import os
import warnings
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from dltk.data.splits import ENOUGH, SPLITS, split
from dltk.errors import DataError

# Shapes: n pictures, c channels, s rows and columns of an image.

# What is decoded: by these decoders only, whatever a file calls itself.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")


class Images:
    """One split of a folder of pictures, 70/10/20 of each class by path.

    Args:
        split: train, val or test.
        data_dir: where data lie on this machine.
        image_size: rows and columns; the middle square of a picture is resized to it.
        folder: the folder under data_dir that holds a folder for each class.
        channels: 1 for grey, 3 for red, green, blue.
        background: what shines through transparent pixels.
        max_pixels: a picture with more is not decoded, and counts as damaged.

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
        max_pixels: int = 64_000_000,
    ) -> None:
        if image_size < 1:
            raise DataError("", "data.image_size", f"{image_size} is no size", "Set at least 1.")
        if data_dir is None:
            raise DataError("", "data_dir", "is not set", "Set data_dir=FOLDER or DLTK_DATA.")
        self.image_size, self.channels = image_size, channels
        self.background, self.max_pixels = background, max_pixels
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

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One sample: `image` uint8 (c, s, s), `target` int.

        Raises:
            DataError: the picture is damaged or too large.
        """
        image = read_image(
            self.root / self.keys[number],
            self.image_size,
            channels=self.channels,
            background=self.background,
            max_pixels=self.max_pixels,
        )
        return {"image": image, "target": int(self._targets[number])}


def read_image(
    path: str | Path,
    image_size: int | None = None,
    *,
    channels: Literal[1, 3] = 3,
    background: Literal["white", "black"] = "white",
    max_pixels: int = 64_000_000,
) -> Tensor:
    """A picture as uint8 (c, s, s): turned upright, on a background, its middle square resized.

    Args:
        path: a file in one of FORMATS.
        image_size: s; None keeps the picture's own shape (c, h, w).
        channels: 1 for grey, 3 for red, green, blue.
        background: what shines through transparent pixels.
        max_pixels: bound on width × height, seen before anything is decoded.

    Raises:
        DataError: the file is missing, damaged, of another format or too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is the stricter bound
            picture = Image.open(path, formats=FORMATS)
        with picture:
            if picture.width * picture.height > max_pixels:
                raise DataError(path, "", f"has {picture.width} × {picture.height} pixels, {max_pixels} are allowed")
            plain = _plain(ImageOps.exif_transpose(picture), channels, background)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(path, "", "no such file", "Check its name and folder.") from None
    except IsADirectoryError:
        raise DataError(path, "", "is a folder, not a picture", "Name the pictures in it.") from None
    except PermissionError:
        raise DataError(path, "", "may not be read", "Change its permissions.") from None
    except Exception as error:  # decoders raise whatever comes to them
        raise DataError(path, "", f"cannot be read as a picture ({type(error).__name__}: {error})") from None
    if image_size is not None:
        plain = ImageOps.fit(plain, (image_size, image_size), Image.Resampling.BILINEAR)
    pixels = np.array(plain).reshape(plain.height, plain.width, channels)  # (h, w, c)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _plain(picture: Image.Image, channels: int, background: str) -> Image.Image:
    """The picture in 8 bits without transparency."""
    if picture.mode.startswith("I"):  # 16-bit grey, which PIL would clip
        wide = np.asarray(picture).astype(np.int64) >> 8
        picture = Image.fromarray(wide.clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, background)
        picture = Image.alpha_composite(ground, picture)
    return picture.convert("L" if channels == 1 else "RGB")


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
