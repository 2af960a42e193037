"""The Bible, from small packages that dpkg-deb builds, with a program of the same name that writes verses so."""

import shutil
from pathlib import Path

import pytest

from dltk.data.pack import Settings
from dltk.data.prepare import Origin, bible
from dltk.errors import DataError
from tests.data.prepare.conftest import debian_package, quiet

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb: apt-get install dpkg")

CHAPTERS = [f"{book}{chapter}" for book in ("Ge", "1Sam", "Ps", "Rev") for chapter in range(1, 26)]
VERSES = [f"{chapter}:{verse} Words of {chapter}, verse {verse}." for chapter in CHAPTERS for verse in (1, 2, 3)]
# It takes what the true one takes: -p FOLDER -f FROM-TO.
PROGRAM = '#!/bin/sh\n[ "$1" = -p ] && [ "$3" = -f ] && [ "$4" = Gen1:1-Rev22:21 ] && exec cat "$2/bible.data"\n'


def built(folder: Path, text: str, program: str = PROGRAM) -> Origin:
    folder.mkdir()
    debian_package(folder, "bible-kjv", {"usr/bin/bible": program.encode()})
    debian_package(folder, "bible-kjv-text", {"usr/lib/bible.data": text.encode()})
    return Origin(folder=folder)


def test_chapters_stay_whole_and_in_order_in_one_part(tmp_path: Path) -> None:
    to = tmp_path / "bible"
    to.mkdir()
    made = bible.prepare(built(tmp_path / "packages", "\n".join(VERSES) + "\n"), to, Settings(), quiet)
    found = {part: (to / f"{part}.txt").read_text().splitlines() for part in ("train", "val", "test")}
    assert made.samples == {part: len(lines) for part, lines in found.items()}
    assert sum(made.samples.values()) == len(VERSES)
    assert made.samples["train"] > 8 * made.samples["val"] > 0
    texts = [verse.partition(" ")[2] for verse in VERSES]
    for lines in found.values():
        assert lines == [text for text in texts if text in set(lines)]
        assert all(len([line for line in lines if f"{chapter}," in line]) in (0, 3) for chapter in CHAPTERS)
    assert sorted(path.name for path in to.iterdir()) == ["test.txt", "train.txt", "val.txt"]


@pytest.mark.parametrize(
    ("text", "program", "says"),
    [
        ("no verse\n", PROGRAM, "bible: wrote no verse but 'no verse'"),
        (VERSES[0] + "\n", PROGRAM, "bible: has no text for"),
        ("", "#!/bin/sh\necho cannot read >&2\nexit 3\n", "bible: cannot read"),
    ],
)
def test_packages_that_are_not_its_own(tmp_path: Path, text: str, program: str, says: str) -> None:
    to = tmp_path / "bible"
    to.mkdir()
    with pytest.raises(DataError, match=says):
        bible.prepare(built(tmp_path / "packages", text, program), to, Settings(), quiet)
    assert not list(to.glob("*.txt"))


def test_a_package_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no bible-kjv_\*\.deb"):
        bible.prepare(Origin(folder=tmp_path), tmp_path / "to", Settings(), quiet)
