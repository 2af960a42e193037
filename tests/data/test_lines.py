"""Lines of words: phrases, cutting, the pairs of each line, and negatives."""

from pathlib import Path

import numpy as np
import pytest

from dltk.data import phrases
from dltk.data.hashing import hash_keys
from dltk.data.lines import Lines, cut
from dltk.data.skip_grams import Noise, keeping, skip_grams
from dltk.data.vocabulary import Phrases, from_plain
from dltk.errors import DataError
from dltk.layers.tokens import PAD

TEXT = ["The burnt offering of Aaron,", "a burnt offering!", "Burnt offering and sin offering.", "of Aaron; and of him"]


@pytest.fixture(name="root", scope="module")
def made_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("texts")
    (root / "small").mkdir()
    (root / "small" / "train.txt").write_text("".join(f"{line}\n" for line in [*TEXT, "...", *TEXT]))
    for part in ("val", "test"):
        (root / "small" / f"{part}.txt").write_text("of the unknown Aaron\n")
    return root


def of(root: Path, split: str = "train", **more: object) -> Lines:
    return Lines(split, str(root), folder="small", **{"min_count": 2, "vocab_size": 20, **more})


def test_phrases_are_pairs_that_stand_together_more_often_than_by_chance():
    lines = [line.lower().strip(",.!").split() for line in TEXT]
    # burnt occurs 3 times and offering 4, together 3 times, among 18 words: (3 - 1) * 18 / 12 = 3
    assert phrases.found(lines, phrases.Search(1, 2.9, 1)) == {"burnt_offering"}
    assert phrases.found(lines, phrases.Search(1, 3.1, 1)) == set()
    assert phrases.joined(["a", "b", "c"], {"a_b", "b_c"}) == ["a_b", "c"]
    assert phrases.joined(["a", "a", "a", "a_b"], {"a_a"}) == ["a_a", "a", "a_b"]


def test_lines_are_small_words_that_the_vocabulary_knows(root):
    part, plain = of(root, phrases=2, phrase_threshold=3.5, phrase_discount=1), of(root)
    assert plain.vocabulary.words[:3] == ["offering", "burnt", "of"]
    assert len(part) == 8  # a line of marks has no word
    first = part.batch(np.array([0, 1]))
    said = [part.vocabulary.decode(row[row != PAD]) for row in first["words"].numpy()]
    assert said == ["the burnt_offering of_aaron", "a burnt_offering"]
    assert "and_sin_offering" in part.vocabulary.words  # joined in two passes
    assert first["target"].tolist() == [len(one.split()) for one in said]
    assert part.lengths[:2, 0].tolist() == first["target"].tolist()
    assert int(part.counts.sum()) == int(part.lengths.sum())
    known = of(root, "val").batch(np.array([0]))["words"]
    assert plain.vocabulary.decode(known[0].numpy()) == "of the aaron"
    again = from_plain(part.vocabulary.to_plain())
    assert isinstance(again, Phrases)
    assert again.hash == part.vocabulary.hash
    assert again.encode("Burnt offering") == part.vocabulary.encode("burnt_offering")


def test_long_lines_are_cut_into_parts_of_about_one_length():
    starts, lengths = cut(np.array([0, 8, 9, 13]), 3)
    assert list(zip(starts.tolist(), lengths.tolist(), strict=True)) == [(1, 2), (3, 2), (5, 3), (10, 3)]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"min_count": 9}, r"train\.txt: has no word of those that occur 9 times"),
        ({"vocab_size": 5}, r"train\.txt: '\w+' is its only word, and a vector tells a word from others"),
        ({"min_count": 0}, "data.min_count: 0 is less than 1"),
        ({"vocab_size": 4}, "data.vocab_size: 4 tokens"),
        ({"longest": 1}, "data.longest: 1 is less than 2"),
    ],
)
def test_lines_that_cannot_be_made(root, settings, says):
    with pytest.raises(DataError, match=says):
        of(root, **settings)


def pairs_of(words: np.ndarray, hashes: np.ndarray, window: int, keep: np.ndarray | None = None) -> list[set]:
    """Of each line its pairs, as (middle word, word beside); words are all different."""
    found = skip_grams(words, hashes, window=window, keep=keep, seed=3, epoch=1)
    lines: list[set] = [set() for _ in words]
    for at, beside in zip(found.at.tolist(), found.beside.tolist(), strict=True):
        assert found.lines[at] == found.lines[beside]
        lines[found.lines[at]].add((int(found.words[at]), int(found.words[beside])))
    assert len(found.at) == sum(map(len, lines))
    return lines


def test_windows_are_whole_and_their_widths_uniform():
    count, length, window = 40, 50, 5
    words = 4 + np.arange(count * length).reshape(count, length)
    hashes = hash_keys(map(str, range(count)))
    widths = np.zeros(window + 1, int)
    for row, pairs in zip(words, pairs_of(words, hashes, window), strict=True):
        for at in range(window, length - window):
            beside = sorted(int(b) - int(row[at]) for a, b in pairs if a == row[at])
            reach = max(beside)
            assert beside == [step for step in range(-reach, reach + 1) if step]
            widths[reach] += 1
    assert widths[0] == 0
    assert widths[1:] == pytest.approx(widths.sum() / window, rel=0.15)


def test_a_line_s_pairs_do_not_depend_on_the_others():
    words = 4 + np.arange(60).reshape(3, 20)
    words[1, 12:] = PAD
    hashes = hash_keys("abc")
    keep = np.full(100, 0.6)
    whole = pairs_of(words, hashes, 4, keep)
    assert [pairs_of(words[at : at + 1], hashes[at : at + 1], 4, keep)[0] for at in range(3)] == whole
    assert pairs_of(words[1:2, :12], hashes[1:2], 4, keep)[0] == whole[1]
    one, other = (skip_grams(words[at:], hashes[at:], window=4, keep=keep, seed=3, epoch=1) for at in (0, 1))
    assert set(other.hashes.tolist()) < set(one.hashes.tolist())
    assert len(set(one.hashes.tolist())) == len(one.hashes)
    nothing = skip_grams(np.full((1, 3), PAD), hashes[:1], window=4, keep=None, seed=3, epoch=1)
    assert len(nothing.at) == len(nothing.words) == 0


def test_frequent_words_are_left_out_and_negatives_drawn_by_frequency():
    counts = np.array([0, 0, 0, 0, 900, 90, 9, 1])
    assert keeping(counts, 0.01)[4:] == pytest.approx([(0.01 / 0.9) ** 0.5, (0.01 / 0.09) ** 0.5, 1, 1])
    words = np.full((200, 50), 4)
    words[:, ::2] = 6
    kept = skip_grams(words, hash_keys(map(str, range(200))), window=2, keep=keeping(counts, 0.01), seed=0, epoch=0)
    assert (kept.words == 6).sum() == 5000
    assert (kept.words == 4).sum() == pytest.approx(5000 * (0.01 / 0.9) ** 0.5, rel=0.15)
    noise = Noise(counts)
    drawn = np.bincount(noise.draw(hash_keys(map(str, range(20_000))), 5).ravel(), minlength=8) / 100_000
    expected = counts**0.75 / (counts**0.75).sum()
    assert drawn == pytest.approx(expected, abs=0.006)
    assert not drawn[:4].any()
