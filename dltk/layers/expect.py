"""What a network expects of its settings and images; a ValueError says what to set instead."""

from collections.abc import Sequence

from torch import Tensor


def at_least(key: str, value: float, least: float, why: str) -> None:
    """Raise ValueError where a setting is too small to mean anything."""
    if value < least:
        raise ValueError(f"{key} is {value}, {why}. Set at least {least}")


def probability(key: str, value: float) -> None:
    """Raise ValueError where a setting is no probability of dropping a unit."""
    if not 0 <= value < 1:
        raise ValueError(f"{key} is {value}, the probability of dropping a unit. Set 0 or more, and below 1")


def image_shape(image: Sequence[int]) -> tuple[int, int, int]:
    """A setting `image` as (channels, rows, columns); ValueError where it is none."""
    if len(image) != 3 or min(image) < 1:
        raise ValueError(f"image is {list(image)}, not [channels, rows, columns]. Set three numbers of at least 1")
    channels, rows, columns = image
    return channels, rows, columns


def images_of(images: Tensor, shape: tuple[int, int, int], remedy: str) -> None:
    """Raise ValueError where images are not (b, *shape)."""
    if images.dim() != 4 or tuple(images.shape[1:]) != shape:
        c, h, w = shape
        raise ValueError(f"images are {tuple(images.shape)}, the network takes (b, {c}, {h}, {w}). {remedy}")


def not_smaller(images: Tensor, shape: tuple[int, int, int]) -> None:
    """Raise ValueError where images have other channels than (c, h, w), or fewer rows or columns."""
    c, h, w = shape
    fits = images.dim() == 4 and images.shape[1] == c and images.shape[2] >= h and images.shape[3] >= w
    if not fits:
        raise ValueError(f"images are {tuple(images.shape)}. Give images of {c} channels, {h} x {w} pixels or more")


def vocabularies(source: int, target: int) -> None:
    """Raise ValueError where a vocabulary holds nothing but the four special tokens."""
    for key, size in (("source_vocab_size", source), ("target_vocab_size", target)):
        at_least(key, size, 5, "not more than the four special tokens")
