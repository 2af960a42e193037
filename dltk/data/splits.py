"""Which samples train, which choose, which test: fixed by their keys, so that numbers can be compared."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dltk.data.hashing import hash_keys

SPLITS = ("train", "val", "test")
PARTS = (0.7, 0.1, 0.2)  # of SPLITS
ENOUGH = 10  # samples of one class that leave no part without one


def split(
    keys: Sequence[str], targets: Sequence[int] | NDArray[np.int64], parts: Sequence[float] = PARTS
) -> list[NDArray[np.int64]]:
    """Cut samples into parts, class by class, in the order of hash(key).

    Args:
        keys: one for each sample, all different.
        targets: class of each sample.
        parts: fractions that sum to one.

    Returns:
        For each part the sample numbers, ascending.
    """
    assert abs(sum(parts) - 1) < 1e-9, f"the parts {parts} do not sum to one"
    hashes, classes = hash_keys(keys), np.asarray(targets)
    cuts = np.cumsum(parts)[:-1]
    chosen: list[list[NDArray[np.int64]]] = [[] for _ in parts]
    for one in np.unique(classes):
        members = np.flatnonzero(classes == one)
        members = members[np.argsort(hashes[members], kind="stable")]
        ends = np.round(cuts * len(members)).astype(np.int64)
        for part, numbers in zip(chosen, np.split(members, ends), strict=True):
            part.append(numbers)
    return [np.sort(np.concatenate(part)) if part else np.empty(0, np.int64) for part in chosen]
