"""CIFAR-10 (Krizhevsky 2009), from its binary form, so that no pickle is read.

A tenth of the training part is for validation.
"""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dltk.data.hashing import hash64
from dltk.data.pack import Packing, Settings, pack
from dltk.data.prepare import Progress
from dltk.errors import DataError

ARCHIVE = "cifar-10-binary.tar.gz"
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
ROW = 1 + 3 * 32 * 32  # class, then the red, green and blue planes


def prepare(source: Path | None, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set.

    Raises:
        DataError: the archive is missing or damaged.
    """
    archive = None if source is None else source if source.is_file() else source / ARCHIVE
    if archive is None or not archive.exists():
        raise DataError(archive or "", "--source", f"there is no {ARCHIVE}", "Fetch it from the author's page.")
    return pack(
        _samples(archive), to, name="cifar10", classes=CLASSES, about={"source": "CIFAR-10"}, settings=settings,
        progress=progress, split_of=_split,
    )  # fmt: skip


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
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(archive, "", f"cannot be read ({error})", "Fetch it again.") from None
    if found != 6:
        raise DataError(archive, "", f"holds {found} batches, not 6", "Fetch the binary version.")
