"""Flickr8k (Hodosh, Young, Hockenmaier, J. Artificial Intelligence Research 2013): 8,000 pictures, five captions each.

Two archives, as their authors give them out on request: Flickr8k_Dataset.zip with the pictures, Flickr8k_text.zip with
the captions and the lists of the parts, 6,000 + 1,000 + 1,000.
"""

from pathlib import Path

from dltk.data.pack import Packing, Settings
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.archives import lines
from dltk.data.prepare.captions import Told, pack_captioned, place_of
from dltk.errors import DataError

PICTURES = ["Flickr8k_Dataset.zip", "Flicker8k_Dataset", "Flickr8k_Dataset"]
TEXT = ["Flickr8k_text.zip", "Flickr8k_text"]
TOKENS = "Flickr8k.token.txt"
LISTS = {"train": "Flickr_8k.trainImages.txt", "val": "Flickr_8k.devImages.txt", "test": "Flickr_8k.testImages.txt"}


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set.

    Raises:
        DataError: an archive is missing or damaged.
    """
    text = place_of(origin.folder, TEXT, "captions")
    pictures = place_of(origin.folder, PICTURES, "pictures")
    part_of = {
        line.decode().strip(): part for part, name in LISTS.items() for line in lines(text, name) if line.strip()
    }
    told = {file: Told(part_of[file], some) for file, some in tokens(text, TOKENS).items() if file in part_of}
    source = "Flickr8k"
    return pack_captioned(told, [pictures], to, name="flickr8k", source=source, settings=settings, progress=progress)


def tokens(archive: Path, name: str) -> dict[str, list[str]]:
    """The captions of each picture, from lines `FILE#NUMBER<TAB>CAPTION`.

    Raises:
        DataError: a line is of another form.
    """
    found: dict[str, list[str]] = {}
    for number, line in enumerate(lines(archive, name), 1):
        if not line.strip():
            continue
        try:
            head, mark, text = line.decode().rstrip("\r\n").partition("\t")
        except UnicodeDecodeError as error:
            raise DataError(
                archive, f"{name}, line {number}", f"is not in UTF-8 ({error})", "Fetch it again."
            ) from None
        file, sharp, _ = head.partition("#")
        if not mark or not sharp:
            what = "is no line FILE#NUMBER, tab, caption"
            raise DataError(archive, f"{name}, line {number}", what, "It is of another format, or was cut off.")
        found.setdefault(file, []).append(text)
    return found
