"""Transcripts as labels."""

import pytest

from dltk.data.labels import FOLDED, LETTERS, NAMES, PHONES, labels
from dltk.errors import DataError


def written(numbers: list[int], kind: str) -> list[str]:
    return [NAMES[kind][number - 1] for number in numbers]


def test_letters_are_small_and_marks_part_words() -> None:
    assert (
        "".join(written(labels(" You're  at: exclamation-point! ", "letters"), "letters"))
        == ("you're at exclamation point ").strip()
    )
    assert len(LETTERS) == 28


def test_phones_are_61_and_39_when_they_are_folded() -> None:
    assert len(PHONES) == len(set(PHONES)) == 61
    folded = {FOLDED.get(name, name) for name in PHONES} - {""}
    assert len(folded) == 39
    assert all(FOLDED.get(name, name) == name for name in folded)  # none is folded twice
    assert FOLDED["ix"] == "ih"
    assert FOLDED["q"] == ""
    assert {FOLDED[name] for name in ("pau", "epi", "bcl", "kcl")} == {"h#"}
    assert written(labels("h# sh ix hv eh dcl", "phones"), "phones") == "h# sh ix hv eh dcl".split()


@pytest.mark.parametrize(
    ("transcript", "kind", "says"),
    [
        ("press 1", "letters", "has the digit 1. Write numbers out."),
        (" ...", "letters", "has nothing to transcribe"),
        ("h# xx", "phones", "'xx' is none of TIMIT's phones"),
    ],
)
def test_what_is_refused(transcript: str, kind: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        labels(transcript, kind)
