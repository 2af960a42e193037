"""enwik8 (Mahoney 2006): the first hundred million bytes of Wikipedia, with its marks, for models of bytes.

The first nine tenths are trained on, a twentieth chooses, the last twentieth tests, as is usual; a cut inside of a
character moves behind it.
"""

import shutil
from pathlib import Path

from dltk.data.pack import Packing, Settings
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.archives import FOLDER, Archive
from dltk.data.prepare.running import read, written

ARCHIVE = Archive(
    "http://mattmahoney.net/dc/enwik8.zip",
    "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
    36_445_475,
)
MEMBER = "enwik8"


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set.

    Raises:
        DataError: the file is missing or damaged.
    """
    packing = written("enwik8", parts(read(ARCHIVE, MEMBER, origin, to, progress)), to, progress)
    shutil.rmtree(to / FOLDER, ignore_errors=True)
    return packing


def parts(text: str) -> dict[str, str]:
    """A text cut at its bytes."""
    data = text.encode()
    first, second = (_behind(data, len(data) * hundredths // 100) for hundredths in (90, 95))
    cut = {"train": data[:first], "val": data[first:second], "test": data[second:]}
    return {part: some.decode() for part, some in cut.items()}


def _behind(data: bytes, place: int) -> int:
    while place < len(data) and data[place] & 0xC0 == 0x80:  # it goes on with a character
        place += 1
    return place
