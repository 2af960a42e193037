"""TIMIT from the user's files: read sentences, of which experts wrote down the phones.

Garofolo et al., "DARPA TIMIT acoustic-phonetic continuous speech corpus", LDC93S1 (1993). The two sentences that all
speakers read (SA) are left out. Of the official training part all 462 speakers train; of the test part 50 speakers
choose and the 24 of the core test test, as has become usual: Halberstadt, "Heterogeneous acoustic measurements and
multiple classifiers for speech recognition", MIT (1998), table 3.1. The other speakers' files are not used.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from dltk.data.labels import PHONES
from dltk.data.pack import Packing, Settings, pack
from dltk.data.prepare import Origin, Progress
from dltk.errors import DataError

VAL = frozenset(
    "faks0 fdac1 fjem0 mgwt0 mjar0 mmdb1 mmdm2 mpdf0 fcmh0 fkms0 mbdg0 mbwm0 mcsh0 fadg0 fdms0 fedw0 mgjf0 mglb0 mrtk0 "
    "mtaa0 mtdt0 mthc0 mwjg0 fnmr0 frew0 fsem0 mbns0 mmjr0 mdls0 mdlf0 mdvc0 mers0 fmah0 fdrw0 mrcs0 mrjm4 fcal1 mmwh0 "
    "fjsj0 majc0 mjsw0 mreb0 fgjd0 fjmg0 mroa0 mteb0 mjfc0 mrjr0 fmml0 mrws1".split()
)
TEST = frozenset(
    "mdab0 mwbt0 felc0 mtas1 mwew0 fpas0 mjmp0 mlnt0 fpkt0 mlll0 mtls0 fjlm0 mbpm0 mklt0 fnlp0 mcmj0 mjdh0 fmgd0 mgrt0 "
    "mnjm0 fdhc0 mjln0 mpam0 fmld0".split()
)
SPEAKERS = {"train": 462, "val": len(VAL), "test": len(TEST)}


class Sentence(NamedTuple):
    """One recording: …/TRAIN/DR1/FCJF0/SI1027.WAV, and SI1027.PHN beside it."""

    part: str
    speaker: str
    name: str
    sound: Path
    phones: Path


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set from the folder of the user's files; their names may be in capitals or not.

    Raises:
        DataError: there is no such folder, a recording has no phones, or there is nothing to train on, or to test.
    """
    if origin.folder is None or not origin.folder.is_dir():
        where = origin.folder or ""
        remedy = "Give --source with the folder that holds TRAIN and TEST; LDC licenses the files (LDC93S1)."
        raise DataError(where, "--source", "is no folder", remedy)
    # Some copies hold each recording twice, as SI1027.WAV and as SI1027.WAV.wav.
    every = {(one.part, one.speaker, one.name): one for one in _sentences(origin.folder)}
    found = [one for _, one in sorted(every.items())]
    speakers = {part: len({one.speaker for one in found if one.part == part}) for part in SPEAKERS}
    missing = [part for part, count in speakers.items() if not count]
    if missing:
        what = f"holds no sentence for {', '.join(missing)}"
        raise DataError(origin.folder, "--source", what, "Give the folder that holds TRAIN and TEST.")
    about: dict[str, Any] = {"source": "LDC93S1", "speakers": speakers, "speakers_of_the_whole": SPEAKERS}
    parts = {_key(one): one.part for one in found}
    return pack(
        (_sample(one) for one in found), to, name="timit", kind="audio", about=about, settings=settings,
        progress=progress, split_of=parts.__getitem__,
    )  # fmt: skip


def _sentences(folder: Path) -> Iterator[Sentence]:
    for sound in sorted(folder.rglob("*")):
        below = ("", "", "", *(part.lower() for part in sound.relative_to(folder).parts))
        official, _, speaker, name = below[-4:]
        stem, _, extension = name.partition(".")
        if extension not in ("wav", "wav.wav") or official not in ("train", "test") or stem.startswith("sa"):
            continue
        part = official if official == "train" else "val" if speaker in VAL else "test" if speaker in TEST else ""
        if not part:
            continue
        beside = {path.name.lower(): path for path in sound.parent.iterdir()}
        if f"{stem}.phn" not in beside:
            raise DataError(sound, "", f"has no {stem.upper()}.PHN beside it", "Bring it back from the corpus.")
        yield Sentence(part, speaker, stem, sound, beside[f"{stem}.phn"])


def _sample(one: Sentence) -> dict[str, Any]:
    return {"__key__": _key(one), "wav": one.sound.read_bytes(), "txt": " ".join(_phones(one.phones)).encode()}


def _key(one: Sentence) -> str:
    return f"{one.speaker}/{one.name}"


def _phones(path: Path) -> list[str]:
    """The phones of lines such as "0 3050 h#": first sample, last sample, phone."""
    found = []
    for number, line in enumerate(path.read_text(encoding="ascii", errors="replace").splitlines(), 1):
        words = line.split()
        if len(words) != 3 or words[2] not in PHONES:
            raise DataError(path, "", f"line {number} is no phone: '{line[:40]}'", "Bring it back from the corpus.")
        found.append(words[2])
    return found
