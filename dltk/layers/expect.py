"""What a network expects of its settings and images; a ValueError says what to set instead."""

from collections.abc import Sequence

from torch import Tensor


def at_least(key: str, value: float, least: float, why: str) -> None:
    """Raise ValueError where a setting is too small to mean anything."""
    if value < least:
        raise ValueError(f"{key} is {value}, {why}. Set at least {least}")


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
