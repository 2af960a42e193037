"""Telephone prompts, from small packages that dpkg-deb builds."""

import gzip
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dltk.data.pack import Settings
from dltk.data.prepare import Origin, prompts
from dltk.data.shards.sets import read_set
from dltk.errors import DataError
from tests.data.prepare.conftest import debian_package, quiet, samples

pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb: apt-get install dpkg")

LIST = """
; Sounds in English

added: Added.
vm-added: added
digits/1: one
letters/at: at [@]
menu: Press 1 for 10.
beep: [this is a simple beep tone]
silence/1: (1 second of silence)
gone: This is not there.
"""


def sound(length: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(length), 8000, format="WAV")
    return file.getvalue()


def built(folder: Path, text: str = LIST) -> Origin:
    names = ["added", "vm-added", "digits/1", "letters/at", "menu", "beep", "silence/1", "strange"]
    names += [f"more-{number}" for number in range(30)]
    text += "".join(f"more-{number}: {'word ' * (number + 2)}\n" for number in range(30))
    sounds = {f"{prompts.SOUNDS}/en_US_f_Somebody/{name}.wav": sound(len(name)) for name in names}
    folder.mkdir()
    debian_package(folder, prompts.PACKAGES[0], sounds)
    debian_package(folder, prompts.PACKAGES[1], {prompts.LIST: gzip.compress(text.encode())})
    return Origin(folder=folder)


def test_recordings_have_their_words_and_what_has_none_is_left_out(tmp_path: Path) -> None:
    to = tmp_path / "prompts"
    made = prompts.prepare(built(tmp_path / "packages"), to, Settings(), quiet)
    parts = {part: samples(to, part) for part in ("train", "val", "test")}
    every = {key: files for part in parts.values() for key, files in part.items()}
    assert len(every) == sum(made.samples.values()) == 35
    assert {key: every[key]["txt"].decode() for key in ("added", "digits-1", "letters-at", "menu")} == {
        "added": "Added.",
        "digits-1": "one",
        "letters-at": "at",
        "menu": "Press one for one zero .",
    }
    assert every["digits-1"]["wav"] == sound(len("digits/1"))
    assert read_set(to).about["without_words"] == ["beep", "silence/1", "strange"]
    assert all(parts.values())
    # The same words lie in the same part, whatever marks they have.
    assert len({name for name, part in parts.items() if {"added", "vm-added"} & set(part)}) == 1


def test_packages_that_are_not_its_own(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no asterisk-core-sounds-en-wav_\*\.deb"):
        prompts.prepare(Origin(folder=tmp_path), tmp_path / "to", Settings(), quiet)
    folder = tmp_path / "packages"
    folder.mkdir()
    debian_package(folder, prompts.PACKAGES[0], {"usr/share/nothing": b""})
    debian_package(folder, prompts.PACKAGES[1], {prompts.LIST: gzip.compress(b"a: b\n")})
    with pytest.raises(DataError, match="holds no recording that its list has words for"):
        prompts.prepare(Origin(folder=folder), tmp_path / "other", Settings(), quiet)
    (folder / f"{prompts.PACKAGES[0]}_1.0_all.deb").write_bytes(b"cut off")
    with pytest.raises(DataError, match="is no whole package"):
        prompts.prepare(Origin(folder=folder), tmp_path / "third", Settings(), quiet)
