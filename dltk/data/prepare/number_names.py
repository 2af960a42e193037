"""Numbers below a million in English and French words: a translation task made by rule (num2words)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dltk.data.hashing import mix
from dltk.data.pack import Packing, Settings, pack, pair
from dltk.data.prepare import Origin, Progress
from dltk.errors import DataError

PAIRS = 30_000
BELOW = 1_000_000


def prepare(origin: Origin, to: Path, settings: Settings, progress: Progress) -> Packing:
    """Make the set: numbers drawn by the seed, none twice.

    Raises:
        DataError: num2words is not installed.
    """
    try:
        from num2words import num2words
    except ImportError:
        raise DataError("", "num2words", "is not installed", "Install the extra: dltk[text].") from None
    about = {"source": "num2words", "pairs": PAIRS, "below": BELOW}
    return pack(
        _samples(num2words, settings.seed), to, name="number_names", kind="text", about=about, settings=settings,
        progress=progress,
    )  # fmt: skip


def _samples(words: Any, seed: int) -> Iterator[dict[str, Any]]:
    seen: set[int] = set()
    place = 0
    while len(seen) < PAIRS:
        # Half of them even on a logarithmic scale, so that short ones occur.
        word, place = int(mix(seed, place)[0]), place + 1
        number = word % BELOW if word >> 63 else (word % BELOW) % 10 ** (1 + (word >> 40) % 6)
        if number in seen:
            continue
        seen.add(number)
        yield pair(f"{number:06d}", words(number, lang="en"), words(number, lang="fr"))
