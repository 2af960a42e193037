"""COCO's pictures of 2014 and their captions (Lin et al., ECCV 2014; Chen et al., arXiv 1504.00325): five each.

train2014.zip, val2014.zip and annotations_trainval2014.zip. The test pictures' captions are not public. Where
dataset_coco.json of Karpathy and Fei-Fei (2015) lies beside them, its parts are followed, 113,287 + 5,000 + 5,000; else
the training pictures are trained on, and of the others by their names' hashes 4,000 are the test part, as many as
Vinyals et al. (2015) kept for it, and 1,000 choose.
"""

import json
from pathlib import Path
from typing import Any

from dltk.data.hashing import hash_keys
from dltk.data.pack import Packing, Settings
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.archives import member
from dltk.data.prepare.captions import Told, pack_captioned, place_of
from dltk.data.prepare.flickr30k import listed
from dltk.errors import DataError

TEXT = ["annotations_trainval2014.zip", "annotations"]
PARTS = "dataset_coco.json"
KEPT, TEST = 5000, 0.8  # pictures of val2014 that are not trained on, and the share of them that is tested


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set.

    Raises:
        DataError: an archive is missing or damaged.
    """
    text = place_of(origin.folder, TEXT, "captions")
    places = [place_of(origin.folder, [f"{year}.zip", year], "pictures") for year in ("train2014", "val2014")]
    captions = {part: _captions(text, f"captions_{part}2014.json") for part in ("train", "val")}
    parts = text.parent / PARTS
    if parts.exists():
        part_of = listed(parts)
    else:
        names = sorted(captions["val"], key=lambda name: int(hash_keys([name])[0]))
        kept = min(KEPT, len(names) // 2)
        test = round(TEST * kept)
        part_of = dict.fromkeys(captions["train"], "train") | dict.fromkeys(names[:test], "test")
        part_of |= dict.fromkeys(names[test:kept], "val") | dict.fromkeys(names[kept:], "train")
    every = captions["train"] | captions["val"]
    told = {file: Told(part_of[file], some) for file, some in every.items() if file in part_of}
    source = f"COCO 2014, parts {'of ' + PARTS if parts.exists() else 'by the hashes of names'}"
    return pack_captioned(told, places, to, name="coco2014", source=source, settings=settings, progress=progress)


def _captions(place: Path, name: str) -> dict[str, list[str]]:
    """The captions of each picture's file."""
    try:
        if place.is_dir():
            found: Any = json.loads((place / name).read_text(encoding="utf-8"))
        else:
            with member(place, name) as file:
                found = json.load(file)
        files = {row["id"]: str(row["file_name"]) for row in found["images"]}
        captions: dict[str, list[str]] = {file: [] for file in files.values()}
        for row in sorted(found["annotations"], key=lambda row: int(row["id"])):
            captions[files[row["image_id"]]].append(str(row["caption"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(place, name, f"is no list of captions ({error!r})", "Fetch it again.") from None
    return captions
