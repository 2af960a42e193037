"""Distributed data parallel: the whole network on each process, gradients averaged in buckets during the backward pass.

Li et al., "PyTorch Distributed: Experiences on accelerating data parallel training", VLDB 13 (2020).
"""

from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy

from dltk.tasks.shards import Shards
from dltk.trainer.config import LaunchConfig
from dltk.trainer.strategies.redirected import redirected


def sum_in_bf16(state: None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """Average a bucket of gradients over the processes in half as many bytes (torch's hook for it wants NCCL)."""
    gradients = bucket.buffer()
    rounded = (gradients / dist.get_world_size()).to(torch.bfloat16)
    sent: Any = dist.all_reduce(rounded, async_op=True)
    return sent.get_future().then(lambda done: gradients.copy_(done.value()[0]))


class DataParallel(DDPStrategy):
    """DDP with the recipe's ways of sending gradients.

    Args:
        launch: sizes of the buckets, compression, whether the graph is the same in every step.
        backend: of the processes' group: gloo or nccl.
    """

    label = "ddp"

    def __init__(self, launch: LaunchConfig, backend: str) -> None:
        self.shards = Shards()
        self._rounds = launch.compression == "bf16"
        options: dict[str, Any] = {}
        if launch.bucket_mb is not None:
            options["bucket_cap_mb"] = launch.bucket_mb
        super().__init__(
            process_group_backend=backend,
            # Gradients lie in the buckets that are summed, so that none is copied there and back.
            gradient_as_bucket_view=True,
            static_graph=launch.static_graph,
            **options,
        )

    def configure_ddp(self) -> None:
        """Wrap the network, and let the buckets find their places."""
        super().configure_ddp()
        wrapped: Any = self.model
        if self._rounds:  # Lightning's own argument for a hook is passed over on a CPU
            wrapped.register_comm_hook(None, sum_in_bf16)
        if not self._ddp_kwargs["static_graph"]:
            self._settle_buckets()

    def _settle_buckets(self) -> None:
        """Take two backward passes through nothing but the parameters.

        DDP lays its buckets anew after the first backward pass, in the order in which the gradients came. Between three
        or more processes the order of a sum depends on the place in the bucket, so that a training that went on
        from a checkpoint would round otherwise in its first step than one that was never stopped.
        """
        task: Any = self.lightning_module
        wrapped: Any = self.model
        moved = [parameter for parameter in task.parameters() if parameter.requires_grad]
        if not moved:
            return

        def nothing() -> torch.Tensor:
            return torch.stack([0.0 * parameter.sum() for parameter in moved]).sum()

        for _ in range(2):
            redirected(wrapped, task, nothing).backward()
        task.zero_grad()
