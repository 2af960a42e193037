"""The small set of faces that comes with scikit-image."""

import importlib.util

import numpy as np
import pytest
import torch

from dltk.data.faces import Faces, _read
from dltk.data.splits import SPLITS
from dltk.errors import DataError


def test_faces_are_scikit_images():
    from skimage.data import lfw_subset

    parts = {split: Faces(split) for split in SPLITS}
    assert {split: torch.bincount(part.targets).tolist() for split, part in parts.items()} == {
        "train": [70, 70], "val": [10, 10], "test": [20, 20],
    }  # fmt: skip
    published = np.rint(255 * lfw_subset()).astype(int)
    keys = [key for part in parts.values() for key in part.keys]
    images = torch.cat([part.images for part in parts.values()])[:, 0].numpy()
    assert len(set(keys)) == 200
    numbers = [int(key.rpartition("/")[2]) for key in keys]
    assert np.array_equal(images, published[numbers])
    targets = torch.cat([part.targets for part in parts.values()]).numpy()
    assert np.array_equal(targets, np.array(numbers) >= 100)  # the first hundred show faces


def test_without_scikit_image_it_is_said(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    _read.cache_clear()
    with pytest.raises(
        DataError, match=r"come with scikit-image, which is not installed\. Install the extra: dltk\[faces\]\."
    ):
        Faces("train")
