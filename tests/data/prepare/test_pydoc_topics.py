"""Python's own topics as running text: nothing twice, parts that do not depend on one another."""

import builtins
from pathlib import Path

import pytest

from dltk.data.pack import Settings
from dltk.data.prepare import Origin, pydoc_topics
from dltk.errors import DataError
from tests.data.prepare.conftest import quiet


def topic(name: str, paragraphs: int) -> str:
    return "\n\n".join(f"Title of {name}\n=====\n" + f"Of {name}, {n}.\n" * 40 for n in range(paragraphs)) + "\n"


TOPICS = {name: topic(name, 12) for name in ("lambda", "calls", "types", "with", "yield", "while", "import")}


def test_a_paragraph_that_several_topics_have_is_kept_once():
    whole = {**TOPICS, "all": "Of all.\n\n" + TOPICS["types"] + "\n\nThe end of all.\n\n\n"}
    kept = [paragraph for _, piece in pydoc_topics.pieces(whole) for paragraph in piece]
    assert len(kept) == len(set(kept))
    every = {one.strip("\n") for text in whole.values() for one in text.split("\n\n")} - {""}
    assert set(kept) == every
    names = [name for name, _ in pydoc_topics.pieces(whole)]
    assert len(names) == len(set(names))
    assert names[:4] == ["all-0", "all-1", "all-2", "all-3"]
    assert not any(name.startswith("types-") for name in names)  # all of it came with `all`


def test_parts_hold_pieces_whole_and_in_order():
    found = pydoc_topics.parts(TOPICS)
    assert list(found) == ["train", "val", "test"]
    for name, piece in pydoc_topics.pieces(TOPICS):
        text = "".join(f"{paragraph}\n\n" for paragraph in piece)
        assert sum(text in part for part in found.values()) == 1, name
    for part in found.values():
        places = [part.index(paragraph) for paragraph in part.split("\n\n") if paragraph]
        assert places == sorted(places)
    more = pydoc_topics.parts({**TOPICS, "zebra": topic("zebra", 12)})
    assert all(more[part].startswith(text) for part, text in found.items())


def test_the_set_is_made_of_this_python(tmp_path: Path):
    packing = pydoc_topics.prepare(Origin(), tmp_path / "to", Settings(), quiet)
    sizes = {part: len((tmp_path / "to" / f"{part}.txt").read_text()) for part in ("train", "val", "test")}
    assert sum(sizes.values()) > 200_000
    assert sizes["train"] > 5 * max(sizes["val"], sizes["test"]) > 5 * 10_000
    assert packing.samples["train"] == (tmp_path / "to" / "train.txt").read_text().count("\n")
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == ["test.txt", "train.txt", "val.txt"]


def test_a_python_without_topics_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    imported = builtins.__import__

    def without(name, *more):
        if name.startswith("pydoc_data"):
            raise ImportError(name)
        return imported(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"pydoc_data: did not come with this Python\. Install its"):
        pydoc_topics.prepare(Origin(), tmp_path, Settings(), quiet)
