"""MNIST (LeCun, Cortes, Burges): from its four IDX files. One sixth of the training digits is the validation part."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dltk.data.mnist import Mnist
from dltk.data.pack import Packing, Settings, pack
from dltk.data.prepare import Origin, Progress
from dltk.data.splits import SPLITS
from dltk.errors import DataError


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set; splits and keys are those of the data set `mnist`.

    Raises:
        DataError: a file is missing or damaged.
    """
    try:
        parts = {split: Mnist(split, str(origin.folder), variant="full") for split in SPLITS}
    except DataError as error:
        if error.key != "data_dir":
            raise
        what = "holds no train-images-idx3-ubyte and the like, with or without .gz"
        raise DataError(origin.folder or "", "--source", what, "Name the folder that holds the four files.") from None
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
