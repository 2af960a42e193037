"""100 faces and 100 pieces of pictures that show none, 25 × 25 and grey, which come with scikit-image.

The faces are of Huang, Ramesh, Berg, Learned-Miller, "Labeled faces in the wild", University of Massachusetts, Amherst,
report 07-49 (2007); who they are is not said.
"""

# Shapes: n images.

import functools

import numpy as np
import torch
from torch import Tensor

from dltk.data.dataset import ArrayDataset
from dltk.data.digits import package_file
from dltk.data.splits import SPLITS, split
from dltk.errors import DataError

EACH, SIZE = 100, 25  # images of a class; rows and columns


class Faces(ArrayDataset):
    """One split of the faces and of what is none, 70/10/20 by key.

    Args:
        split: train, val or test.
        data_dir: not needed; the data come with scikit-image.

    Raises:
        DataError: scikit-image is not installed, or its images are not what they were.
    """

    def __init__(self, split: str, data_dir: str | None = None) -> None:
        images, parts = _read()
        numbers = torch.from_numpy(parts[split])
        keys = [f"lfw_subset/{number:03d}" for number in numbers.tolist()]
        super().__init__(images[numbers], numbers // EACH, keys, ["face", "no face"])


@functools.cache
def _read() -> tuple[Tensor, dict[str, np.ndarray]]:
    """Images (n, 1, 25, 25) uint8, the faces first, and the numbers of each split."""
    file = package_file("skimage", "data/lfw_subset.npy", "scikit-image", "Install the extra: dltk[faces].")
    shades = np.load(file, allow_pickle=False)  # (n, 25, 25), black 0 and white 1
    if shades.shape != (2 * EACH, SIZE, SIZE):
        raise DataError(file, "", f"holds images of shape {shades.shape}, not {(2 * EACH, SIZE, SIZE)}")
    pixels = torch.from_numpy((255 * shades).round().clip(0, 255).astype(np.uint8)).unsqueeze(1)
    keys = [f"lfw_subset/{number:03d}" for number in range(len(pixels))]
    parts = split(keys, np.arange(len(pixels)) // EACH)
    return pixels, dict(zip(SPLITS, parts, strict=True))
