"""Sentences and their translations as a set."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dltk.data.hashing import hash64
from dltk.data.pack import Packing, Settings, pack, pair
from dltk.data.prepare import Progress
from dltk.data.splits import SPLITS
from dltk.errors import DataError

PARTS = 1000  # of which 700 train, 100 choose, 200 test; of origins 900, 50, 50


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


def pack_by_origin(
    texts: Iterable[tuple[str, str, str]],
    to: Path,
    *,
    name: str,
    about: dict[str, Any],
    settings: Settings,
    progress: Progress,
) -> Packing:
    """Pack pairs of known origins: 90/5/5 of these, all pairs of one in the same part.

    Where many origins share sentences, to put them together would put nearly all together. So val and test leave out
    the pairs of which either side stands in a part before them; neither case nor spaces make a difference. Empty
    sentences, repeated pairs and sentences that are their own translations are left out too. `set.json` keeps the
    numbers of pairs left out (`shared`), and the sha256 of lines "part, sentence, translation", sorted, with tabs
    between.

    Args:
        texts: origin, sentence and translation.
        to: the set's folder.
        name: of the set.
        about: facts that `set.json` keeps.
        settings: of packing.
        progress: hears the samples done.

    Raises:
        DataError: there are none.
    """
    parts: dict[str, dict[tuple[str, str], str]] = {part: {} for part in SPLITS}  # the origin of each pair
    for origin, one, other in sorted({(origin, one, other) for origin, one, other in texts}):
        if one and other and one != other:
            parts[_part_of(origin)].setdefault((one, other), origin)
    found = {part: len(pairs) for part, pairs in parts.items()}
    if not found["train"]:
        what = f"nothing to train on is in {name}: {sum(found.values())} pairs of sentences were found"
        raise DataError(to, "", what, "Look into its source.")
    seen: tuple[set[str], set[str]] = (set(), set())
    for part, pairs in parts.items():
        if part != "train":
            pairs = {
                (one, other): origin
                for (one, other), origin in pairs.items()
                if _bare(one) not in seen[0] and _bare(other) not in seen[1]
            }
            parts[part] = pairs
        seen[0].update(_bare(one) for one, _ in pairs)
        seen[1].update(_bare(other) for _, other in pairs)
    lines = sorted(f"{part}\t{one}\t{other}\n" for part, pairs in parts.items() for one, other in pairs)
    facts = {
        "pairs": len(lines),
        "shared": {part: found[part] - len(parts[part]) for part in SPLITS if part != "train"},
        "sha256": hashlib.sha256("".join(lines).encode()).hexdigest(),
    }
    samples = (
        pair(f"{part}/{hash64(origin):016x}/{hash64(one + chr(9) + other):016x}", one, other)
        for part, pairs in parts.items()
        for (one, other), origin in pairs.items()
    )
    return pack(
        samples, to, name=name, kind="text", about={**about, **facts}, settings=settings, progress=progress,
        split_of=lambda key: key.partition("/")[0],
    )  # fmt: skip


def _part_of(origin: str) -> str:
    place = hash64(origin) % PARTS
    return "train" if place < 900 else "val" if place < 950 else "test"


def _bare(text: str) -> str:
    return "".join(text.casefold().split())


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
