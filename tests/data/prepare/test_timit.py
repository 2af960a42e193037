"""TIMIT, from small files of its form: which speakers and sentences are used, and what they say."""

import io
from pathlib import Path

import numpy as np
import pytest

from dltk.data.pack import Settings
from dltk.data.prepare import Origin, timit
from dltk.data.shards.recordings import Recordings
from dltk.data.shards.sets import read_set
from dltk.errors import DataError
from tests.data.prepare.conftest import quiet, samples

PHONES = "0 900 h#\n900 1700 sh\n1700 2400 ix\n2400 3200 q\n"


def sphere(count: int = 3200) -> bytes:
    """A recording as LDC has it: a header of 1,024 bytes, and numbers of 16 bits."""
    about = {
        "sample_count": count,
        "sample_rate": 16_000,
        "channel_count": 1,
        "sample_n_bytes": 2,
        "sample_sig_bits": 16,
    }
    lines = [f"{name} -i {value}" for name, value in about.items()]
    text = "\n".join(
        ["NIST_1A", "   1024", *lines, "sample_byte_format -s2 01", "sample_coding -s3 pcm", "end_head", ""]
    )
    numbers = np.random.default_rng(0).integers(-3000, 3000, count).astype("<i2")
    return text.encode().ljust(1024) + numbers.tobytes()


def corpus(folder: Path, *, small: bool = False, phones: str = PHONES) -> Path:
    """Two speakers of the training part, one that chooses, one that tests, and one that is in neither."""
    speakers = [("TRAIN", "FCJF0"), ("TRAIN", "MDAC0"), ("TEST", "FAKS0"), ("TEST", "MDAB0"), ("TEST", "FDRD1")]
    for official, speaker in speakers:
        for name in ("SA1", "SI1027", "SX37"):
            for ending, data in ((".WAV", sphere()), (".PHN", phones.encode()), (".TXT", b"0 1 She had.\n")):
                path = folder / official / "DR1" / speaker / f"{name}{ending}"
                path = folder / str(path.relative_to(folder)).lower() if small else path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
    return folder


@pytest.mark.parametrize("small", [False, True])
def test_speakers_lie_in_their_parts_without_what_all_read(tmp_path: Path, small: bool) -> None:
    to = tmp_path / "timit"
    made = timit.prepare(Origin(folder=corpus(tmp_path / "files", small=small)), to, Settings(), quiet)
    assert made.samples == {"train": 4, "val": 2, "test": 2}
    found = {part: samples(to, part) for part in ("train", "val", "test")}
    assert set(found["train"]) == {f"{speaker}/{name}" for speaker in ("fcjf0", "mdac0") for name in ("si1027", "sx37")}
    assert set(found["val"]) == {"faks0/si1027", "faks0/sx37"}
    assert set(found["test"]) == {"mdab0/si1027", "mdab0/sx37"}
    assert found["test"]["mdab0/sx37"] == {"wav": sphere(), "txt": b"h# sh ix q"}
    assert read_set(to).about["speakers"] == {"train": 2, "val": 1, "test": 1}


def test_a_recording_that_is_there_twice_is_packed_once(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "files")
    for path in sorted(folder.rglob("*.WAV")):
        path.with_name(f"{path.name}.wav").write_bytes(path.read_bytes())
    made = timit.prepare(Origin(folder=folder), tmp_path / "timit", Settings(), quiet)
    assert made.samples == {"train": 4, "val": 2, "test": 2}


def test_its_recordings_are_read_as_a_recipe_reads_them(tmp_path: Path) -> None:
    timit.prepare(Origin(folder=corpus(tmp_path / "files")), tmp_path / "timit", Settings(), quiet)
    part = Recordings("train", str(tmp_path), folder="timit", labels="phones")
    sample = part[0]
    assert sample["frames"].shape == (18, 123)
    assert [part.classes[label - 1] for label in sample["target"]] == ["h#", "sh", "ix", "q"]
    assert len(part.classes) == 61
    assert part.folded["ix"] == "ih"
    assert io.BytesIO(sphere()).read(7) == b"NIST_1A"


def test_the_lists_of_speakers() -> None:
    assert len(timit.VAL) == 50
    assert len(timit.TEST) == 24
    assert not timit.VAL & timit.TEST
    assert sum(name.startswith("f") for name in timit.TEST) == 8  # a woman and two men of each dialect


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--source: is no folder. Give --source with the folder that holds TRAIN"):
        timit.prepare(Origin(), tmp_path / "to", Settings(), quiet)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no sentence for train, val, test"):
        timit.prepare(Origin(folder=tmp_path / "empty"), tmp_path / "to", Settings(), quiet)
    with pytest.raises(DataError, match="line 1 is no phone: '0 3 xx'"):
        timit.prepare(
            Origin(folder=corpus(tmp_path / "odd", phones="0 3 xx\n")), tmp_path / "odd_set", Settings(), quiet
        )
    next(iter((tmp_path / "odd").rglob("SI1027.PHN"))).unlink()
    with pytest.raises(DataError, match=r"SI1027\.WAV: has no SI1027\.PHN beside it"):
        timit.prepare(Origin(folder=tmp_path / "odd"), tmp_path / "third", Settings(), quiet)
