"""The German traffic sign recognition benchmark (Stallkamp, Schlipsing, Salmen, Igel, Neural Networks 32, 2012).

Each sign is cut out by the box that comes with it and resized to 48 x 48, whatever its sides were, as Ciresan et al. do
in the same issue (section 3.1). Training pictures come in tracks of some 30 that show one sign from further and
nearer; a tenth of the tracks is for validation, so that no sign is in both.

The training part is that of the final benchmark, 39,209 pictures; GTSRB-Training_fixed.zip beside it on the web has the
26,640 of the competition before it.
"""

import csv
import io
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dltk.data.decode import MAX_PIXELS, decode
from dltk.data.hashing import hash64
from dltk.data.pack import Packing, Settings, pack
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.archives import DAMAGED, FOLDER, Archive, obtain
from dltk.errors import DataError

# Whoever publishes them gives no sha256.
WEB = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/"
TRAINING, TEST, TRUTH = (
    Archive(WEB + name)
    for name in ("GTSRB_Final_Training_Images.zip", "GTSRB_Final_Test_Images.zip", "GTSRB_Final_Test_GT.zip")
)
CLASSES = 43
SIZE = 48  # rows and columns
BOX = ("Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2")


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set.

    Raises:
        DataError: an archive is missing or damaged.
    """
    found = obtain([TRAINING, TEST, TRUTH], origin, to, progress)
    missing = next((one.name for one in (TRAINING, TEST, TRUTH) if one.name not in found), None)
    if missing is not None:
        raise DataError(origin.folder or to, "--source", f"holds no {missing}", "Add it.")
    packing = pack(
        _samples(found), to, name="gtsrb", classes=[f"{k:02d}" for k in range(CLASSES)],
        about={"source": "GTSRB"}, settings=settings, progress=progress, split_of=_split,
    )  # fmt: skip
    shutil.rmtree(to / FOLDER, ignore_errors=True)
    return packing


def _split(key: str) -> str:
    if key.startswith("test"):
        return "test"
    return "val" if hash64(key.rpartition("_")[0]) % 10 == 0 else "train"


def _samples(found: dict[str, Path]) -> Iterator[dict[str, Any]]:
    tables = [f"GTSRB/Final_Training/Images/{k:05d}/GT-{k:05d}.csv" for k in range(CLASSES)]
    for table in tables:
        folder = table.rpartition("/")[0]
        yield from _signs(found[TRAINING.name], folder, found[TRAINING.name], table, f"train/{folder[-2:]}")
    yield from _signs(found[TEST.name], "GTSRB/Final_Test/Images", found[TRUTH.name], "GT-final_test.csv", "test")


def _signs(pictures: Path, folder: str, tables: Path, table: str, key: str) -> Iterator[dict[str, Any]]:
    """The signs of one table, cut out of the pictures of a folder."""
    where = tables
    try:
        with zipfile.ZipFile(tables) as opened:
            rows = list(csv.DictReader(opened.read(table).decode("ascii").splitlines(), delimiter=";"))
        where = pictures
        with zipfile.ZipFile(pictures) as opened:
            for row in rows:
                data = opened.read(f"{folder}/{row['Filename']}")
                name = row["Filename"].removesuffix(".ppm")
                yield {"__key__": f"{key}/{name}", "png": _cut(data, row), "cls": str(int(row["ClassId"])).encode()}
    except (*DAMAGED, KeyError, ValueError) as error:
        raise DataError(where, table, f"cannot be read ({error})", "Fetch it again.") from None


def _cut(data: bytes, row: dict[str, str]) -> bytes:
    """The sign of a picture, 48 x 48, as a PNG."""
    from PIL import Image

    left, top, right, bottom = (int(row[side]) for side in BOX)
    picture = Image.fromarray(decode(data, channels=3, max_pixels=MAX_PIXELS))
    if not 0 <= left < right < picture.width or not 0 <= top < bottom < picture.height:
        raise ValueError(f"{row['Filename']} is {picture.width} x {picture.height}, without its box")
    file = io.BytesIO()
    sign = picture.crop((left, top, right + 1, bottom + 1)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    sign.save(file, "PNG")
    return file.getvalue()
