"""What becomes of a picture when it is packed."""

import numpy as np

from dltk.data.decode import decode, shape
from dltk.data.views import Frame, centre, rescaled, taken
from dltk.errors import DataError


def encoded(data: bytes, extension: str, *, resize: int | None, square: bool, quality: int) -> tuple[str, bytes]:
    """A picture as it is stored: its extension and its bytes.

    One that needs no change stays as it is, byte for byte. A file that is no JPEG but says so, one in CMYK, and every
    one that is resized become an RGB JPEG. Orientation marks are ignored, as when it is read.

    Args:
        data: the file's bytes.
        extension: what it is called.
        resize: rows or columns of the shorter side, where it is longer; None leaves the size.
        square: the middle square only, always of the size `resize`.
        quality: of the JPEG, 1 to 100.

    Raises:
        DataError: it cannot be read, or has no bytes.
    """
    import simplejpeg

    if not data:
        raise DataError("", "", "is empty")
    height, width = shape(data)
    small = resize is None or (min(height, width) <= resize and not square)
    if small and _stays(data, extension):
        decode(data, at_least=(1, 1))  # at an eighth of the size: sees whether it is whole
        return ("jpg" if _is_jpeg(data) else extension), data
    if small:
        pixels = decode(data)
    elif square:
        assert resize is not None
        image = taken(data, centre(height, width, 1.0), Frame(resize, resize))  # (3, s, s)
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
    else:
        assert resize is not None
        pixels = np.ascontiguousarray(rescaled(data, resize).permute(1, 2, 0).numpy())  # (h, w, 3)
    return "jpg", simplejpeg.encode_jpeg(pixels, quality, "RGB", "420")


def _is_jpeg(data: bytes) -> bool:
    return data[:2] == b"\xff\xd8"


def _stays(data: bytes, extension: str) -> bool:
    if not _is_jpeg(data):
        return extension not in ("jpg", "jpeg")
    import simplejpeg

    try:
        return simplejpeg.decode_jpeg_header(data)[2] not in ("CMYK", "YCCK")
    except ValueError:
        return False
