"""Which layers of a network several devices share: its `tensor_plan` or `group_plan`, and what is wrong with it.

The first names the wide layers (`launch.tensor_plan: wide`), the second all layers of a network whose convolutions have
groups (`groups`), as those of Krizhevsky, Sutskever, Hinton, NIPS (2012), figure 2.

A plan names layers in the order in which they are called, and says of each what a device's part of it reads of the
layer before: `all` its units, or the device's `own`. Each device has as many units (or maps) of each layer. The first
layer takes the samples of all devices, the last gives each device back its own. What is called between them has no
parameters, and treats each unit by itself, unless the plan names it: then a device has `all` units there, or, of a
normalisation whose groups of maps do not see each other, its `own`.

A single layer that reads `scores` gives them: each device has those of its own words or classes for the samples of all,
and the task's loss follows from them in parts.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from dltk.layers.response_normalisation import ResponseNormalisation

METHODS = {"wide": "tensor_plan", "groups": "group_plan"}  # of a network, by the plan that launch.tensor_plan chooses
READS = ("all", "own", "scores")
Plan = Mapping[str, str]


def plan_of(network: nn.Module, chosen: str) -> Plan | None:
    """The network's plan; None where it has none."""
    plan: Any = getattr(network, METHODS[chosen], None)
    return None if plan is None else plan()


def objections(network: nn.Module, chosen: str, devices: int) -> Iterator[str]:
    """Why so many devices cannot share the network's layers as its plan says."""
    plan, method = plan_of(network, chosen), METHODS[chosen]
    if not plan:
        yield f"{type(network).__name__} has no {method}, which says what they share"
        return
    if "scores" in plan.values() and len(plan) > 1:
        yield f"the {method} of {type(network).__name__} names others beside the layer of the scores"
        return
    modules = dict(network.named_modules())
    for place, (name, reads) in enumerate(plan.items()):
        layer = modules.get(name)
        if layer is None or reads not in READS:
            said = f"the {method} of {type(network).__name__} says '{name}: {reads}'"
            yield f"{said}, no layer that reads all, own or scores"
        elif not list(layer.parameters()) and reads == "all" and place > 0:
            pass
        elif isinstance(layer, ResponseNormalisation) and place > 0:
            yield from _grouping(name, layer.groups, reads, method, devices)
        else:
            yield from _objections(name, layer, reads, method, devices, first=place == 0)


def _objections(name: str, layer: nn.Module, reads: str, method: str, devices: int, *, first: bool) -> Iterator[str]:
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        yield f"{name} is a {type(layer).__name__}, and only nn.Linear and nn.Conv2d are shared"
        return
    if isinstance(layer, nn.Conv2d) and reads == "scores":
        yield f"{name} is a Conv2d, and only nn.Linear gives scores"
        return
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    wrong = list(_grouping(name, groups, reads, method, devices, first=first))
    yield from wrong
    if not wrong and units(layer) % devices:
        yield f"{name} has {units(layer)} units, no multiple of {devices}"


def _grouping(name: str, groups: int, reads: str, method: str, devices: int, *, first: bool = False) -> Iterator[str]:
    """Whole groups lie on one device, and only what has groups reads a device's own units."""
    if (groups > 1) != (reads == "own") or (first and reads == "own"):
        yield f"{name} has {groups} groups, and the {method} says that it reads {reads}"
    elif groups % devices and groups > 1:
        yield f"{name} has {groups} groups, no multiple of {devices}"


def units(layer: nn.Linear | nn.Conv2d) -> int:
    """Units of a full layer, or maps of a convolution."""
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
