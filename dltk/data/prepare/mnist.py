"""MNIST (LeCun, Cortes, Burges): from its four IDX files. One sixth of the training digits is the validation part."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dltk.data.mnist import Mnist
from dltk.data.pack import Packing, Settings, pack
from dltk.data.prepare import Progress
from dltk.data.splits import SPLITS


def prepare(source: Path | None, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set; splits and keys are those of the data set `mnist`.

    Raises:
        DataError: a file is missing or damaged.
    """
    parts = {split: Mnist(split, None if source is None else str(source), variant="full") for split in SPLITS}
    chosen = {key: split for split, part in parts.items() for key in part.keys}
    about = {"source": "MNIST", "splits": "as the data set mnist has them"}
    return pack(
        _samples(parts), to, name="mnist", classes=[str(digit) for digit in range(10)], about=about,
        settings=settings, progress=progress, split_of=chosen.__getitem__,
    )  # fmt: skip


def _samples(parts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    from PIL import Image

    for part in parts.values():
        for number, key in enumerate(part.keys):
            sample = part[number]
            file = io.BytesIO()
            Image.fromarray(sample["image"][0].numpy()).save(file, "PNG")
            yield {"__key__": key, "png": file.getvalue(), "cls": str(sample["target"]).encode()}
