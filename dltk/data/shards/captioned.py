"""Pictures and what people say of them, in WebDataset shards: `dltk data prepare flickr8k` and the like.

A sample of a shard is a picture and `captions.txt`, a caption a line. To train, each caption is a sample with its
picture; to validate and to test, each picture is one with all its captions. Words are small letters without marks, as
the papers on captions count them. Captions and the vocabulary are read from the shards when they are first needed, and
kept in the set's folder `vocabularies`.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dltk.bleu import plain_words
from dltk.data.decode import MAX_PIXELS
from dltk.data.kept import FOLDER, keep, kept_vocabulary
from dltk.data.keys import Keys
from dltk.data.loader import collate
from dltk.data.pictures import NOTHING, Pictures
from dltk.data.plan import Numbers
from dltk.data.sentences import Lengths, require_size
from dltk.data.shards.dataset import encoded_picture
from dltk.data.shards.fields import decoded
from dltk.data.shards.opened import OpenedShards
from dltk.data.views import Frame, View, require_sides
from dltk.data.vocabulary import learn
from dltk.errors import DataError, SourceError
from dltk.layers.tokens import EOS

# Shapes: n samples, p pictures, t words of a caption, s rows and columns of an image.

CAPTIONS = "captions.txt"
MAX_TEXT = 1 << 20  # bytes of a picture's captions


class CaptionedPictures(Pictures):
    """One split of a set of shards that hold pictures and captions.

    Args:
        split: train, val or test.
        data_dir: where data lie on this machine.
        folder: the set's, under data_dir.
        image_size: rows and columns that the network reads.
        resize: shorter side, of which the middle is cut; default: 256 for each 224 of image_size.
        vocab_size: words at most, the four special tokens among them; the most frequent ones.
        lanes: shards read at the same time.
        window: samples permuted together in a lane.
        max_pixels: a picture with more is not decoded, and counts as damaged.

    Raises:
        DataError: there is no such set or split, or it holds no captions.
    """

    def __init__(
        self,
        split: str,
        data_dir: str | None = None,
        *,
        folder: str,
        image_size: int = 224,
        resize: int | None = None,
        vocab_size: int = 10_000,
        lanes: int = 64,
        window: int = 4096,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        resize = round(image_size * 256 / 224) if resize is None else resize
        require_sides(image_size, resize)
        require_size("vocab_size", vocab_size)
        self.lanes, self.window = lanes, window
        self.frame = Frame(image_size, resize, 3, max_pixels)
        here = {"cache": None, "cache_gb": 0.0, "lanes": lanes, "window": window, "allow_pipe": False}
        self._opened = OpenedShards(folder, split, data_dir, **here)  # type: ignore[arg-type]
        self.index = self._opened.index
        self.index_hash = self.index.hash
        self._captions = captions_of(self._opened)
        train = self._opened
        if split != "train":
            train = OpenedShards(folder, "train", data_dir, **here)  # type: ignore[arg-type]
        path = train.folder / FOLDER / f"captions-words-{vocab_size}-{train.index.hash[:16]}.json"
        texts = self._captions if split == "train" else captions_of(train)
        self.vocabulary = kept_vocabulary(
            path, lambda: learn("words", (one for some in texts for one in some), vocab_size)
        )
        each = [max(1, len(some)) if split == "train" else 1 for some in self._captions]
        self._picture: Numbers = np.repeat(np.arange(len(each)), each)  # (n,)
        self._first: Numbers = np.cumsum([0, *each])[:-1]  # (p,) the first sample of each
        self.keys: Sequence[str] = (
            _Keys(self.index.keys, self._picture, self._first) if split == "train" else (self.index.keys)
        )
        self.shard_sizes: Numbers = np.bincount(
            self.index.locate(self._picture)[0], minlength=len(self.index.counts)
        ).astype(np.int64)
        self.lengths: Lengths = np.array(
            [[1 + len(self.vocabulary.encode(text))] for text in map(self._text, range(len(self)))], np.int32
        )

    def __len__(self) -> int:
        return len(self._picture)

    def key(self, number: int) -> str:
        """Shard and key of a sample."""
        return self._opened.key(int(self._picture[number]))

    def sample(self, number: int, view: View | None = None, drawn: NDArray[np.float64] = NOTHING) -> dict[str, Any]:
        """One sample.

        `image` uint8 (3, s, s), or as the view gives it; `target` int64 (t,), a caption's words and its end;
        `references` all captions of the picture.

        Raises:
            DataError: the picture cannot be read, or has no caption with words.
        """
        picture = int(self._picture[number])
        captions = self._captions[picture]
        if not captions:
            raise DataError(self.key(number), CAPTIONS, "has no caption with words")
        try:
            image = self.cut(encoded_picture(self._opened.reader.fields(picture)), view, drawn)
        except DataError as error:
            if error.where:
                raise
            raise DataError(self.key(number), error.key, error.what, error.remedy) from None
        target = np.array([*self.vocabulary.encode(self._text(number)), EOS])
        return {"image": image, "target": target, "references": list(captions)}

    def batch(
        self, numbers: Numbers, view: View | None = None, drawn: NDArray[np.float64] | None = None
    ) -> dict[str, Any]:
        """Many samples, read in the order in which they lie.

        Raises:
            DataError: of the first that is damaged.
        """
        found: dict[int, dict[str, Any]] = {}
        for at in self._opened.reader.order(self._picture[numbers]).tolist():
            found[at] = self.sample(int(numbers[at]), view, NOTHING if drawn is None else drawn[at])
        return collate([found[at] for at in range(len(numbers))])

    def _text(self, number: int) -> str:
        """The caption of a sample; the first of a picture that has several; of a damaged one nothing."""
        picture = int(self._picture[number])
        captions = self._captions[picture]
        return captions[number - int(self._first[picture])] if captions else ""


class _Keys(Keys):
    """Keys of captions: their picture's, and their number among its captions."""

    def __init__(self, keys: Sequence[str], picture: Numbers, first: Numbers) -> None:
        self._keys, self._picture, self._first = keys, picture, first

    def __len__(self) -> int:
        return len(self._picture)

    def key(self, at: int) -> str:
        """The key of a caption."""
        picture = int(self._picture[at])
        return f"{self._keys[picture]}#{at - int(self._first[picture])}"


def captions_of(opened: OpenedShards) -> list[list[str]]:
    """The captions of each picture of a split, plain; none where they cannot be read.

    Raises:
        DataError: no picture has any.
        SourceError: the shards cannot be reached.
    """
    path = opened.folder / FOLDER / f"captions-{opened.index.hash[:16]}.json"
    if path.is_file():
        kept: list[list[str]] = json.loads(path.read_text(encoding="utf-8"))
        if len(kept) == opened.index.total:
            return kept
    found: list[list[str]] = []
    damage: DataError | None = None
    for number in range(opened.index.total):
        try:
            found.append(_read(opened, number))
        except SourceError:
            raise
        except DataError as error:
            damage = damage or error
            found.append([])
    if not any(found):
        what, remedy = "no picture has a caption with words", "Make the set by `dltk data prepare flickr8k`."
        raise damage or DataError(opened.folder, CAPTIONS, what, remedy)
    keep(path, lambda file: file.write(json.dumps(found, ensure_ascii=False).encode()))
    return found


def _read(opened: OpenedShards, number: int) -> list[str]:
    fields = opened.reader.fields(number)
    if CAPTIONS not in fields:
        what = f"has no {CAPTIONS}, only {', '.join(fields) or 'nothing'}"
        raise DataError(opened.key(number), "", what, "Make the set by `dltk data prepare flickr8k`.")
    if len(fields[CAPTIONS]) > MAX_TEXT:
        what = f"{len(fields[CAPTIONS]):,} bytes, {MAX_TEXT:,} are allowed"
        raise DataError(opened.key(number), CAPTIONS, what)
    plain = map(plain_words, str(decoded(CAPTIONS, fields[CAPTIONS])).split("\n"))
    return [text for text in plain if text]
