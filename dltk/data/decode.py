"""Pictures as bytes to pixels.

JPEG by libjpeg-turbo (simplejpeg), which also decodes to an eighth to seven eighths of the size for a fraction of the
work; everything else by Pillow. The size is looked at before anything is decoded. Orientation marks (EXIF) are ignored
in packed sets, as everybody does with ImageNet: its few marks are wrong as often as right. A person's own pictures are
turned upright.
"""

import io
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from dltk.errors import DataError

# Shapes: h rows, w columns, c channels (1 grey, 3 red, green, blue).

Pixels = NDArray[np.uint8]

# What is decoded: by these decoders only, whatever a file calls itself.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MAX_PIXELS = 64_000_000
SEQUENTIAL = (b"\xff\xc0", b"\xff\xc1")  # JPEG's markers of frames that are not progressive
START_OF_SCAN, END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"
EXIF_WITHIN = 1 << 17  # bytes; the marks stand in a segment of at most 64 KB, behind one or two others
ORIENTATION = 0x0112  # EXIF's tag
SMALLER = ("min_height", "min_width", "min_factor")  # simplejpeg's names


def shape(data: bytes, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Rows and columns of a picture, from its header.

    Raises:
        DataError: it is no picture, or has more pixels than allowed.
    """
    if _is_jpeg(data):
        import simplejpeg

        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        except ValueError as error:
            raise _damaged(error) from None
    else:
        with _opened(data) as picture:
            width, height = picture.size
    if height * width > max_pixels:
        raise DataError("", "", f"has {width} × {height} pixels, {max_pixels} are allowed")
    return height, width


def decode(
    data: bytes,
    *,
    channels: int = 3,
    at_least: tuple[int, int] | None = None,
    rows: int | None = None,
    max_pixels: int = MAX_PIXELS,
    background: str = "white",
) -> Pixels:
    """A picture as (h, w, c).

    Args:
        data: the file's bytes.
        channels: 1 for grey, 3 for red, green, blue.
        at_least: rows and columns that suffice: a JPEG is decoded to half its size or less where it stays as large as
            this. (Between half and whole the saving is less than nothing.)
        rows: of the whole picture, from the top, that suffice; there may be more. Not with `at_least`.
        max_pixels: bound on h × w, seen before anything is decoded.
        background: what shines through transparent pixels.

    Raises:
        DataError: it is damaged, no picture, or too large.
    """
    if _is_jpeg(data):
        import simplejpeg

        try:
            height, width, kind, _ = simplejpeg.decode_jpeg_header(data)
            if height * width > max_pixels:
                raise DataError("", "", f"has {width} × {height} pixels, {max_pixels} are allowed")
            if kind not in ("CMYK", "YCCK"):
                smaller = {} if at_least is None else dict(zip(SMALLER, (*at_least, 2), strict=True))
                shorter = None if rows is None else _shortened(data, height, rows)
                # One that is shortened warns of bytes too many, and `strict` would refuse it.
                pixels: Pixels = simplejpeg.decode_jpeg(
                    data if shorter is None else shorter,
                    "GRAY" if channels == 1 else "RGB",
                    strict=shorter is None,
                    **smaller,
                )
                return pixels
        except ValueError:
            pass  # Pillow bears what may be borne, such as bytes too many, and refuses the rest
    shape(data, max_pixels)
    with _opened(data) as picture:
        try:
            return np.array(plain(picture, channels, background)).reshape(picture.height, picture.width, channels)
        except Exception as error:  # decoders raise whatever comes to them
            raise _damaged(error) from None


def _shortened(data: bytes, height: int, rows: int) -> bytearray | None:
    """A JPEG that says that it ends below so many rows, which come out the same; None where that saves nothing.

    The rows of a sequential JPEG are coded one after the other, and no row of a random crop lies below its lower edge.
    One that was cut off stays as it is, so that the decoder finds that out.
    """
    frame, at = 0, 2
    while data[at : at + 2] != START_OF_SCAN:
        marker, length = data[at : at + 2], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in SEQUENTIAL:
            frame = at
        if marker[:1] != b"\xff" or length < 2:
            return None
        at += 2 + length
    components = data[frame + 9] if frame else 0
    if not components or data[at + 4] != components or END_OF_IMAGE not in data[-16:]:
        return None  # progressive, or colours one after the other, or cut off
    unit = 8 * max(factors & 15 for factors in data[frame + 11 : frame + 11 + 3 * components : 3])
    wanted = -(-(rows + 1) // unit) * unit  # the colours of the last row depend on the one below it
    if wanted + unit > height:
        return None
    shorter = bytearray(data)
    shorter[frame + 5 : frame + 7] = wanted.to_bytes(2, "big")
    return shorter


def plain(picture: Image.Image, channels: int, background: str = "white") -> Image.Image:
    """A picture in 8 bits without transparency."""
    if picture.mode.startswith("I"):  # 16-bit grey, which PIL would clip
        wide = np.asarray(picture).astype(np.int64) >> 8
        picture = Image.fromarray(wide.clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        ground = Image.new("RGBA", picture.size, background)
        picture = Image.alpha_composite(ground, picture)
    return picture.convert("L" if channels == 1 else "RGB")


def upright(data: bytes, max_pixels: int = MAX_PIXELS) -> bytes:
    """A picture turned as its orientation mark says; one without a mark as it is, byte for byte.

    Raises:
        DataError: it has a mark, and is damaged or too large.
    """
    if b"Exif" not in data[:EXIF_WITHIN] and b"eXIf" not in data[:EXIF_WITHIN]:
        return data
    shape(data, max_pixels)
    with _opened(data) as picture:
        try:
            if picture.getexif().get(ORIENTATION, 1) == 1:
                return data
            turned = io.BytesIO()
            ImageOps.exif_transpose(picture).save(turned, "TIFF")  # keeps every mode, uncompressed
        except Exception as error:  # decoders raise whatever comes to them
            raise _damaged(error) from None
    return turned.getvalue()


def _is_jpeg(data: bytes) -> bool:
    return bytes(data[:2]) == b"\xff\xd8"


def _opened(data: bytes) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is the stricter bound
            return Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:  # decoders raise whatever comes to them
        raise _damaged(error) from None


def _damaged(error: Exception) -> DataError:
    if isinstance(error, Image.DecompressionBombError):
        return DataError("", "", f"has too many pixels ({str(error).rpartition(' pixels, ')[0]} pixels)")
    why = "no known format" if isinstance(error, UnidentifiedImageError) else f"{type(error).__name__}: {error}"
    return DataError("", "", f"cannot be read as a picture ({why})")
