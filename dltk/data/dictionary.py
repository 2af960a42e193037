"""Dictionaries of word pairs, as aligners of words write them: for a source word its likeliest translations."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from dltk.errors import DataError

Dictionary = Mapping[str, Sequence[str]]  # a source word to target words, the likeliest first


def read(path: Path, best: int) -> Dictionary:
    """The dictionary of a file: lines of source word, target word and probability or its logarithm.

    fast_align writes such a file with `-p`. Words are looked up as `dltk.data.vocabulary` splits text.

    Args:
        path: the file.
        best: translations of each word that are kept.

    Raises:
        DataError: it cannot be read, or a line is none of this form.
    """
    found: dict[str, list[tuple[float, str]]] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                source, target, score = _entry(f"{path}:{number}", line)
                found.setdefault(source, []).append((-score, target))
    except UnicodeDecodeError:
        raise DataError(path, "", "is not UTF-8", "Convert it with iconv.") from None
    except OSError as error:
        raise DataError(path, "", f"cannot be read ({error.strerror})", "Give a file of word pairs.") from None
    return {source: [target for _, target in sorted(pairs)[:best]] for source, pairs in found.items()}


def _entry(place: str, line: str) -> tuple[str, str, float]:
    words = line.split()
    try:
        source, target, score = words[0], words[1], float(words[2])
    except (IndexError, ValueError):
        score = math.nan
    if len(words) != 3 or math.isnan(score):
        what = f"'{line.strip()[:40]}' is no source word, target word and number"
        raise DataError(place, "", what, "Write the three, with spaces or tabs between.")
    return source, target, score
