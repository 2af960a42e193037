"""Small sets of shards made of real photographs and digits."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from sklearn.datasets import load_digits, load_sample_images

PHOTOGRAPHS = load_sample_images().images  # two of 427 × 640


def photograph(number: int, height: int = 120, width: int = 160) -> bytes:
    """A part of a photograph as JPEG, another for each number."""
    generator = np.random.default_rng(number)
    image = PHOTOGRAPHS[number % 2]
    top, left = generator.integers(0, image.shape[0] - height), generator.integers(0, image.shape[1] - width)
    return simplejpeg.encode_jpeg(
        np.ascontiguousarray(image[top : top + height, left : left + width]), 90, "RGB", "420"
    )


def digit(number: int) -> bytes:
    """One of scikit-learn's digits as PNG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray((load_digits().images[number] * 15).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs in folders of three classes, forty of each."""
    root = tmp_path_factory.mktemp("folders")
    for number in range(120):
        place = root / f"class{number % 3}"
        place.mkdir(exist_ok=True)
        (place / f"picture{number:03d}.jpg").write_bytes(photograph(number))
    return root


@pytest.fixture(scope="session")
def packed(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a set named `photos`, in shards of about 60 KB; its parent is a data_dir."""
    from dltk.data.pack import Settings, class_folders, pack

    items, classes = class_folders(folders)
    to = tmp_path_factory.mktemp("data") / "photos"
    pack(items, to, name="photos", classes=classes, settings=Settings(shard_bytes=60_000))
    return to


@pytest.fixture
def copy(packed: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes a copy of the set that may be damaged."""
    import shutil

    def make() -> Path:
        return Path(shutil.copytree(packed, tmp_path / "data" / "photos"))

    return make
