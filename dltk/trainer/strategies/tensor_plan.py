"""Which layers of a network several devices share: its `tensor_plan`, and what is wrong with it.

A plan names layers in the order in which they are called, and says of each what a device's part of it reads of the
layer before: `all` its units, or the device's `own`. Each device has as many units (or maps) of each layer. The first
layer takes the samples of all devices, the last gives each device back its own. What is called between them has no
parameters, and treats each unit by itself, unless the plan names it.

A single layer that reads `scores` gives them: each device has those of its own words or classes for the samples of all,
and the task's loss follows from them in parts.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

READS = ("all", "own", "scores")
Plan = Mapping[str, str]


def plan_of(network: nn.Module) -> Plan | None:
    """The network's plan; None where it has none."""
    plan: Any = getattr(network, "tensor_plan", None)
    return None if plan is None else plan()


def objections(network: nn.Module, devices: int) -> Iterator[str]:
    """Why so many devices cannot share the network's layers as its plan says."""
    plan = plan_of(network)
    if not plan:
        yield f"{type(network).__name__} has no tensor_plan, which says what they share"
        return
    if "scores" in plan.values() and len(plan) > 1:
        yield f"the tensor_plan of {type(network).__name__} names others beside the layer of the scores"
        return
    modules = dict(network.named_modules())
    for place, (name, reads) in enumerate(plan.items()):
        layer = modules.get(name)
        if layer is None or reads not in READS:
            said = f"the tensor_plan of {type(network).__name__} says '{name}: {reads}'"
            yield f"{said}, no layer that reads all, own or scores"
        else:
            yield from _objections(name, layer, reads, devices, first=place == 0)


def _objections(name: str, layer: nn.Module, reads: str, devices: int, *, first: bool) -> Iterator[str]:
    if not list(layer.parameters()) and reads == "all" and not first:
        return
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        yield f"{name} is a {type(layer).__name__}, and only nn.Linear and nn.Conv2d are shared"
        return
    if isinstance(layer, nn.Conv2d) and reads == "scores":
        yield f"{name} is a Conv2d, and only nn.Linear gives scores"
        return
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    if (groups > 1) != (reads == "own") or (first and reads == "own"):
        yield f"{name} has {groups} groups, and the tensor_plan says that it reads {reads}"
    elif groups > 1 and groups % devices:
        yield f"{name} has {groups} groups, no multiple of {devices}"
    elif units(layer) % devices:
        yield f"{name} has {units(layer)} units, no multiple of {devices}"


def units(layer: nn.Linear | nn.Conv2d) -> int:
    """Units of a full layer, or maps of a convolution."""
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
