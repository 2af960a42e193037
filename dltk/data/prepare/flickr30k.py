"""Flickr30k (Young, Lai, Hodosh, Hockenmaier, TACL 2014): 31,783 pictures, five captions each.

flickr30k-images.tar.gz and flickr30k.tar.gz (with results_20130124.token), as their authors give them out. They have no
lists of parts. The papers used those of Karpathy and Fei-Fei (2015): where dataset_flickr30k.json lies beside them it
is followed, 29,000 + 1,014 + 1,000; else the names are parted 70/10/20 by their hashes.
"""

import json
from pathlib import Path

import numpy as np

from dltk.data.pack import Packing, Settings
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.captions import Told, pack_captioned, place_of
from dltk.data.prepare.flickr8k import tokens
from dltk.data.splits import SPLITS
from dltk.data.splits import split as divided
from dltk.errors import DataError

PICTURES = ["flickr30k-images.tar.gz", "flickr30k-images.tar", "flickr30k-images"]
TEXT = ["flickr30k.tar.gz", "results_20130124.token"]
TOKENS = "results_20130124.token"
PARTS = "dataset_flickr30k.json"


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set.

    Raises:
        DataError: an archive is missing or damaged.
    """
    text = place_of(origin.folder, TEXT, "captions")
    pictures = place_of(origin.folder, PICTURES, "pictures")
    captions, parts = tokens(text, TOKENS), text.parent / PARTS
    part_of = listed(parts) if parts.exists() else hashed(sorted(captions))
    told = {file: Told(part_of[file], some) for file, some in captions.items() if file in part_of}
    source = f"Flickr30k, parts {'of ' + PARTS if parts.exists() else 'by the hashes of names'}"
    return pack_captioned(told, [pictures], to, name="flickr30k", source=source, settings=settings, progress=progress)


def listed(path: Path) -> dict[str, str]:
    """The part of each picture's file, as Karpathy and Fei-Fei list them; their `restval` is trained on.

    Raises:
        DataError: it is of another form.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["images"]
        return {str(row["filename"]): {"restval": "train"}.get(row["split"], str(row["split"])) for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(path, "", f"is no list of pictures ({error!r})", "Fetch it again.") from None


def hashed(files: list[str]) -> dict[str, str]:
    """Parts of 70/10/20 by the hashes of the files' names."""
    numbers = divided(files, np.zeros(len(files), np.int64))
    return {files[at]: part for part, some in zip(SPLITS, numbers, strict=True) for at in some.tolist()}
