"""Telephone prompts from Debian's packages, with their transcripts: one speaker, 24 minutes.

The exchange Asterisk comes with them: recordings at 8,000 Hz (`asterisk-core-sounds-en-wav`), and a list of what each
says (`asterisk-core-sounds-en`). Parts are 70/10/20 of the transcripts, so that no sentence of the test is trained on.
What is no speech, such as a tone, is left out, and so are recordings that the list lacks.
"""

import gzip
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dltk.data.hashing import hash64
from dltk.data.pack import Packing, Settings, pack
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.archives import FOLDER
from dltk.data.prepare.debian import download, packages, unpack
from dltk.errors import DataError

PACKAGES = ("asterisk-core-sounds-en-wav", "asterisk-core-sounds-en")
SOUNDS = "usr/share/asterisk/sounds"  # in the first, a folder for the speaker in it
LIST = "usr/share/doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"  # in the second
LINE = re.compile(r"([\w/+-]+): *(.*)")
ASIDE = re.compile(r"\[[^\]]*\]|<[^>]*>|\([^)]*\)")  # what the list says of a sound beside its words
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set from packages (.deb) in the user's folder, or else from those that apt downloads.

    Raises:
        DataError: there is no apt or dpkg here, or a package is missing or has another content.
    """
    folder = origin.folder if origin.folder is not None else download(PACKAGES, to / FOLDER)
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=to) as root:
        for package in packages(folder, PACKAGES):
            unpack(package, Path(root))
        said = transcripts(_lines(Path(root, LIST)))
        recordings = sorted(Path(root, SOUNDS).glob("*/**/*.wav"))
        # Below the speaker's folder, in one folder, for there is one speaker.
        names = {"/".join(path.relative_to(Path(root, SOUNDS)).parts[1:])[:-4]: path for path in recordings}
        spoken = {name: path for name, path in names.items() if said.get(name)}
        if not spoken:
            raise DataError(folder, "", "holds no recording that its list has words for", "Give the packages whole.")
        parts = {_key(name): part_of(said[name]) for name in spoken}
        about: dict[str, Any] = {
            "source": "asterisk-core-sounds-en of Debian",
            "recordings": len(names),
            "without_words": sorted(set(names) - set(spoken)),
        }
        samples = (
            {"__key__": _key(name), "wav": path.read_bytes(), "txt": said[name].encode()}
            for name, path in spoken.items()
        )
        packing = pack(
            samples, to, name="prompts", kind="audio", about=about, settings=settings, progress=progress,
            split_of=parts.__getitem__,
        )  # fmt: skip
    shutil.rmtree(to / FOLDER, ignore_errors=True)
    return packing


def transcripts(lines: Iterable[str]) -> dict[str, str]:
    """Lines such as "digits/1: one" to the words of each recording, digits written out; "" where there are none."""
    found = {}
    for line in lines:
        match = LINE.fullmatch(line.strip())
        if match:
            words = re.sub(r"\d", lambda digit: f" {DIGITS[int(digit[0])]} ", ASIDE.sub(" ", match[2]))
            found[match[1]] = " ".join(words.split()) if re.search("[A-Za-z]", words) else ""
    return found


def part_of(transcript: str) -> str:
    """The part of a transcript, whichever capitals and marks it has."""
    place = hash64(" ".join(re.findall("[a-z']+", transcript.lower()))) % 1000
    return "train" if place < 700 else "val" if place < 800 else "test"


def _key(name: str) -> str:
    return name.replace("/", "-").replace(".", "_")


def _lines(path: Path) -> list[str]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return file.read().splitlines()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(path.name, "", f"cannot be read ({error})", "Fetch asterisk-core-sounds-en again.") from None
