"""Dictionaries of word pairs: the likeliest translations first, and every bad line named."""

from pathlib import Path

import pytest

from dltk.cli.unknown import numbered
from dltk.data.dictionary import read
from dltk.data.vocabulary import Words
from dltk.errors import DataError


def test_the_likeliest_translations_come_first(tmp_path: Path) -> None:
    path = tmp_path / "d"
    path.write_text("a x -3\nb y\t0.5\na z -0.5\na w -1e2\na é -1\n")
    assert read(path, 3) == {"a": ["z", "é", "x"], "b": ["y"]}
    assert read(path, 1) == {"a": ["z"], "b": ["y"]}


@pytest.mark.parametrize("line", ["a b", "a b c", "a b 1 2", "", "a b nan"])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "d"
    path.write_text(f"a x -3\n{line}\n")
    with pytest.raises(DataError, match=f"d:2: '{line}' is no source word, target word and number. Write the three"):
        read(path, 3)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d"
    path.write_bytes(b"a \xff 1\n")
    with pytest.raises(DataError, match="is not UTF-8"):
        read(path, 3)


def test_words_that_a_vocabulary_lacks_have_no_candidates() -> None:
    source, target = Words(["a", "b", "c"]), Words(["x", "y", "z"])
    known = {"a": ["z", "unheard", "x"], "unheard": ["y"], "b": ["unheard"], "c d": ["y"]}
    assert numbered(known, source, target) == {4: [6, 4], 5: []}
