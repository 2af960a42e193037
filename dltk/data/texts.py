"""A set of text that goes on: a folder with `train.txt`, `val.txt` and `test.txt` in UTF-8, a line a sentence.

Its tokens are kept in the set's folder, beside the vocabulary by which they are numbered.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dltk.data.kept import FOLDER, keep, kept_vocabulary
from dltk.data.shards.source import hash_of
from dltk.data.splits import SPLITS
from dltk.data.vocabulary import Vocabulary
from dltk.errors import DataError
from dltk.layers.tokens import EOS

# Shapes: n tokens of a part.

Tokens = NDArray[np.int32]


class Text:
    """One part of a set.

    Args:
        split: train, val or test.
        data_dir: where data lie on this machine.
        folder: the set's folder there.

    Raises:
        DataError: its place is not known, or a file is missing, empty or no UTF-8.
    """

    def __init__(self, split: str, data_dir: str | None, folder: str) -> None:
        if data_dir is None:
            what = "is not set"
            raise DataError("", "data_dir", what, f"Set data_dir=FOLDER or DLTK_DATA to where '{folder}' lies.")
        self.split, self.place = split, Path(data_dir, folder)
        self.path = self.place / f"{split}.txt"
        self._text = _read(self.path)
        self._train = self._text if split == "train" else _read(self.place / "train.txt")
        self.sha256 = hashlib.sha256(self._text.encode()).hexdigest()

    def vocabulary(self, kind: str, make: Callable[[list[str]], Vocabulary]) -> Vocabulary:
        """Of the training part: as it lies in the set's folder, or made from its lines.

        Args:
            kind: a name for all settings by which it is made.
            make: it, from lines.
        """
        path = self.place / FOLDER / f"text-{kind}-{hashlib.sha256(self._train.encode()).hexdigest()[:16]}.json"
        return kept_vocabulary(path, lambda: make(_lines(self._train)))

    def encoded(self, vocabulary: Vocabulary) -> Tokens:
        """The tokens (n,), each line's end among them; kept in the set's folder, from where they are mapped."""
        path = self.place / FOLDER / f"tokens-{self.split}-{self.sha256[:16]}-{vocabulary.hash}.npy"
        if not path.is_file():
            numbers = [np.array([*vocabulary.encode(line), EOS], np.int32) for line in _lines(self._text)]
            made: Tokens = np.concatenate(numbers)
            keep(path, lambda file: np.save(file, made, allow_pickle=False))
            return made
        kept: Tokens = np.load(path, mmap_mode="r", allow_pickle=False)
        return kept


def contents_of(place: Path) -> str:
    """sha256 of the texts of all parts in a set's folder: of lines "part, sha256 of its file"."""
    hashes = (f"{part} {hash_of(place / f'{part}.txt')}\n" for part in SPLITS)
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _read(path: Path) -> str:
    """A file's text.

    Raises:
        DataError: it is missing, empty, or no UTF-8.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark that is no text
    except FileNotFoundError:
        raise DataError(path, "data.folder", "is not there", "Give the folder its train, val and test.txt.") from None
    except UnicodeDecodeError as error:
        what = f"byte {error.start:,} is no UTF-8 ({error.reason})"
        raise DataError(path, "", what, "Convert it, such as by iconv.") from None
    except OSError as error:
        raise DataError(path, "", f"cannot be read ({error.strerror})", "Look into it.") from None
    if not text.strip():
        raise DataError(path, "", "is empty", "Give it some text.")
    return text


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n")  # splitlines would also cut at characters that stand inside of lines
