"""Pictures and their captions as a set: what Flickr8k, Flickr30k and COCO share.

A caption without words is left out and counted; a picture that has none left is not in the set, and is named. A picture
that cannot be read is damaged, as in any set.
"""

import contextlib
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

from dltk.bleu import plain_words
from dltk.data.pack import Packing, Settings, pack
from dltk.data.prepare import Progress
from dltk.data.prepare.archives import DAMAGED
from dltk.data.shards.captioned import CAPTIONS
from dltk.data.shards.writer import Sample
from dltk.errors import DataError


class Told(NamedTuple):
    """A picture of a set.

    Args:
        split: train, val or test.
        captions: what people said of it.
    """

    split: str
    captions: list[str]


def pack_captioned(
    told: Mapping[str, Told], places: list[Path], to: Path, *, name: str, source: str, settings: Settings,
    progress: Progress,
) -> Packing:  # fmt: skip
    """Pack pictures with their captions.

    Args:
        told: by the name of the picture's file.
        places: archives or folders in which the pictures lie.
        to: the set's folder.
        name: of the set.
        source: what it is, for `set.json`.
        settings: size of shards, pictures.
        progress: hears the samples done.

    Raises:
        DataError: a picture is missing, an archive is damaged, or no caption has words.
    """
    worded = {
        file: one._replace(captions=[" ".join(text.split()) for text in one.captions if plain_words(text)])
        for file, one in told.items()
    }
    silent = sum(len(told[file].captions) - len(one.captions) for file, one in worded.items())
    mute = sorted(file for file, one in worded.items() if not one.captions)
    left = {file: one for file, one in worded.items() if one.captions}
    if not left:
        raise DataError(to, "captions", "no picture has a caption with words", "Look at the files of captions.")
    about = {"source": source, "captions_without_words": silent, "pictures_without_captions": mute}
    split_of = {_key(file, one): one.split for file, one in left.items()}
    return pack(
        _samples(left, places), to, name=name, kind="captions", about=about, settings=settings, progress=progress,
        split_of=split_of.__getitem__,
    )  # fmt: skip


def _key(file: str, one: Told) -> str:
    return f"{one.split}/{Path(file).stem}"


def _samples(told: Mapping[str, Told], places: list[Path]) -> Iterator[Sample]:
    waiting = dict(told)
    for place in places:
        for file, data in _pictures(place):
            one = waiting.pop(file, None)
            if one is not None:
                extension = Path(file).suffix[1:].lower()
                yield {"__key__": _key(file, one), extension: data, CAPTIONS: "\n".join(one.captions).encode()}
    if waiting:
        what = f"{len(waiting):,} picture(s) that have captions are not there, such as {min(waiting)}"
        raise DataError(places[0], "--source", what, "Fetch the archive of pictures again.")


def _pictures(place: Path) -> Iterator[tuple[str, bytes]]:
    """Names without folders, and contents, of the files of an archive or a folder.

    Raises:
        DataError: it is damaged.
    """
    try:
        if place.is_dir():
            for path in sorted(place.rglob("*")):
                if path.is_file():
                    yield path.name, path.read_bytes()
        elif place.suffix == ".zip":
            with zipfile.ZipFile(place) as zipped:
                for about in zipped.infolist():
                    if not about.is_dir():
                        yield Path(about.filename).name, zipped.read(about)
        else:
            with contextlib.closing(tarfile.open(place)) as opened:
                for member in opened:
                    file: IO[bytes] | None = opened.extractfile(member) if member.isfile() else None
                    if file is not None:
                        yield Path(member.name).name, file.read()
    except DAMAGED as error:
        raise DataError(place, "", f"cannot be read ({error or type(error).__name__})", "Fetch it again.") from None


def place_of(folder: Path | None, names: list[str], what: str) -> Path:
    """The first of some files or folders that is in the user's folder.

    Raises:
        DataError: there is no folder, or none of them is in it.
    """
    if folder is None or not folder.is_dir():
        raise DataError(folder or "", "--source", "names no folder", f"Give the one that holds {names[0]}.")
    found = next((folder / name for name in names if (folder / name).exists()), None)
    if found is None:
        raise DataError(folder, "--source", f"has no {what}: {' or '.join(names)}", "Add it.")
    return found
