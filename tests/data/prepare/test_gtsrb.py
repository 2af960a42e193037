"""The German traffic signs from archives as they are published, but small."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dltk.data.decode import decode
from dltk.data.pack import Settings
from dltk.data.prepare import SETS, Origin, gtsrb
from dltk.data.shards.dataset import Shards
from dltk.errors import DataError
from tests.data.prepare.conftest import quiet

HEAD = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"


def ppm(k: int, number: int) -> bytes:
    """A picture whose box has one colour, inside a white border."""
    pixels = np.full((20, 30, 3), 255, np.uint8)
    pixels[4:15, 5:26] = (5 * k, number, 7)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PPM")
    return file.getvalue()


def row(name: str, k: int, left: int = 5) -> str:
    return f"{name};30;20;{left};4;25;14;{k}"


def write(folder: Path, left: int = 5) -> None:
    """Twelve tracks of three pictures of each class, and two pictures of each for the test."""
    with zipfile.ZipFile(folder / gtsrb.TRAINING.name, "w") as file:
        for k in range(gtsrb.CLASSES):
            names = [(track, f"{track:05d}_{frame:05d}.ppm") for track in range(12) for frame in range(3)]
            for track, name in names:
                file.writestr(f"GTSRB/Final_Training/Images/{k:05d}/{name}", ppm(k, track))
            table = "\n".join([HEAD, *(row(name, k, left) for _, name in names)])
            file.writestr(f"GTSRB/Final_Training/Images/{k:05d}/GT-{k:05d}.csv", table)
    tests = [(f"{number:05d}.ppm", number % gtsrb.CLASSES) for number in range(2 * gtsrb.CLASSES)]
    with zipfile.ZipFile(folder / gtsrb.TEST.name, "w") as file:
        for name, k in tests:
            file.writestr(f"GTSRB/Final_Test/Images/{name}", ppm(k, 0))
    with zipfile.ZipFile(folder / gtsrb.TRUTH.name, "w") as file:
        file.writestr("GT-final_test.csv", "\n".join([HEAD, *(row(name, k) for name, k in tests)]))


def test_signs_are_cut_out_and_tracks_stay_together(tmp_path: Path) -> None:
    write(tmp_path)
    packing = SETS["gtsrb"].prepare(Origin(folder=tmp_path), tmp_path / "out", Settings(), quiet)
    assert packing.samples["test"] == 86
    assert packing.samples["train"] + packing.samples["val"] == 43 * 36
    tracks = {}
    for split in ("train", "val", "test"):
        data = Shards(split, str(tmp_path), folder="out", image_size=48)
        tracks[split] = {key.rpartition("_")[0] for key in data.keys[:]}
        for number in range(0, len(data), 17):
            fields = data.fields(number)
            pixels = decode(fields["png"])
            assert pixels.shape == (48, 48, 3)
            assert (pixels[..., 0] == 5 * int(fields["cls"])).all()  # nothing of the border
    assert tracks["val"]
    assert not tracks["train"] & tracks["val"]


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--source: holds no GTSRB_Final_Training_Images\.zip\. Add it\."):
        SETS["gtsrb"].prepare(Origin(folder=tmp_path), tmp_path / "out", Settings(), quiet)
    with pytest.raises(DataError, match="has no sha256 that is known here"):
        SETS["gtsrb"].prepare(Origin(), tmp_path / "out", Settings(), quiet)
    write(tmp_path, left=26)
    with pytest.raises(
        DataError, match=r"GT-00000\.csv: cannot be read \(00000_00000\.ppm is 30 x 20, without its box"
    ):
        SETS["gtsrb"].prepare(Origin(folder=tmp_path), tmp_path / "out", Settings(), quiet)
