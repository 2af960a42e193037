"""Numbers in words: which are held out, that the pairs are right, mistakes."""

from itertools import pairwise

import pytest
import torch
from num2words import num2words

from dltk.data.datamodule import DataModule
from dltk.data.number_names import RANGE, TRAINED, NumberNames
from dltk.errors import DataError
from dltk.layers.tokens import EOS, UNK

PAIRS = 600


def part(split: str, **settings: object) -> NumberNames:
    return NumberNames(split, **{"pairs": PAIRS, **settings})


def numbers(split: str) -> list[int]:
    return [int(key) for key in part(split).keys]


def test_ranges_are_held_out_whole_and_every_number_counts_once() -> None:
    splits = {split: numbers(split) for split in ("train", "val", "test")}
    every = [number for members in splits.values() for number in members]
    assert len(set(every)) == len(every) == PAIRS
    assert max(every) < 1_000_000
    ranges = {
        split: {number // RANGE for number in members if number >= TRAINED} for split, members in splits.items()
    }  # fmt: skip
    assert all(not ranges[one] & ranges[other] for one, other in pairwise(("train", "val", "test", "train")))
    assert min(splits["val"] + splits["test"]) >= TRAINED
    assert 0.6 < len(splits["train"]) / PAIRS < 0.8
    assert 0.15 < len(splits["test"]) / PAIRS < 0.25


def test_pairs_are_names_of_one_number_and_its_vocabularies_are_the_training_part_s() -> None:
    train, test = part("train"), part("test")
    assert [one.hash for one in train.vocabularies] == [one.hash for one in test.vocabularies]
    for at in (0, 7, len(test) - 1):
        one, number = test[at], int(test.keys[at])
        source, target = test.vocabularies
        assert one["source"][-1] == one["target"][-1] == EOS
        assert source.decode(one["source"].tolist()[:-1]) == num2words(number, lang="en")
        assert target.decode(one["target"].tolist()[:-1]) == one["reference"] == num2words(number, lang="fr")
        assert UNK not in one["source"].tolist()
        assert test.lengths[at].tolist() == [len(one["source"]), len(one["target"])]


def test_up_to_a_billion() -> None:
    test = part("test", below=1_000_000_000)
    assert 500_000_000 < max(int(key) for key in test.keys) < 1_000_000_000
    longest = test[int(test.lengths[:, 0].argmax())]
    assert " million, " in test.vocabularies[0].decode(longest["source"].tolist()[:-1])
    assert longest["reference"].count("million") == 1
    assert UNK not in longest["target"].tolist()


def test_other_languages_and_pieces() -> None:
    german = part("val", source="fr", target="de", tokens="bpe", source_vocab_size=80, target_vocab_size=80)
    assert german[0]["reference"] == num2words(int(german.keys[0]), lang="de")
    assert len(german.vocabularies[1]) <= 80


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "tlh"}, "num2words does not know the language 'tlh'. Use codes such as en, fr, de, es."),
        ({"pairs": 5}, "data.pairs: 5 of 1000000 numbers. Set 10 to 500000."),
        ({"target_vocab_size": 4}, "data.target_vocab_size: 4 tokens, of which four are special. Set at least 5."),
    ],
)
def test_mistakes(settings: dict[str, object], message: str) -> None:
    with pytest.raises(DataError) as caught:
        part("train", **settings)
    assert message in str(caught.value)


def test_workers_read_what_lies_in_memory_and_batches_by_tokens_have_a_mean_size() -> None:
    settings = {"pairs": PAIRS}
    batches = {}
    for workers in (0, 1):
        data = DataModule(NumberNames, settings, batch=64, tokens=512, seed=1, steps=3, whole_run=True)
        loader = data.train_loader(workers)
        batches[workers] = [(batch["info"].keys, batch["target"]) for batch in loader]
        loader.close()
    assert len(batches[0]) == 3
    for (keys, target), (same, again) in zip(batches[0], batches[1], strict=True):
        assert keys == same
        assert torch.equal(target, again)
    whole = [data.plan.bounds(0, number) for number in range(data.plan.steps(0))]
    assert data.samples_per_step == sum(stop - start for start, stop in whole) / len(whole) < 64
