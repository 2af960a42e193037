"""What the files of a sample hold, by their extensions: an allow-list, and nothing that runs."""

import io
import json
import math
from typing import Any

import numpy as np

from dltk.data.shards.tar import NOT_DECODED
from dltk.errors import DataError

PICTURES = ("jpg", "jpeg", "png", "webp", "bmp", "ppm", "pgm", "tif", "tiff", "gif")
MAX_JSON = 1 << 20  # bytes


def decoded(extension: str, data: bytes) -> Any:
    """A file of a sample: cls and id to int, txt to str, json, npy; everything else stays bytes.

    Raises:
        DataError: it is damaged, or of a kind that runs code when it is read.
    """
    last = extension.rpartition(".")[2]
    if last in NOT_DECODED:
        raise DataError("", extension, "is a pickle, which runs commands when it is read", "Pack it as npy or json.")
    try:
        if last in ("cls", "id", "index"):
            return int(data)
        if last in ("txt", "text", "transcript"):
            return data.decode()
        if last == "json":
            if len(data) > MAX_JSON:
                raise ValueError(f"{len(data)} bytes, {MAX_JSON} are allowed")
            return json.loads(data)
        if last == "npy":
            return _array(data)
    except (ValueError, EOFError, RecursionError) as error:
        raise DataError("", extension, f"cannot be read ({error})") from None
    return data


def _array(data: bytes) -> Any:
    """An array that is no larger than its file; numpy would first take the room that the header asks for."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if math.prod(shape) * dtype.itemsize > len(data):
        raise ValueError(f"{shape} of {dtype} in {len(data)} bytes")
    file.seek(0)
    return np.load(file, allow_pickle=False)


def label(fields: dict[str, bytes]) -> int | None:
    """The class that a sample's files name: `cls`, or `label` or `cls` in its json.

    Raises:
        DataError: it is no number.
    """
    if "cls" in fields:
        return int(decoded("cls", fields["cls"]))
    if "json" in fields:
        about = decoded("json", fields["json"])
        value = (
            next((about[name] for name in ("label", "cls") if name in about), None) if isinstance(about, dict) else None
        )
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    return None
