"""CIFAR-10 (Krizhevsky 2009), from its binary form, so that no pickle is read.

A tenth of the training part is for validation.
"""

import io
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dltk.data.hashing import hash64
from dltk.data.pack import Packing, Settings, pack
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.archives import DAMAGED, FOLDER, Archive, obtain
from dltk.errors import DataError

# The hash as TensorFlow Datasets publishes it.
ARCHIVE = Archive(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    170_052_171,
)
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
ROW = 1 + 3 * 32 * 32  # class, then the red, green and blue planes


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set.

    Raises:
        DataError: the archive is missing or damaged.
    """
    found = obtain([ARCHIVE], origin, to, progress)
    if ARCHIVE.name not in found:
        what = f"holds no {ARCHIVE.name}"
        raise DataError(origin.folder or to, "--source", what, "Add it, or leave --source out.")
    packing = pack(
        _samples(found[ARCHIVE.name]), to, name="cifar10", classes=CLASSES, about={"source": "CIFAR-10"},
        settings=settings, progress=progress, split_of=_split,
    )  # fmt: skip
    shutil.rmtree(to / FOLDER, ignore_errors=True)
    return packing


def _split(key: str) -> str:
    if key.startswith("test"):
        return "test"
    return "val" if hash64(key) % 10 == 0 else "train"


def _samples(archive: Path) -> Iterator[dict[str, Any]]:
    from PIL import Image

    found = 0
    try:
        with tarfile.open(archive) as opened:
            for member in opened:
                name = Path(member.name).name
                if not name.endswith(".bin"):
                    continue
                file = opened.extractfile(member)
                data = np.frombuffer(file.read() if file else b"", dtype=np.uint8)
                if len(data) % ROW:
                    raise DataError(archive, name, f"has {len(data)} bytes, no multiple of {ROW}", "Fetch it again.")
                found += 1
                for number, row in enumerate(data.reshape(-1, ROW)):
                    picture = io.BytesIO()
                    Image.fromarray(row[1:].reshape(3, 32, 32).transpose(1, 2, 0)).save(picture, "PNG")
                    key = f"{'test' if name.startswith('test') else name.removesuffix('.bin')}/{number:05d}"
                    yield {"__key__": key, "png": picture.getvalue(), "cls": str(int(row[0])).encode()}
    except DAMAGED as error:
        raise DataError(archive, "", f"cannot be read ({error})", "Fetch it again.") from None
    if found != 6:
        raise DataError(archive, "", f"holds {found} batches, not 6", "Fetch the binary version.")
