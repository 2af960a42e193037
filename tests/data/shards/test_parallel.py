"""Parallel text in shards: what is read, learnt and kept in the set's folder, left out, and refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dltk.data.datamodule import DataModule
from dltk.data.pack import Settings, pack, pair
from dltk.data.shards import parallel
from dltk.data.shards.opened import OpenedShards
from dltk.data.shards.parallel import ParallelText
from dltk.data.shards.sets import read_set
from dltk.data.token_plan import TokenPlan
from dltk.data.vocabulary import Words, split_words
from dltk.errors import DataError
from dltk.layers import tokens

SETTINGS: dict[str, Any] = {"folder": "set", "lanes": 2, "window": 8}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A set of 120 pairs of one to twelve words, in shards of a few."""
    rng = np.random.default_rng(5)
    words = ["eins", "zwei", "drei", "vier", "fünf"]
    pairs = []
    for number in range(120):
        text = " ".join(rng.choice(words, rng.integers(1, 13)))
        pairs.append(pair(f"{number:04d}", text, text[::-1]))
    pack(pairs, tmp_path / "set", name="set", kind="text", settings=Settings(shard_bytes=30_000))
    return tmp_path


def part(place: Path, split: str, **settings: Any) -> ParallelText:
    return ParallelText(split, str(place), **{**SETTINGS, **settings})


def test_samples_are_the_texts_as_numbers(place: Path) -> None:
    train, test = part(place, "train"), part(place, "test")
    assert (len(train), len(part(place, "val")), len(test)) == (84, 12, 24)
    assert len(train.shard_sizes) > 1
    source, target = train.vocabularies
    for data in (train, test):
        for number in (0, len(data) - 1):
            one = data[number]
            text = source.decode(one["source"].tolist()[:-1])
            assert one["reference"] == text[::-1]
            assert one["source"][-1] == one["target"][-1] == tokens.EOS
            known = target.decode(one["target"].tolist()[:-1])
            assert known == one["reference"] or tokens.UNK in one["target"].tolist()
    assert [len(train[n]["source"]) for n in range(84)] == train.lengths[:, 0].tolist()
    assert [len(train[n]["target"]) for n in range(84)] == train.lengths[:, 1].tolist()


@pytest.mark.parametrize(
    ("said", "found"), [({}, None), ({"languages": ["eng", "fra"]}, ("eng", "fra")), ({"languages": "en-fr"}, None)]
)
def test_languages_are_those_that_the_set_says(place: Path, said: dict[str, Any], found: object) -> None:
    described = read_set(place / "set")
    described.about = said
    described.write(place / "set")
    assert part(place, "test").languages == found


def test_the_vocabulary_is_the_training_part_s_most_frequent_words(place: Path) -> None:
    test = part(place, "test", source_vocab_size=7)
    train = part(place, "train")
    texts = [train[n]["reference"][::-1] for n in range(len(train))]
    assert isinstance(test.vocabularies[0], Words)
    counts = {word: sum(split_words(text).count(word) for text in texts) for word in set(" ".join(texts).split())}
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    assert test.vocabularies[0].words == ranked[:3]


def test_vocabularies_and_lengths_are_kept_and_read_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = part(place, "train", tokens="bpe", source_vocab_size=30, target_vocab_size=30)
    lengths = first.lengths
    assert len(list((place / "set" / "vocabularies").iterdir())) == 3
    monkeypatch.setattr("dltk.data.shards.parallel.learn", None)
    again = part(place, "train", tokens="bpe", source_vocab_size=30, target_vocab_size=30)
    assert [one.hash for one in again.vocabularies] == [one.hash for one in first.vocabularies]
    monkeypatch.setattr(type(again.vocabularies[0]), "encode", None)
    assert (again.lengths == lengths).all()


def test_long_pairs_are_left_out_of_training_and_counted(place: Path) -> None:
    whole, short = part(place, "train"), part(place, "train", longest=8)
    fits = np.flatnonzero(whole.lengths.max(1) <= 8)
    assert 0 < len(fits) < 84
    assert len(short) == len(fits) == sum(short.shard_sizes)
    assert short.left_out == 84 - len(fits)
    assert list(short.keys) == [whole.keys[n] for n in fits.tolist()]
    assert [short[n]["reference"] for n in range(len(short))] == [whole[n]["reference"] for n in fits.tolist()]
    assert (short.lengths == whole.lengths[fits]).all()
    assert len(part(place, "test", longest=8)) == 24


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_of_an_epoch_hold_each_pair_once(place: Path, workers: int) -> None:
    data = DataModule(
        ParallelText, SETTINGS, data_dir=str(place), batch=16, tokens=90, seed=1, epochs=1, workers=workers
    )  # fmt: skip
    assert isinstance(data.plan, TokenPlan)
    keys = []
    for batch in data.train_dataloader():
        longest = max(batch["source"].shape[1], batch["target"].shape[1])
        assert len(batch["weight"]) * longest <= 90
        assert len(batch["weight"]) <= 16
        assert batch["info"].weight == tokens.real(batch["target"]).sum() == batch["info"].planned
        keys += batch["info"].keys
    assert sorted(keys) == sorted(data.part("train").keys)
    data.teardown("fit")


def test_a_damaged_pair_keeps_its_place_and_weighs_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = parallel._texts

    def broken(opened: OpenedShards, number: int) -> tuple[str, str]:
        if number == 3:
            raise DataError("", "", "is torn")
        return read(opened, number)

    monkeypatch.setattr(parallel, "_texts", broken)
    data = DataModule(ParallelText, SETTINGS, data_dir=str(place), batch=16, seed=1, epochs=1, max_bad=1)
    torn = data.part("train").keys[3]
    for batch in data.train_dataloader():
        if torn in batch["info"].keys:
            at = batch["info"].keys.index(torn)
            assert batch["weight"][at] == 0
            assert not batch["target"][at].any()
            assert batch["info"].planned - batch["info"].weight == data.part("train").lengths[3, 1] == 1
            return
    pytest.fail("the pair was not there")


def test_mistakes(place: Path) -> None:
    with pytest.raises(DataError, match="data_dir: is not set"):
        ParallelText("train", None, folder="set")
    with pytest.raises(DataError, match=r"data\.lanes: is less than 1"):
        part(place, "train", lanes=0)
    pack(
        [{"__key__": f"{n}", "txt": b"one side"} for n in range(20)], place / "one", name="one", kind="text"
    )  # fmt: skip
    with pytest.raises(DataError, match=r"has no src\.txt, only txt\. Pack parallel text"):
        part(place, "train", folder="one")
    part(place, "train")
    damaged = next((place / "set" / "vocabularies").glob("src-*.json"))
    damaged.write_text("[]")
    with pytest.raises(DataError, match="is no vocabulary"):
        part(place, "train")
