"""1,797 handwritten digits of 8 × 8 pixels, which come with scikit-learn.

Alpaydin, Kaynak, "Optical recognition of handwritten digits", UCI machine learning repository, 1998 (its test part).
"""

import functools
import gzip
import importlib.util
import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dltk.data.dataset import ArrayDataset
from dltk.data.splits import SPLITS, split
from dltk.errors import DataError

# Shapes: n samples, s rows and columns of an image.


class Digits(ArrayDataset):
    """One split of the digits, 70/10/20 by key.

    Args:
        split: train, val or test.
        data_dir: not needed; the data come with scikit-learn.
        image_size: rows and columns of an image. 8 is how they were published; on a larger canvas the digit fills the
            middle three quarters, enlarged bilinearly (24 of 28 or 32 pixels).

    Raises:
        DataError: scikit-learn is not installed, or image_size is below 8.
    """

    native = 8  # rows and columns as published

    def __init__(self, split: str, data_dir: str | None = None, *, image_size: int = 8) -> None:
        if image_size < 8:
            raise DataError("", "data.image_size", f"{image_size} is less than the digits' 8 pixels", "Set at least 8.")
        images, targets = _read()
        numbers = torch.from_numpy(_parts()[split])
        keys = [f"digits/{number:04d}" for number in numbers.tolist()]
        classes = [str(k) for k in range(10)]
        super().__init__(self.enlarge(images[numbers], image_size), targets[numbers], keys, classes)

    @staticmethod
    def enlarge(images: Tensor, size: int) -> Tensor:
        """Images (n, 1, 8, 8) to (n, 1, s, s): the digit enlarged to about three quarters, centred on black; uint8."""
        if size == 8:
            return images
        box = max(8, 8 * round(size * 0.75 / 8))
        big = functional.interpolate(images.float(), size=(box, box), mode="bilinear", align_corners=False)
        before, after = (size - box) // 2, size - box - (size - box) // 2
        return functional.pad(big.round().to(torch.uint8), (before, after, before, after))


@functools.cache
def _read() -> tuple[Tensor, Tensor]:
    """Images (1797, 1, 8, 8) with ink 0 to 255, and targets (1797,)."""
    table = read_table("sklearn", "datasets/data/digits.csv.gz", "scikit-learn", columns=65)
    pixels = np.round(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return torch.from_numpy(pixels), torch.from_numpy(table[:, 64].copy())


@functools.cache
def _parts() -> dict[str, NDArray[np.int64]]:
    _, targets = _read()
    keys = [f"digits/{number:04d}" for number in range(len(targets))]
    return dict(zip(SPLITS, split(keys, targets.numpy()), strict=True))


def read_table(package: str, path: str, distribution: str, columns: int) -> NDArray[np.int64]:
    """A table of whole numbers (n, columns) from inside another package, which is not imported: that takes seconds.

    Raises:
        DataError: the package is not installed, or its table is not what it was.
    """
    file = package_file(package, path, distribution, "Install dltk again.")
    table = np.loadtxt(io.BytesIO(gzip.decompress(file.read_bytes())), delimiter=",", dtype=np.int64)
    if table.ndim != 2 or table.shape[1] != columns:
        raise DataError(file, "", f"holds a table of shape {table.shape}, not of {columns} columns")
    return table


def package_file(package: str, path: str, distribution: str, remedy: str) -> Path:
    """A file from inside another package.

    Args:
        package: as it is imported.
        path: of the file in the package.
        distribution: the package as it is installed.
        remedy: what to do where it is not.

    Raises:
        DataError: the package is not installed, or has no such file.
    """
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations or []) if spec is not None else []
    file = next((Path(folder, path) for folder in folders if Path(folder, path).is_file()), None)
    if file is None:
        raise DataError("", "data.name", f"the data come with {distribution}, which is not installed", remedy)
    return file
