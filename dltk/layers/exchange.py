"""Activations sent between the devices that share a layer, and their gradients sent back.

A device of a group has its own samples, and some of the units of each shared layer, which it computes for the samples
of all: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv 1404.5997 (2014), section
4, scheme (a). How many samples each device has may differ.
"""

# Shapes: b a device's own samples, B those of all devices of the group, u a device's units, U those of all.

from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function


class Group(NamedTuple):
    """The devices that share layers.

    Args:
        processes: torch's group of their processes.
        rank: this one's number among them.
        size: how many they are.
    """

    processes: Any
    rank: int
    size: int


def sample_counts(samples: Tensor, group: Group) -> list[int]:
    """How many samples (b, …) each device has. Waits for the device."""
    own = torch.tensor([len(samples)], device=samples.device)
    counts = [torch.empty_like(own) for _ in range(group.size)]
    dist.all_gather(counts, own, group=group.processes)
    return torch.cat(counts).tolist()


def gather_samples(own: Tensor, counts: list[int], group: Group) -> Tensor:
    """A device's samples (b, …) to those of all (B, …), one device's behind another's."""
    return _GatherSamples.apply(own, counts, group)


def gather_units(own: Tensor, group: Group) -> Tensor:
    """A device's units of all samples (B, u, …) to all units (B, U, …)."""
    return _GatherUnits.apply(own, group)


def own_units(units: Tensor, group: Group) -> Tensor:
    """All units (B, U, …) to a device's own (B, u, …)."""
    return units.chunk(group.size, 1)[group.rank]


def own_samples(units: Tensor, counts: list[int], group: Group) -> Tensor:
    """A device's units of all samples (B, u, …) to all units of its own samples (b, U, …)."""
    return _OwnSamples.apply(units, counts, group)


class _GatherSamples(Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, counts: list[int], group: Group) -> Tensor:
        ctx.counts, ctx.group = counts, group
        most = max(counts)
        sent = own.new_zeros(most, *own.shape[1:])
        sent[: len(own)] = own
        got = own.new_empty(group.size * most, *own.shape[1:])
        dist.all_gather_into_tensor(got, sent, group=group.processes)
        return torch.cat([part[:count] for part, count in zip(got.split(most), counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Each device has a part of the sum over the units."""
        (gradient,), counts, group = gradients, ctx.counts, ctx.group
        most = max(counts)
        sent = gradient.new_zeros(group.size, most, *gradient.shape[1:])
        for place, part in zip(sent, gradient.split(counts), strict=True):
            place[: len(part)] = part
        got = gradient.new_empty(most, *gradient.shape[1:])
        dist.reduce_scatter_tensor(got, sent.flatten(0, 1), group=group.processes)
        return got[: counts[group.rank]], None, None


class _GatherUnits(Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, group: Group) -> Tensor:
        ctx.group = group
        got = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(group.size)]
        dist.all_gather(got, own.contiguous(), group=group.processes)
        return torch.cat(got, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Each device has a part of the sum over the units of the next layer."""
        sent = [part.contiguous() for part in gradients[0].chunk(ctx.group.size, 1)]
        got = torch.empty_like(sent[0])
        dist.reduce_scatter(got, sent, group=ctx.group.processes)
        return got, None


class _OwnSamples(Function):
    @staticmethod
    def forward(ctx: Any, units: Tensor, counts: list[int], group: Group) -> Tensor:
        ctx.counts, ctx.group = counts, group
        mine = counts[group.rank]
        got = units.new_empty(group.size * mine, *units.shape[1:])
        dist.all_to_all_single(got, units.contiguous(), [mine] * group.size, counts, group=group.processes)
        return torch.cat(got.split(mine) if mine else [got] * group.size, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,), counts, group = gradients, ctx.counts, ctx.group
        mine = counts[group.rank]
        sent = torch.cat(gradient.chunk(group.size, 1)).contiguous()
        got = gradient.new_empty(sum(counts), *sent.shape[1:])
        dist.all_to_all_single(got, sent, counts, [mine] * group.size, group=group.processes)
        return got, None, None
