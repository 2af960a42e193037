"""BLEU of the papers by hand; BLEU of short and of long sentences."""

import itertools
import math
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU

from dltk.bleu import (
    LEAST,
    bleu_by_length,
    caption_scores,
    consensus_scores,
    length_ranges,
    moses_tokenised,
    plain_words,
    translation_scores,
)


def counted(ours: list[str], theirs: list[str]) -> float:
    """BLEU by its definition: clipped counts of one to four tokens, brevity penalty, no smoothing; in per cent."""
    logarithm = 0.0
    for n in range(1, 5):
        right = total = 0
        for one, other in zip(ours, theirs, strict=True):
            grams, wanted = (
                Counter(zip(*(text.split()[at:] for at in range(n)), strict=False)) for text in (one, other)
            )
            right += sum((grams & wanted).values())
            total += sum(grams.values())
        logarithm += math.log(right / total) / 4
    written, wanted_length = (sum(len(text.split()) for text in texts) for texts in (ours, theirs))
    return 100 * math.exp(min(0.0, 1 - wanted_length / written) + logarithm)


@pytest.mark.parametrize(
    ("ours", "theirs", "bleu"),
    [
        # 6 of 7 words, 4 of 6 pairs, 2 of 5, 1 of 4: the fourth root of 0.0571429.
        (["the cat sat on the mat ."], ["the cat is on the mat ."], 48.8923),
        # 6 of 6, 5 of 5, 4 of 4, 3 of 3, one word too short: exp(1 - 7 / 6).
        (["the cat is on the mat"], ["the cat is on the mat ."], 84.6482),
        # "The" is not "the": 6 of 7, 5 of 6, 4 of 5, 3 of 4.
        (["The cat is on the mat ."], ["the cat is on the mat ."], 80.9107),
    ],
)
def test_bleu_of_the_papers_by_hand(ours: list[str], theirs: list[str], bleu: float) -> None:
    scores, signatures = translation_scores(ours, theirs, "en")
    assert scores["bleu"] == pytest.approx(bleu, abs=1e-3)
    assert scores["bleu"] == pytest.approx(counted(ours, theirs))
    assert "|tok:none|smooth:none|" in signatures["bleu"]
    assert "|lang:en" in signatures["bleu"]


def test_bleu_of_the_papers_is_of_moses_tokens_and_of_a_corpus() -> None:
    written = ["L'eau n'est pas là.", "Il y a <unk> (deux) chats, non ?", "« Non », dit-il à 3.5 % près."]
    right = ["L'eau n'est plus là.", "Il y a trois (deux) chats, oui ?", "« Non », dit-elle à 3.5 % près."]
    split = ["L' eau n' est pas là .", "Il y a <unk> ( deux ) chats , non ?", "« Non » , dit-il à 3.5 % près ."]
    assert moses_tokenised(written, "fr") == split
    assert moses_tokenised(written[:1], "fra") == split[:1]
    assert moses_tokenised(written, None) == written
    scores, signatures = translation_scores(written, right, "fr")
    assert scores["bleu"] == pytest.approx(counted(split, moses_tokenised(right, "fr")))
    plain, other = translation_scores(written, right)
    assert scores["bleu"] != pytest.approx(plain["bleu"], abs=0.5)
    assert scores["chrf"] == plain["chrf"]
    assert signatures["chrf"] == other["chrf"]


def test_bleu_of_the_papers_has_no_smoothing() -> None:
    assert translation_scores(["a b c x e f g"], ["a b c d e f g"], "en")[0]["bleu"] == 0
    assert translation_scores(["a b c x e f g"], ["a b c d e f g"])[0]["bleu"] > 0


@given(st.lists(st.integers(0, 300), max_size=400), st.integers(1, 60))
def test_ranges_hold_all_lengths_once_and_enough_of_them(lengths: list[int], least: int) -> None:
    ranges = length_ranges(lengths, least)
    held = [sum(low <= length <= high for length in lengths) for low, high in ranges]
    assert sum(held) == len(lengths)
    assert all(one[1] + 1 == other[0] for one, other in itertools.pairwise(ranges))
    assert len(ranges) == 1 or not lengths or min(held) >= least
    assert len(ranges) <= 10 + 0.05 * len(lengths) + 1


def test_ranges_are_as_wide_as_people_count() -> None:
    assert length_ranges([*range(1, 51)] * 40) == [(low, low + 4) for low in range(1, 50, 5)]
    assert length_ranges([3] * 29) == [(3, 3)]
    assert length_ranges([1, 2, 3] * 40 + [250]) == [(1, 1), (2, 2), (3, 250)]
    assert length_ranges([]) == []


def test_bleu_of_a_range_is_that_of_its_own_sentences() -> None:
    short, long = "the cat sat on it", "a dog and a cat sat on the mat of the house"
    wrong = "the cat sat down"
    lengths = [5] * LEAST + [12] * LEAST + [1] * LEAST
    hypotheses = [wrong, *[short] * (LEAST - 1), *[long] * LEAST, *["one"] * LEAST]
    references = [short] * LEAST + [long] * LEAST + ["one"] * LEAST
    exact = [ours == theirs for ours, theirs in zip(hypotheses, references, strict=True)]
    one, five, twelve = bleu_by_length(lengths, hypotheses, references, exact)
    assert (one["from"], one["to"], one["samples"], one["bleu"], one["exact_match"]) == (1, 2, LEAST, None, 100.0)
    assert five["bleu"] == BLEU().corpus_score(hypotheses[:LEAST], [references[:LEAST]]).score < 100
    assert five["exact_match"] == pytest.approx(100 * (LEAST - 1) / LEAST)
    assert (twelve["to"], twelve["bleu"]) == (12, pytest.approx(100))


def counted_of_captions(ours: list[str], theirs: list[list[str]], orders: int) -> float:
    """BLEU-n of several references by its definition: counts clipped by the reference that has most, closest length."""
    logarithm, length, wanted_length = 0.0, 0, 0
    for n in range(1, orders + 1):
        right = total = 0
        for one, some in zip(ours, theirs, strict=True):
            grams, *wanted = (
                Counter(zip(*(text.split()[at:] for at in range(n)), strict=False)) for text in (one, *some)
            )
            most = Counter({gram: max(other[gram] for other in wanted) for gram in grams})
            right += sum((grams & most).values())
            total += sum(grams.values())
        if not right:
            return 0.0
        logarithm += math.log(right / total) / orders
    for one, some in zip(ours, theirs, strict=True):
        own = len(one.split())
        length += own
        wanted_length += min((abs(len(other.split()) - own), len(other.split())) for other in some)[1]
    return 100 * math.exp(logarithm + min(0.0, 1 - wanted_length / length))


WORDS = st.lists(st.sampled_from(["a", "dog", "runs", "on", "grass"]), min_size=1, max_size=7).map(" ".join)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=5))
def test_bleu_of_captions_is_that_of_its_definition(rows: list[tuple[str, list[str]]]) -> None:
    ours, theirs = [one for one, _ in rows], [some for _, some in rows]
    scores, signatures = caption_scores(ours, theirs)
    for n in range(1, 5):
        assert scores[f"bleu{n}"] == pytest.approx(counted_of_captions(ours, theirs, n), abs=1e-6)
    assert set(signatures) == set(scores)


def test_words_of_captions_are_small_and_without_marks() -> None:
    assert plain_words('A dog\'s ball , 3.5 m -- "there" !') == "a dog's ball 3 5 m there"
    assert plain_words("<unk> of it") == "<unk> of it"
    assert plain_words(" ... ") == ""
    scores, _ = caption_scores(["A dog runs."], [["a dog runs", "it runs"]])
    assert scores["bleu3"] == pytest.approx(100)


def test_cider() -> None:
    theirs = [["a dog runs on grass", "a brown dog runs"], ["two cats sleep"], ["a bird"]]
    scores, signatures = consensus_scores(["a dog runs on grass", "two cats sleep", ""], theirs)
    other, _ = consensus_scores(["a cat sleeps", "dogs on grass", "a"], theirs)
    assert scores["cider"] > other["cider"] >= 0
    assert set(signatures) == {"cider"}


def test_without_its_package_cider_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocoevalcap.cider.cider", None)
    assert consensus_scores(["a"], [["a"]]) == ({}, {})
