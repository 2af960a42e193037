"""Text that goes on: its lanes, windows that count every token once, and texts that cannot be read."""

from pathlib import Path

import numpy as np
import pytest

from dltk.data.datamodule import DataModule
from dltk.data.loader import Reader, TrainLoader
from dltk.data.running_text import RunningText
from dltk.errors import DataError
from dltk.layers.tokens import EOS, PAD, UNK

LANES, UNROLL, CONTEXT = 4, 5, 3
CUT = {"lanes": LANES, "unroll": UNROLL, "context": CONTEXT, "vocab_size": 40}


@pytest.fixture(name="root", scope="module")
def made_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("texts")
    (root / "counted").mkdir()
    for part, count in (("train", 60), ("val", 13), ("test", 9)):
        lines = [" ".join(f"w{(7 * line + word) % 30}" for word in range(1 + line % 4)) for line in range(count)]
        (root / "counted" / f"{part}.txt").write_text("\n".join(lines) + "\n")
    return root


def part_of(root: Path, split: str, **more: object) -> RunningText:
    return RunningText(split, str(root), folder="counted", **{**CUT, **more})


def test_lanes_go_on_from_batch_to_batch(root):
    data = DataModule(RunningText, {"folder": "counted", **CUT}, batch=LANES, data_dir=str(root), epochs=1)
    part = data.part("train")
    loader = TrainLoader(Reader(part, [str(n) for n in range(len(part))], seed=0), data.plan)
    words, target, fresh = [], [], []
    for batch in loader:
        words.append(batch["words"])
        target.append(batch["target"])
        fresh.append(batch["fresh"].tolist())
    length = len(words) * UNROLL
    for lane in range(LANES):
        read = np.concatenate([one[lane] for one in words])
        assert (read == part.numbers[lane * length : (lane + 1) * length]).all()
        following = np.concatenate([one[lane] for one in target])
        assert (following == part.numbers[lane * length + 1 : (lane + 1) * length + 1]).all()
    assert fresh == [[1] * LANES] + [[0] * LANES] * (len(words) - 1)
    assert part.left_out == len(part.numbers) - 1 - LANES * length
    assert 0 <= part.left_out < LANES * UNROLL


@pytest.mark.parametrize("split", ["val", "test"])
def test_every_token_but_the_first_counts_once_and_is_read_in_its_context(root, split):
    part = part_of(root, split)
    batch = part.batch(np.arange(len(part)))
    counted = batch["target"] != PAD
    assert (batch["target"][counted].numpy() == part.numbers[1:]).all()
    assert batch["target"].shape == (len(part), UNROLL)
    assert batch["words"].shape == (len(part), CONTEXT + UNROLL)
    assert (batch["words"][0, :CONTEXT] == EOS).all()
    before = np.concatenate([np.full(CONTEXT, EOS), part.numbers])
    for number in range(len(part)):
        first = number * UNROLL
        read = batch["words"][number].numpy()[: len(before) - first]
        assert (read == before[first : first + CONTEXT + UNROLL]).all()
    assert bool(batch["fresh"].all())


def test_with_a_burn_in_windows_of_training_are_read_from_a_new_state_after_the_tokens_before_them(root):
    part, carried = part_of(root, "train", burn_in=3), part_of(root, "train")
    assert len(part) == len(carried)
    numbers = np.arange(len(part))
    batch, other = part.batch(numbers), carried.batch(numbers)
    assert (batch["target"] == other["target"]).all()
    assert (batch["words"][:, 3:] == other["words"]).all()
    assert bool(batch["fresh"].all())
    assert 0 < int(other["fresh"].sum()) == LANES < len(part)
    before = np.concatenate([np.full(3, EOS), part.numbers])
    for number in range(len(part)):
        assert (batch["words"][number, :3].numpy() == before[number * UNROLL : number * UNROLL + 3]).all()
    assert part_of(root, "train", burn_in=0).batch(numbers)["words"].shape == (len(part), UNROLL)
    assert len({one.index_hash for one in (part, carried, part_of(root, "train", burn_in=0))}) == 3


def test_characters_are_those_of_the_text_and_a_line_s_end_is_one(root):
    part = part_of(root, "val", tokens="characters")
    text = (root / "counted" / "val.txt").read_text()
    decoded = "".join("\n" if n == EOS else part.vocabulary.name(n) for n in part.numbers.tolist())
    assert decoded == text


def test_a_text_of_one_word_and_a_part_shorter_than_a_window_are_read(tmp_path):
    (tmp_path / "counted").mkdir()
    for part, text in (("train", "a a a a a\n" * 9), ("val", "a\n"), ("test", "b")):
        (tmp_path / "counted" / f"{part}.txt").write_text(text)
    train = part_of(tmp_path, "train", lanes=2)
    assert len(train.vocabulary) == 5
    assert train.batch(np.arange(2))["words"].shape == (2, UNROLL)
    assert part_of(tmp_path, "val")[0]["target"].tolist() == [EOS] + [PAD] * (UNROLL - 1)
    assert part_of(tmp_path, "test").numbers.tolist() == [UNK, EOS]
    assert part_of(tmp_path, "test").remarks == ["50 % of test's tokens unknown"]
    assert part_of(tmp_path, "val").remarks == []


def test_what_a_training_part_leaves_out_is_said(root):
    part = part_of(root, "train", unroll=7)
    assert part.remarks == [f"its last {part.left_out} tokens fill no windows"]


def test_a_mark_of_utf_8_before_a_text_is_none_of_its_tokens(root, tmp_path):
    (tmp_path / "counted").mkdir()
    for path in (root / "counted").glob("*.txt"):
        (tmp_path / "counted" / path.name).write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    marked = part_of(tmp_path, "train")
    assert marked.vocabulary.hash == part_of(root, "train").vocabulary.hash
    assert (marked.numbers == part_of(root, "train").numbers).all()


def test_what_was_worked_out_is_kept_and_follows_the_text(root, tmp_path):
    first = part_of(root, "train")
    again = part_of(root, "train")
    assert isinstance(again.numbers, np.memmap)
    assert (first.numbers == again.numbers).all()
    assert first.index_hash == again.index_hash != part_of(root, "train", unroll=6).index_hash
    (tmp_path / "counted").mkdir()
    for path in (root / "counted").glob("*.txt"):
        (tmp_path / "counted" / path.name).write_bytes(path.read_bytes())
    with (tmp_path / "counted" / "train.txt").open("a") as file:
        file.write("w1 w2\n")
    longer = part_of(tmp_path, "train")
    assert len(longer.numbers) == len(first.numbers) + 3
    assert longer.index_hash != first.index_hash


@pytest.mark.parametrize(
    ("data", "settings", "says"),
    [
        (None, {}, r"counted/train\.txt: data\.folder: is not there"),
        (b"", {}, r"train\.txt: is empty"),
        (b" \n\n", {}, r"train\.txt: is empty"),
        (b"one \xff two\n", {}, r"train\.txt: byte 4 is no UTF-8"),
        (b"one two three\n", {}, r"train\.txt: 4 tokens fill no window of 5 in each of 4 lanes"),
        (b"one two three\n", {"vocab_size": 4}, "data.vocab_size: 4 tokens, of which four are special"),
        (b"one two three\n", {"unroll": 0}, "data.unroll: 0 is less than 1"),
        (b"one two three\n", {"burn_in": -1}, "data.burn_in: -1 is less than 0"),
    ],
)
def test_texts_that_cannot_be_read(tmp_path, data, settings, says):
    (tmp_path / "counted").mkdir()
    if data is not None:
        (tmp_path / "counted" / "train.txt").write_bytes(data)
    with pytest.raises(DataError, match=says):
        part_of(tmp_path, "train", **settings)
