"""What each of several processes has, brought together."""

from typing import Any, TypeVar

import torch.distributed as dist

T = TypeVar("T")


def gathered(mine: T, world: int) -> list[T]:
    """What every process gives here, by its rank. With several all must call it; one alone asks nobody.

    Args:
        mine: what this process gives.
        world: number of processes.
    """
    if world == 1:
        return [mine]
    everybody: list[Any] = [None] * world
    dist.all_gather_object(everybody, mine)
    return everybody
