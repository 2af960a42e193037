"""The King James Bible from Debian's packages, as text that goes on: 31,102 verses, some 900,000 words and marks.

Its text is kept compressed for the program `bible`, which comes with it (`bible-kjv`, `bible-kjv-text`) and writes it.
The unit of the parts is the chapter: 90 of 100 are trained on, 5 choose, 5 test, by the hashes of their names. A verse
is a line.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from dltk.data.hashing import hash64
from dltk.data.pack import Packing, Settings
from dltk.data.prepare import Origin, Progress
from dltk.data.prepare.archives import FOLDER
from dltk.data.prepare.debian import download, packages
from dltk.data.prepare.running import written
from dltk.data.splits import SPLITS
from dltk.errors import DataError

PACKAGES = ("bible-kjv", "bible-kjv-text")
ALL = "Gen1:1-Rev22:21"
VERSE = re.compile(r"((?:[123] ?)?[A-Z]\w*?\d+):\d+ +(.+)")  # Ge1:1, 1Jn5:21: chapter and text


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set from packages (.deb) in the user's folder, or else from those that apt downloads.

    Raises:
        DataError: there is no apt or dpkg here, a package is missing, or its program does not run on this machine.
    """
    to.mkdir(parents=True, exist_ok=True)
    folder = origin.folder if origin.folder is not None else download(PACKAGES, to / FOLDER)
    with tempfile.TemporaryDirectory(prefix=".", dir=to) as root:
        for package in packages(folder, PACKAGES):
            _run(["dpkg-deb", "-x", str(package), root])
        lines = _run([f"{root}/usr/bin/bible", "-p", f"{root}/usr/lib", "-f", ALL]).splitlines()
    packing = written("bible", parts(lines), to, progress)
    shutil.rmtree(to / FOLDER, ignore_errors=True)
    return packing


def parts(lines: Iterable[str]) -> dict[str, str]:
    """Lines such as "Ge1:1 In the beginning ..." to the verses of each part, in their order, one a line.

    Raises:
        DataError: a line is no verse.
    """
    found: dict[str, list[str]] = {part: [] for part in SPLITS}
    for line in lines:
        match = VERSE.fullmatch(line.strip())
        if match is None:
            raise DataError(
                "", "bible", f"wrote no verse but '{line[:60]}'", "Try Debian's package of another release."
            )
        place = hash64(match[1]) % 100
        found["train" if place < 90 else "val" if place < 95 else "test"].append(match[2])
    return {part: "".join(f"{verse}\n" for verse in verses) for part, verses in found.items()}


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        what = f"does not run here ({error.strerror})"
        raise DataError("", Path(command[0]).name, what, "Prepare the set on a Debian of the packages' kind.") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise DataError("", Path(command[0]).name, reason, "Look into the packages, or give others by --source.")
    return done.stdout
