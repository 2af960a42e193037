"""Parallel text in WebDataset shards, as a data set of a recipe: `dltk data pack text`, `dltk data prepare`.

Vocabularies are learnt from the training part when they are first needed, and kept in the set's folder `vocabularies`
beside the numbers of tokens of its pairs, by which batches are cut.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from dltk.data.kept import FOLDER, keep, kept_vocabulary
from dltk.data.keys import Keys
from dltk.data.plan import Numbers
from dltk.data.sentences import Lengths, Vocabularies, require_size, sample
from dltk.data.shards.fields import decoded
from dltk.data.shards.opened import OpenedShards
from dltk.data.shards.sets import FILE, read_set
from dltk.data.vocabulary import SENTENCES, Vocabulary, learn
from dltk.errors import DataError, SourceError

SIDES = ("src.txt", "tgt.txt")  # source and target of a sample
MAX_TEXT = 1 << 20  # bytes of one side


class ParallelText:
    """One split of a set of shards whose samples are a sentence and its translation.

    Args:
        split: train, val or test.
        data_dir: where data lie on this machine.
        folder: the set's, under data_dir.
        tokens: kind of the vocabularies.
        source_vocab_size: tokens of the source's at most.
        target_vocab_size: tokens of the target's at most.
        longest: a pair with more tokens on a side, the end counted, is not trained on; null: all are.
        cache: folder on a local disk where shards of a slow source are kept; also for local ones if given.
        cache_gb: room that it may take, in units of 10^9 bytes.
        lanes: shards read at the same time.
        window: samples permuted together in a lane.
        allow_pipe: fetch by the commands (`pipe:`) that the index names.

    Raises:
        DataError: there is no such set or split, it holds no parallel text, or the cache cannot hold the lanes.
    """

    def __init__(
        self,
        split: str,
        data_dir: str | None = None,
        *,
        folder: str,
        tokens: Literal["words", "bpe", "unigram"] = "words",
        source_vocab_size: int = 30_000,
        target_vocab_size: int = 30_000,
        longest: int | None = None,
        cache: str | None = None,
        cache_gb: float = 200.0,
        lanes: int = 64,
        window: int = 4096,
        allow_pipe: bool = False,
    ) -> None:
        require_size("source_vocab_size", source_vocab_size)
        require_size("target_vocab_size", target_vocab_size)

        def opened(part: str) -> OpenedShards:
            order = {"lanes": lanes, "window": window}
            return OpenedShards(folder, part, data_dir, cache=cache, cache_gb=cache_gb, **order, allow_pipe=allow_pipe)

        self._opened = opened(split)
        self.index = self._opened.index
        self.index_hash, self.lanes, self.window = self.index.hash, lanes, window
        self.fetches = self._opened.cached
        train = self._opened if split == "train" else opened("train")
        self.vocabularies: Vocabularies = (
            _vocabulary(train, 0, tokens, source_vocab_size),
            _vocabulary(train, 1, tokens, target_vocab_size),
        )
        self._numbers: Numbers | None = None  # of the samples that are used, where some are not
        if longest is not None and split == "train":
            self._numbers = np.flatnonzero(self._all_lengths.max(1) <= longest)
        self.left_out = 0 if self._numbers is None else self.index.total - len(self._numbers)

    def __len__(self) -> int:
        return self.index.total if self._numbers is None else len(self._numbers)

    @property
    def shard_sizes(self) -> Numbers:
        """Samples of each shard that are used."""
        if self._numbers is None:
            return self.index.counts
        return np.bincount(self.index.locate(self._numbers)[0], minlength=len(self.index.counts)).astype(np.int64)

    @property
    def keys(self) -> Sequence[str]:
        """Names of the samples."""
        return self.index.keys if self._numbers is None else _Some(self.index.keys, self._numbers)

    @functools.cached_property
    def lengths(self) -> Lengths:
        """Tokens of source and target of each sample, their ends counted (n, 2)."""
        return self._all_lengths if self._numbers is None else self._all_lengths[self._numbers]

    @functools.cached_property
    def languages(self) -> tuple[str, str] | None:
        """Codes of source and target, where the set says them."""
        said = self._about.get("languages")
        return (str(said[0]), str(said[1])) if isinstance(said, list) and len(said) == 2 else None

    @property
    def contents(self) -> str | None:
        """sha256 of all pairs, however they are packed, where the set says it."""
        said = self._about.get("sha256")
        return None if said is None else str(said)

    @functools.cached_property
    def _about(self) -> Mapping[str, Any]:
        folder = self._opened.folder
        return read_set(folder).about if (folder / FILE).exists() else {}

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One pair: `source` and `target` int64 (s,) and (t,), `reference` the target's text."""
        return sample(*_texts(self._opened, self._lies(number)), self.vocabularies)

    def fetch_ahead(self, numbers: Numbers) -> None:
        """Have the shards of samples (b,) fetched into the cache while others are read."""
        self._opened.fetch_ahead(numbers if self._numbers is None else self._numbers[numbers])

    def _lies(self, number: int) -> int:
        return number if self._numbers is None else int(self._numbers[number])

    @functools.cached_property
    def _all_lengths(self) -> Lengths:
        names = "-".join(vocabulary.hash for vocabulary in self.vocabularies)
        path = self._opened.folder / FOLDER / f"lengths-{self.index_hash[:16]}-{names}.npy"
        if path.is_file():
            kept: Lengths = np.load(path, allow_pickle=False)
            if kept.shape == (self.index.total, 2):
                return kept
        counts = np.ones((self.index.total, 2), dtype=np.int32)  # of a damaged pair: as if it were empty
        for number, texts in _readable(self._opened, range(self.index.total)):
            counts[number] = [1 + len(one.encode(text)) for one, text in zip(self.vocabularies, texts, strict=True)]
        keep(path, lambda file: np.save(file, counts, allow_pickle=False))
        return counts


class _Some(Keys):
    """The keys of some samples."""

    def __init__(self, keys: Sequence[str], numbers: Numbers) -> None:
        self._keys, self._numbers = keys, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def key(self, at: int) -> str:
        """The key of the sample that is the next of them after `at`."""
        return self._keys[int(self._numbers[at])]


def _texts(opened: OpenedShards, number: int) -> tuple[str, str]:
    """A sentence and its translation."""
    fields = opened.reader.fields(number)
    texts = []
    for side in SIDES:
        if side not in fields:
            what = f"has no {side}, only {', '.join(fields) or 'nothing'}"
            raise DataError(opened.key(number), "", what, "Pack parallel text: `dltk data pack text`.")
        if len(fields[side]) > MAX_TEXT:
            raise DataError(opened.key(number), side, f"{len(fields[side]):,} bytes, {MAX_TEXT:,} are allowed")
        texts.append(str(decoded(side, fields[side])))
    return texts[0], texts[1]


def _readable(opened: OpenedShards, numbers: Iterable[int]) -> Iterator[tuple[int, tuple[str, str]]]:
    """The pairs that are not damaged, with their numbers; those that are will be counted when they are trained on.

    Raises:
        DataError: all of them are.
        SourceError: they cannot be reached.
    """
    found, damage = False, None
    for number in numbers:
        try:
            texts = _texts(opened, number)
        except SourceError:
            raise
        except DataError as error:
            damage = damage or error
            continue
        found = True
        yield number, texts
    if damage is not None and not found:
        raise damage


def _vocabulary(train: OpenedShards, side: int, kind: str, size: int) -> Vocabulary:
    """The vocabulary of one side: as it lies in the set's folder, or learnt from the training part."""
    name = f"{SIDES[side].partition('.')[0]}-{kind}-{size}-{train.index.hash[:16]}.json"
    path = train.folder / FOLDER / name
    numbers = range(train.index.total if kind == "words" else min(SENTENCES, train.index.total))
    return kept_vocabulary(path, lambda: learn(kind, (texts[side] for _, texts in _readable(train, numbers)), size))
