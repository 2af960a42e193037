"""What all processes must agree on in each step: the weight of the global batch, and whether to stop.

One small tensor is summed over the processes on a gloo group of its own, started before the backward pass and read
after it, so that nothing waits for it. With one process there is no communication.
"""

from typing import Any

import torch
import torch.distributed as dist


class Consensus:
    """Sums two numbers over the processes beside the step.

    Args:
        world: number of processes.
    """

    def __init__(self, world: int) -> None:
        self.world = world
        self._mine = (0.0, False)  # (weight, vote to stop)
        self._numbers = torch.zeros(2, dtype=torch.float64)  # the same, summed over the processes
        self._pending: dist.Work | None = None
        # The default group may be NCCL, which would put a host number on the device and wait for it.
        self._group: Any = dist.new_group(backend="gloo") if world > 1 else None

    def start(self, weight: float, vote: bool) -> None:
        """Give this process's weight of the batch and its vote; returns at once."""
        assert self._pending is None, "the last sum was not read"
        self._mine = (weight, vote)
        if self.world > 1:
            self._numbers = torch.tensor([weight, float(vote)], dtype=torch.float64)
            self._pending = dist.all_reduce(self._numbers, group=self._group, async_op=True)

    def finish(self) -> tuple[float, bool]:
        """The weight of the global batch, and whether any process wants to stop."""
        if self._pending is None:
            return self._mine
        self._pending.wait()
        self._pending = None
        weight, votes = self._numbers.tolist()
        return weight, votes > 0
