"""Hashes that never change: of keys, and of numbers mixed together. Python's own `hash` differs between processes."""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

_MASK = (1 << 64) - 1


def hash64(text: str) -> int:
    """The first 64 bits of BLAKE2b over the text's UTF-8 bytes, as a number from 0 to 2^64 - 1."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def hash_keys(keys: Iterable[str]) -> Words:
    """`hash64` of every key, (n,)."""
    digests = b"".join([hashlib.blake2b(key.encode(), digest_size=8).digest() for key in keys])
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64, copy=False)


def mix(*parts: int | Words) -> Words:
    """Mix numbers into 64 bits that look random; arrays broadcast, and the order of the parts matters.

    Each part is added to the state, which then takes one step of splitmix64 (Steele, Lea, Flood, OOPSLA 2014).
    """
    state: Words = np.zeros(1, dtype=np.uint64)
    for part in parts:
        word = np.asarray([part & _MASK], dtype=np.uint64) if isinstance(part, int) else part
        state = state + word + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state


def uniforms(seed: int, epoch: int, keys: Words, count: int) -> NDArray[np.float64]:
    """Numbers from [0, 1), (n, count): a function of seed, epoch, each key's hash and the column, of nothing else."""
    columns = np.arange(count, dtype=np.uint64)
    words = mix(seed, epoch, keys[:, None], columns[None, :])  # (n, count)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
