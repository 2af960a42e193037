"""Decoding, and how pictures are cut: against torchvision, and by what must not change."""

import io
import struct
import zlib

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop as Torchvisions

from dltk.data import views
from dltk.data.decode import decode, shape
from dltk.data.views import Box, CentreCrop, Crop2012, Frame, RandomResizedCrop, ScaleJitter, taken, ten_crops
from dltk.errors import DataError
from tests.data.conftest import PHOTOGRAPHS

PHOTO = simplejpeg.encode_jpeg(PHOTOGRAPHS[0], 92, "RGB", "420")  # 427 × 640
FRAME = Frame(size=96, resize=110)


def saved(image: Image.Image, kind: str, **settings: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def test_every_kind_of_picture_becomes_rgb_or_grey() -> None:
    image = Image.fromarray(PHOTOGRAPHS[0][:64, :80])
    alpha = image.convert("RGBA")
    alpha.putalpha(0)
    for data, near in (
        (saved(image, "JPEG", quality=95), np.asarray(image)),
        (saved(image, "PNG"), np.asarray(image)),
        (saved(image, "WEBP", lossless=True), np.asarray(image)),
        (saved(image.convert("CMYK"), "JPEG", quality=95), np.asarray(image)),
        (saved(image.convert("L"), "JPEG", quality=95), np.asarray(image.convert("L").convert("RGB"))),
        (saved(alpha, "PNG"), np.full((64, 80, 3), 255)),
        (saved(Image.fromarray(np.full((64, 80), 30_000, np.uint16)), "PNG"), np.full((64, 80, 3), 30_000 >> 8)),
    ):
        assert shape(data) == (64, 80)
        pixels = decode(data)
        assert pixels.shape == (64, 80, 3)
        assert np.abs(pixels.astype(int) - near).mean() < 4
        assert decode(data, channels=1).shape == (64, 80, 1)


def gigapixel_png() -> bytes:
    """A header that announces 40,000 × 40,000 pixels, and little behind it."""
    head = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99)))


def test_a_picture_of_a_gigapixel_is_refused_before_it_is_decoded() -> None:
    jpeg = bytearray(saved(Image.new("RGB", (64, 64)), "JPEG"))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 40_000, 40_000)
    for data in (gigapixel_png(), bytes(jpeg)):
        for look in (shape, decode):
            with pytest.raises(
                DataError, match=r"40000 × 40000 pixels, 64000000 are|too many pixels \(.*1600000000 pixels"
            ):
                look(data)


@pytest.mark.parametrize("data", [b"", b"hello", PHOTO[:2000], PHOTO[:100], saved(Image.new("L", (9, 9)), "PNG")[:40]])
def test_what_is_no_picture_is_said_in_one_line(data: bytes) -> None:
    with pytest.raises(DataError, match="cannot be read as a picture"):
        decode(data)


def test_decoding_small_keeps_the_statistics_of_crops() -> None:
    """Boxes decoded at half or a quarter of the size, beside the same boxes of the whole picture."""
    generator, whole = np.random.default_rng(3), decode(PHOTO)
    means, spreads = [], []
    for side in generator.integers(150, 420, 80).tolist():
        top, left = generator.integers(0, 427 - side), generator.integers(0, 640 - side)
        small = taken(PHOTO, Box(top, left, side, side), Frame(48, 48)).float()
        exact = views.resized(np.ascontiguousarray(whole[top : top + side, left : left + side]), 48, 48).float()
        means.append(small.mean() - exact.mean())
        spreads.append(small.std() / exact.std())
    assert abs(np.mean(means)) < 0.5  # grey levels
    assert np.abs(means).max() < 4
    assert np.mean(spreads) == pytest.approx(1, abs=0.03)
    assert decode(PHOTO, at_least=(100, 100)).shape[0] < 120  # it was decoded small


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_is_torchs_own_whichever_way_the_bytes_lie(channels: int, mirrored: bool) -> None:
    pixels = PHOTOGRAPHS[0].copy()[20:300, 30:400, :channels]  # a part: its rows do not follow one another
    sorted_apart = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous()
    expected = torch.nn.functional.interpolate(sorted_apart, (96, 80), mode="bilinear", antialias=True)[0]
    found = views.resized(pixels, 96, 80, mirrored)
    assert torch.equal(found, expected.flip(2) if mirrored else expected)
    assert found.permute(1, 2, 0).is_contiguous()


def test_random_resized_crop_has_torchvisions_statistics() -> None:
    view, generator = RandomResizedCrop(), np.random.default_rng(0)
    height, width = 300, 500
    ours = np.array([view.box(height, width, generator.random(view.uniforms)) for _ in range(8000)])
    torch.manual_seed(0)
    image = torch.empty(3, height, width)
    theirs = np.array([Torchvisions.get_params(image, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(8000)])
    for column in range(4):
        assert ours[:, column].mean() == pytest.approx(theirs[:, column].mean(), rel=0.04)
        assert ours[:, column].std() == pytest.approx(theirs[:, column].std(), rel=0.04)
    assert (ours[:, 0] + ours[:, 2] <= height).all()
    assert (ours[:, 1] + ours[:, 3] <= width).all()
    tall = np.array([view.box(40, 900, generator.random(view.uniforms)) for _ in range(100)])
    assert (tall[:, 3] <= 54).all()  # 40 × 4/3


def test_the_middle_is_the_middle() -> None:
    image = CentreCrop().cut(PHOTO, Frame(224, 256), np.empty(0))
    side = 427 * 224 / 256
    top, left = round((427 - side) / 2), round((640 - side) / 2)
    near = Image.fromarray(decode(PHOTO)).crop((left, top, left + round(side), top + round(side))).resize((224, 224), 2)
    assert (image.permute(1, 2, 0).float() - torch.from_numpy(np.array(near)).float()).abs().mean() < 5


@pytest.mark.parametrize("view", [RandomResizedCrop(), Crop2012(), ScaleJitter(low=110, high=220)])
def test_a_view_is_a_function_of_its_numbers_and_mirrors_half_of_the_time(view: views.View) -> None:
    generator = np.random.default_rng(1)
    drawn = generator.random((40, view.uniforms))
    images = [view.cut(PHOTO, FRAME, row) for row in drawn]
    assert all(image.shape == (3, 96, 96) and image.dtype == torch.uint8 for image in images)
    assert all(torch.equal(image, view.cut(PHOTO, FRAME, row)) for image, row in zip(images, drawn, strict=True))
    assert len({image.numpy().tobytes() for image in images}) == 40
    flip = {RandomResizedCrop: 40, Crop2012: 2, ScaleJitter: 3}[type(view)]
    one, other = drawn[0].copy(), drawn[0].copy()
    one[flip], other[flip] = 0.1, 0.9
    assert torch.equal(view.cut(PHOTO, FRAME, one).flip(2), view.cut(PHOTO, FRAME, other))


def test_the_crop_of_2012_reaches_every_place_of_the_square() -> None:
    view, frame = Crop2012(colour=0), Frame(96, 128)
    low, high = np.zeros(9), np.full(9, 1 - 1e-9)
    square = views.resized(np.ascontiguousarray(decode(PHOTO)[:, 107:534]), 128, 128)
    for drawn, part in ((low, square[:, :96, :96].flip(2)), (high, square[:, 32:, 32:])):
        assert (view.cut(PHOTO, frame, drawn).float() - part.float()).abs().mean() < 6
    assert view.beside(np.zeros((2, 9))) == {}
    assert ScaleJitter(colour=0).beside(np.zeros((2, 10))) == {}


@pytest.mark.parametrize("view", [Crop2012(), ScaleJitter()])
def test_the_colour_shift_has_the_published_spread(view: Crop2012 | ScaleJitter) -> None:
    drawn = np.random.default_rng(2).random((40_000, view.uniforms))
    shift = view.beside(drawn)["colour"].double().numpy() / 255  # (b, 3)
    vectors = np.asarray(views.IMAGENET_VECTORS)
    assert vectors.T @ vectors == pytest.approx(np.eye(3), abs=2e-3)
    amounts = shift @ vectors  # along the components
    assert amounts.std(0) == pytest.approx(0.1 * np.asarray(views.IMAGENET_VALUES), rel=0.03)
    assert np.abs(amounts.mean(0)).max() < 5e-4


def test_the_components_of_pictures() -> None:
    pixels = PHOTOGRAPHS[0].reshape(-1, 3) / 255
    values, vectors = views.colour_components([PHOTOGRAPHS[0][:200], PHOTOGRAPHS[0][200:]])
    expected = np.cov(pixels.T, bias=True)
    assert vectors @ np.diag(values) @ vectors.T == pytest.approx(expected, abs=1e-9)
    assert list(values) == sorted(values, reverse=True)


def test_ten_crops() -> None:
    images = torch.arange(2 * 3 * 8 * 10, dtype=torch.int32).view(2, 3, 8, 10)
    crops = ten_crops(images, 6)
    assert crops.shape == (2, 10, 3, 6, 6)
    assert torch.equal(crops[1, 0], images[1, :, :6, :6])
    assert torch.equal(crops[1, 3], images[1, :, 2:, 4:])
    assert torch.equal(crops[0, 4], images[0, :, 1:7, 2:8])
    assert torch.equal(crops[0, 5:], crops[0, :5].flip(3))


def test_impossible_settings_are_refused() -> None:
    for make in (
        lambda: RandomResizedCrop(scale=[0.0, 1.0]), lambda: RandomResizedCrop(ratio=[2.0, 1.0]),
        lambda: Crop2012(colour=-1), lambda: Crop2012(flip=2), lambda: ScaleJitter(low=512, high=256),
        lambda: ScaleJitter(colour=-1),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="Set "):
            make()
