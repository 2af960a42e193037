"""MNIST (LeCun, Cortes, Burges): from its four IDX files. One sixth of the training digits is the validation part."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dltk.data.mnist import Mnist
from dltk.data.pack import Packing, Settings, pack
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.archives import FOLDER, Archive, obtain
from dltk.data.splits import SPLITS
from dltk.errors import DataError

# Hashes as TensorFlow Datasets publishes them.
MIRROR = "https://storage.googleapis.com/cvdf-datasets/mnist"
ARCHIVES = (
    Archive(
        f"{MIRROR}/train-images-idx3-ubyte.gz",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        9_912_422,
    ),
    Archive(
        f"{MIRROR}/train-labels-idx1-ubyte.gz",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        28_881,
    ),
    Archive(
        f"{MIRROR}/t10k-images-idx3-ubyte.gz",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        1_648_877,
    ),
    Archive(
        f"{MIRROR}/t10k-labels-idx1-ubyte.gz",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        4_542,
    ),
)


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set; splits and keys are those of the data set `mnist`.

    Raises:
        DataError: a file is missing or damaged.
    """
    folder = origin.folder
    if folder is None:
        obtain(ARCHIVES, origin, to, progress)
        folder = to / FOLDER
    try:
        parts = {split: Mnist(split, str(folder), variant="full") for split in SPLITS}
    except DataError as error:
        if error.key != "data_dir":
            raise
        what = "holds no train-images-idx3-ubyte and the like, with or without .gz"
        raise DataError(folder, "--source", what, "Name the folder that holds the four files.") from None
    chosen = {key: split for split, part in parts.items() for key in part.keys}
    about = {"source": "MNIST", "splits": "as the data set mnist has them"}
    packing = pack(
        _samples(parts), to, name="mnist", classes=[str(digit) for digit in range(10)], about=about,
        settings=settings, progress=progress, split_of=chosen.__getitem__,
    )  # fmt: skip
    shutil.rmtree(to / FOLDER, ignore_errors=True)
    return packing


def _samples(parts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    from PIL import Image

    for part in parts.values():
        for number, key in enumerate(part.keys):
            sample = part[number]
            file = io.BytesIO()
            Image.fromarray(sample["image"][0].numpy()).save(file, "PNG")
            yield {"__key__": key, "png": file.getvalue(), "cls": str(sample["target"]).encode()}
