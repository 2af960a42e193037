"""Sentences and their translations as a set."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dltk.data.hashing import hash64
from dltk.data.pack import Packing, Settings, pack, pair
from dltk.data.prepare import Progress
from dltk.errors import DataError

PARTS = 1000  # of which 700 train, 100 choose, 200 test


def pack_pairs(
    pairs: Iterable[tuple[str, str]],
    to: Path,
    *,
    name: str,
    about: dict[str, Any],
    settings: Settings,
    progress: Progress,
) -> Packing:
    """Pack pairs that nobody has split: 70/10/20, and none of a test sentence's translations is trained on.

    Pairs that share a sentence, directly or through others, come into the same part. Empty sentences, repeated pairs
    and sentences that are their own translations are left out.

    Args:
        pairs: sentence and translation.
        to: the set's folder.
        name: of the set.
        about: facts that `set.json` keeps.
        settings: of packing.
        progress: hears the samples done.

    Raises:
        DataError: there are none.
    """
    different = sorted({(one, other) for one, other in pairs if one and other and one != other})
    if not different:
        raise DataError(to, "", f"nothing is in {name}: no pair of sentences was found", "Look into its source.")
    groups = together(different)
    samples = (
        pair(f"{group:016x}/{hash64(one + chr(9) + other):016x}", one, other)
        for group, (one, other) in zip(groups, different, strict=True)
    )
    return pack(
        samples, to, name=name, kind="text", about={**about, "pairs": len(different)}, settings=settings,
        progress=progress, split_of=_split_of,
    )  # fmt: skip


def together(pairs: Sequence[tuple[str, str]]) -> Iterator[int]:
    """A number for each pair, the same for those that share a sentence, directly or through others.

    It is the hash of the first source sentence among them, so that it does not change with what else there is.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    sources = {text: number for number, text in enumerate(dict.fromkeys(one for one, _ in pairs))}
    targets = {text: number for number, text in enumerate(dict.fromkeys(other for _, other in pairs))}
    rows = [sources[one] for one, _ in pairs]
    columns = [len(sources) + targets[other] for _, other in pairs]
    nodes = len(sources) + len(targets)
    links = coo_array((np.ones(len(pairs), dtype=np.int8), (rows, columns)), shape=(nodes, nodes))
    components = connected_components(links, directed=False)[1][rows].tolist()
    first: dict[int, str] = {}
    for component, (one, _) in zip(components, pairs, strict=True):
        first[component] = min(one, first.get(component, one))
    return (hash64(first[component]) for component in components)


def _split_of(key: str) -> str:
    place = int(key.partition("/")[0], 16) % PARTS
    return "train" if place < 700 else "val" if place < 800 else "test"
