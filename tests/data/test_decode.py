"""Decoding only what a crop needs, pictures turned upright, and folders of pictures cut by views."""

import io
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dltk.data.datamodule import DataModule
from dltk.data.decode import decode, upright
from dltk.data.digits import Digits
from dltk.data.hashing import hash_keys, uniforms
from dltk.data.images import Images, read_image
from dltk.data.loader import Damage, Reader
from dltk.data.transforms import Affine
from dltk.data.views import Box, CentreCrop, Crop2012, Frame, RandomResizedCrop, resized, taken
from dltk.errors import DataError
from tests.data.conftest import PHOTOGRAPHS, photograph

HEIGHT, WIDTH = 150, 210  # no multiples of 8
PART = Image.fromarray(PHOTOGRAPHS[0][:HEIGHT, :WIDTH])


def coded(image: Image.Image, **more: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, **more)
    return file.getvalue()


ROW_BY_ROW = {
    "420": coded(PART, subsampling="4:2:0"),
    "422": coded(PART, subsampling="4:2:2"),
    "440": simplejpeg.encode_jpeg(np.asarray(PART), 90, "RGB", "440"),
    "444": coded(PART, subsampling="4:4:4"),
    "grey": coded(PART.convert("L")),
    "restarts": coded(PART, subsampling="4:2:0", restart_marker_rows=1),
    "much before it": coded(PART, comment=b"\xff\xc0 is no frame here", icc_profile=bytes(70_000)),
}
OTHERS = {"progressive": coded(PART, progressive=True), "bytes behind it": coded(PART) + bytes(40)}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(ROW_BY_ROW | OTHERS)), st.integers(1, HEIGHT), st.sampled_from([1, 3]))
def test_the_first_rows_alone_are_those_of_the_whole_picture(kind: str, rows: int, channels: int) -> None:
    data = (ROW_BY_ROW | OTHERS)[kind]
    part = decode(data, channels=channels, rows=rows)
    assert rows <= part.shape[0] <= HEIGHT
    assert np.array_equal(part[:rows], decode(data, channels=channels)[:rows])


def test_a_picture_is_decoded_no_further_than_needed() -> None:
    assert {kind: len(decode(data, rows=40)) for kind, data in ROW_BY_ROW.items()} == dict.fromkeys(ROW_BY_ROW, 48)
    assert {kind: len(decode(data, rows=40)) for kind, data in OTHERS.items()} == dict.fromkeys(OTHERS, HEIGHT)


def test_a_box_is_the_same_whether_all_is_decoded_or_not() -> None:
    data = ROW_BY_ROW["420"]
    for box in (Box(3, 5, 60, 90), Box(60, 100, 90, 110), Box(0, 0, 150, 210)):
        top, left, bottom, right = box.top, box.left, box.top + box.height, box.left + box.width
        whole = resized(decode(data)[top:bottom, left:right], 80, 80)
        assert torch.equal(taken(data, box, Frame(80, 80)), whole)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("kind", sorted(ROW_BY_ROW))
def test_a_picture_that_was_cut_off_is_damaged_whichever_rows_are_wanted(kind: str, share: float) -> None:
    data = ROW_BY_ROW[kind]
    for rows in (None, 1, 40):
        with pytest.raises(DataError, match="cannot be read as a picture"):
            decode(data[: int(share * len(data))], rows=rows)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(ROW_BY_ROW | OTHERS)), st.data())
def test_changed_bytes_are_borne_or_refused_and_nothing_else(kind: str, chosen: st.DataObject) -> None:
    data = bytearray((ROW_BY_ROW | OTHERS)[kind])
    for _ in range(chosen.draw(st.integers(1, 4))):
        data[chosen.draw(st.integers(0, 700))] = chosen.draw(st.integers(0, 255))
    try:
        pixels = decode(bytes(data), rows=20, max_pixels=1_000_000)
    except DataError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.size <= 3_000_000


def marked(image: Image.Image, mark: int, kind: str = "JPEG") -> bytes:
    """A picture that says how it is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = mark
    file = io.BytesIO()
    image.save(file, kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {}))
    return file.getvalue()


def test_orientation_marks_are_ignored_where_sets_are_read_and_heeded_where_asked() -> None:
    plain = np.asarray(PART).astype(int)
    for mark, turned in ((3, plain[::-1, ::-1]), (6, np.rot90(plain, -1)), (8, np.rot90(plain))):
        for kind in ("JPEG", "PNG"):
            data = marked(PART, mark, kind)
            assert decode(data).shape == (HEIGHT, WIDTH, 3)
            assert np.abs(decode(upright(data)) - turned).mean() < 4
    for data in (marked(PART, 1), coded(PART), ROW_BY_ROW["grey"]):
        assert upright(data) is data


def test_a_marked_picture_is_looked_at_before_it_is_turned() -> None:
    with pytest.raises(DataError, match="has 210 × 150 pixels, 1000 are allowed"):
        upright(marked(PART, 6), max_pixels=1000)
    with pytest.raises(DataError, match="cannot be read as a picture"):
        upright(marked(PART, 6)[:3000])


# Folders of pictures


def cut_alone(images: Images, number: int, seed: int, epoch: int) -> torch.Tensor:
    view = RandomResizedCrop()
    drawn = uniforms(seed, epoch, hash_keys([images.keys[number]]), view.uniforms)[0]
    return view.cut((images.root / images.keys[number]).read_bytes(), images.frame, drawn)


def test_a_folder_takes_the_views_of_shards(folders: Path) -> None:
    images = Images("train", str(folders), image_size=48)
    data = DataModule(
        Images, {"image_size": 48}, batch=16, seed=3, augment=RandomResizedCrop(), data_dir=str(folders), epochs=2
    )
    numbers = {key: number for number, key in enumerate(images.keys)}
    for batch in data.train_dataloader():
        assert (batch["image"].shape, batch["image"].dtype) == ((16, 3, 48, 48), torch.uint8)
        assert batch["image"].is_contiguous(memory_format=torch.channels_last)  # as decoded; see Pictures.batch
        for at in (0, 7):
            number = numbers[batch["info"].keys[at]]
            assert torch.equal(batch["image"][at], cut_alone(images, number, 3, batch["info"].epoch))
            assert batch["target"][at] == images[number]["target"]


def test_the_colour_shift_comes_beside_the_pictures(folders: Path) -> None:
    images = Images("train", str(folders), image_size=48, resize=56)
    reader = Reader(images, images.keys, augment=Crop2012())
    both, alone = (
        reader.read(np.asarray(numbers), epoch=1, step=0, micro=0, places=np.asarray(numbers), samples=2)
        for numbers in ([4, 9], [9])
    )
    assert both["colour"].shape == (2, 3)
    assert torch.equal(both["colour"][1:], alone["colour"])
    assert torch.equal(both["image"][1:], alone["image"])


def test_a_damaged_picture_keeps_its_place_under_a_view(folders: Path, tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / "one").mkdir(exist_ok=True)
        (tmp_path / "one" / f"{number:02d}.jpg").write_bytes(photograph(number))
    images = Images("train", str(tmp_path), image_size=48)
    (tmp_path / images.keys[1]).write_bytes(photograph(1)[:900])
    numbers = np.arange(4)
    batch = Reader(images, images.keys, augment=RandomResizedCrop()).read(
        numbers, epoch=0, step=0, micro=0, places=numbers, samples=4
    )
    assert batch["weight"].tolist() == [1, 0, 1, 1]
    assert not batch["image"][1].any()
    assert torch.equal(batch["image"][2], cut_alone(images, 2, 0, 0))
    ((key, reason),) = batch["info"].damaged
    assert key == images.keys[1]
    assert reason.startswith(f"{tmp_path / key}: cannot be read as a picture")
    with pytest.raises(DataError, match=r"1 damaged sample\(s\), 0 allowed"):
        Damage().note(batch["info"].damaged)


def test_a_transform_of_finished_images_still_applies(folders: Path) -> None:
    images = Images("train", str(folders), image_size=48)
    numbers = np.arange(3)
    place = {"epoch": 0, "step": 0, "micro": 0, "places": numbers, "samples": 3}
    changed = Reader(images, images.keys, augment=Affine()).read(numbers, **place)["image"]
    assert changed.shape == (3, 3, 48, 48)
    assert not torch.equal(changed, images.batch(numbers)["image"])


def test_a_view_needs_encoded_pictures() -> None:
    digits = Digits("train")
    with pytest.raises(DataError, match=r"data\.augment: RandomResizedCrop cuts encoded pictures, and Digits has none"):
        Reader(digits, digits.keys, augment=RandomResizedCrop())


def test_a_folders_pictures_in_evaluation(folders: Path) -> None:
    whole = Images("val", str(folders), image_size=48)
    path = folders / whole.keys[0]
    assert torch.equal(whole[0]["image"], read_image(path, 48))
    inner = Images("val", str(folders), image_size=48, resize=56)
    assert torch.equal(inner[0]["image"], CentreCrop().cut(path.read_bytes(), Frame(48, 56), np.empty(0)))
    with pytest.raises(DataError, match=r"data\.resize: 40 is less than image_size 48"):
        Images("val", str(folders), image_size=48, resize=40)
