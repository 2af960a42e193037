"""Vocabularies: text and back, the most frequent words, pieces, and what is kept of them."""

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dltk.data.vocabulary import Pieces, Vocabulary, Words, from_plain, join_words, learn, split_words
from dltk.errors import DataError
from dltk.layers.tokens import BOS, EOS, PAD, UNK

TEXTS = ["the cat sat on the mat", "the dog sat, too", "l'eau n'est pas là (pas ici)!", "the end ... 3.5 %"] * 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("l'eau, 3.5", ["l", "￭'￭", "eau", "￭,", "3", "￭.￭", "5"]),
        ("(ok)...", ["(￭", "ok", "￭)", "￭.", "￭.", "￭."]),
        ("a -- b", ["a", "-", "￭-", "b"]),
        ("vingt-et-un", ["vingt", "￭-￭", "et", "￭-￭", "un"]),
        ("", []),
        ("_x été 漢字", ["_x", "été", "漢字"]),
    ],
)
def test_marks_of_punctuation_say_what_they_touch(text: str, words: list[str]) -> None:
    assert split_words(text) == words
    assert join_words(words) == text


@given(st.text(alphabet="ab é'’,.-()«»\t  ", max_size=40))
def test_text_comes_back_but_for_its_spaces(text: str) -> None:
    assert join_words(split_words(text)) == " ".join(text.split())


def test_the_most_frequent_words_are_kept_and_the_rest_is_unknown() -> None:
    words = Words.learn(["b b a", "c a b", "d c"], 6)
    assert words.words == ["b", "a"]  # b thrice; a and c twice, a first in the alphabet
    assert len(words) == 6
    assert words.encode("a d b") == [5, UNK, 4]
    assert words.decode([5, UNK, 4]) == "a <unk> b"


def test_a_vocabulary_does_not_depend_on_the_order_of_the_texts() -> None:
    assert Words.learn(TEXTS, 12).words == Words.learn(TEXTS[::-1], 12).words


@pytest.mark.parametrize("kind", ["words", "bpe", "unigram"])
def test_special_tokens_round_trip_and_hash(kind: str) -> None:
    vocabulary = learn(kind, TEXTS, 48)
    assert 4 < len(vocabulary) <= 48
    for text in TEXTS[:4]:
        numbers = vocabulary.encode(text)
        assert not {PAD, BOS, EOS} & set(numbers)
        assert max(numbers) < len(vocabulary)
        assert vocabulary.decode(numbers) == text or UNK in numbers
    again: list[Vocabulary] = [
        from_plain(json.loads(json.dumps(vocabulary.to_plain()))), pickle.loads(pickle.dumps(vocabulary))
    ]  # fmt: skip
    for other in again:
        assert other.hash == vocabulary.hash
        assert other.encode(TEXTS[2]) == vocabulary.encode(TEXTS[2])
    assert vocabulary.decode([numbers[0], len(vocabulary) + 3]) != vocabulary.decode([numbers[0]])
    assert learn(kind, TEXTS[1:2], 24).hash != vocabulary.hash


def test_tokens_are_shown_alone() -> None:
    words = Words.learn(["l'eau"], 9)
    assert [words.name(number) for number in (EOS, *words.encode("l'eau"), 99)] == ["</s>", "l", "'", "eau", "<unk>"]
    pieces = learn("bpe", TEXTS, 60)
    shown = [pieces.name(number) for number in pieces.encode("the cat")]
    assert "".join(shown) == "▁the▁cat"
    assert pieces.name(len(pieces)) == "<unk>"


def test_pieces_are_learnt_the_same_again() -> None:
    assert Pieces.learn("bpe", TEXTS, 40).hash == Pieces.learn("bpe", TEXTS, 40).hash


def test_mistakes() -> None:
    for plain in ({}, {"kind": "words"}, {"kind": "bpe", "model": "bm9uZQ=="}):
        with pytest.raises(DataError, match="vocabulary: is damaged"):
            from_plain(plain)
    with pytest.raises(DataError, match="6 bpe pieces cannot be learnt"):
        learn("bpe", TEXTS, 6)


def test_tokens_between_spaces_stay_as_they_stand_and_their_unknown_word_is_ours() -> None:
    vocabulary = learn("spaced", [" the u.s. <unk> n't ", "the @-@ <unk> <unk>"], 40)
    assert len(vocabulary) == 4 + len({"the", "u.s.", "n't", "@-@"})
    assert vocabulary.decode(vocabulary.encode("n't  <unk> new u.s.")) == "n't <unk> <unk> u.s."
    assert vocabulary.encode("<unk> the") == [UNK, 4]
    again = from_plain(json.loads(json.dumps(vocabulary.to_plain())))
    assert again.hash == vocabulary.hash
    assert again.encode("u.s. @-@") == vocabulary.encode("u.s. @-@")
    characters = learn("characters", ["ab"], 40)
    assert characters.hash != learn("spaced", ["a b"], 40).hash


@given(st.text(max_size=20))
def test_bytes_come_back_and_there_are_256(text: str) -> None:
    vocabulary = learn("bytes", [], 300)
    numbers = vocabulary.encode(text)
    assert vocabulary.decode(numbers) == text
    assert [number - 4 for number in numbers] == list(text.encode())
    assert len(vocabulary) == 260


def test_bytes_that_are_no_text() -> None:
    vocabulary = learn("bytes", [], 260)
    assert [vocabulary.name(number) for number in (4 + 0x41, 4 + 0xC5, UNK, 260)] == ["A", "c5", "<unk>", "<unk>"]
    assert vocabulary.decode([4 + 0xC5, 4 + 0x41, UNK, 999]) == "\ufffdA\ufffd\ufffd"
    assert from_plain(json.loads(json.dumps(vocabulary.to_plain()))).hash == vocabulary.hash
    with pytest.raises(DataError, match=r"data\.vocab_size: 100 tokens, and there are 256 bytes .* Set 260\."):
        learn("bytes", [], 100)
