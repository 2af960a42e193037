"""What took the time of traced steps: which layer of the network, and which part of a step.

Modules and parts of the loop open ranges in the trace. An operation of the forward pass belongs to the innermost range
around it; one of the backward pass to the layer whose forward operation has the same number in the autograd graph.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import record_function

LAYER, PART, STEP = "layer: ", "part: ", "ProfilerStep"
COMMUNICATION = ("gloo:", "nccl:", "ncclDevKernel")
BACKWARD = 1  # scope of the ranges that autograd opens around a node of its graph


class LayerRanges:
    """Opens a range around each call of a module of a network, until it is taken away.

    Args:
        network: the network; its modules bear their names there, itself its class.
    """

    def __init__(self, network: nn.Module) -> None:
        self._open: list[AbstractContextManager[Any]] = []
        self._hooks = []
        for name, module in network.named_modules():
            label = LAYER + (name or type(network).__name__)
            self._hooks.append(module.register_forward_pre_hook(self._opener(label)))
            self._hooks.append(module.register_forward_hook(self._close, always_call=True))

    def remove(self) -> None:
        """Take the hooks away."""
        for hook in self._hooks:
            hook.remove()

    def _opener(self, label: str) -> Any:
        def begin(module: nn.Module, inputs: Any) -> None:
            opened = record_function(label)
            opened.__enter__()
            self._open.append(opened)

        return begin

    def _close(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        self._open.pop().__exit__(None, None, None)


@dataclass
class Spent:
    """Microseconds of a layer in the traced steps."""

    forward: float = 0.0
    backward: float = 0.0

    @property
    def both(self) -> float:
        """Microseconds of both passes."""
        return self.forward + self.backward


def by_layer(events: Sequence[FunctionEvent], on_device: bool) -> dict[str, Spent]:
    """Time of each layer, the longest first.

    Args:
        events: of a finished profile.
        on_device: count the time of the kernels that an operation starts on the device, not its own on the host.
    """
    hosts = sorted((event for event in events if not _is_kernel(event)), key=lambda event: event.time_range.start)
    layer_of_node: dict[tuple[int, int | None], str] = {}
    for event in hosts:
        layer, in_backward = _place(event)
        # Operations before the one that makes a node bear its number too; that one comes last.
        if layer is not None and in_backward is None and event.sequence_nr >= 0:
            layer_of_node[event.sequence_nr, event.thread] = layer
    spent: dict[str, Spent] = defaultdict(Spent)
    for event in hosts:
        microseconds = event.self_device_time_total if on_device else event.self_cpu_time_total
        layer, node = _place(event)
        if layer is None and node is not None:
            layer = layer_of_node.get((node.sequence_nr, node.fwd_thread))
        if layer is None:
            continue
        if node is None:
            spent[layer].forward += microseconds
        else:
            spent[layer].backward += microseconds
    return dict(sorted(spent.items(), key=lambda item: -item[1].both))


def by_part(events: Sequence[FunctionEvent]) -> dict[str, float]:
    """Microseconds of the host in each part of the loop; those of a part within another count for the inner one."""
    spent: dict[str, float] = defaultdict(float)
    for event in events:
        if event.name.startswith(PART) and not _is_kernel(event):
            spent[event.name.removeprefix(PART)] += _length(event) - sum(_length(inner) for inner in _parts(event))
    return dict(spent)


def in_steps(events: Iterable[FunctionEvent]) -> float:
    """Microseconds of all traced steps."""
    return sum(_length(event) for event in events if event.name.startswith(STEP) and not _is_kernel(event))


def in_communication(events: Iterable[FunctionEvent]) -> float:
    """Microseconds in which processes sent each other something, beside other things or not."""
    found = sorted(
        (event.time_range.start, event.time_range.end) for event in events if event.name.startswith(COMMUNICATION)
    )
    total, covered = 0.0, float("-inf")
    for start, end in found:
        total += max(0.0, end - max(start, covered))
        covered = max(covered, end)
    return total


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lines of columns, the first set left and the others right."""
    lines = [list(headings), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


def percent(part: float, whole: float) -> str:
    """A share in per cent."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _is_kernel(event: FunctionEvent) -> bool:
    return bool(event.device_type != torch.autograd.DeviceType.CPU)


def _length(event: FunctionEvent) -> float:
    return event.time_range.elapsed_us()


def _around(event: FunctionEvent) -> Iterator[FunctionEvent]:
    """The event and what is around it, from the inside."""
    at: FunctionEvent | None = event
    while at is not None:
        yield at
        at = at.cpu_parent


def _place(event: FunctionEvent) -> tuple[str | None, FunctionEvent | None]:
    """The innermost layer that an operation is called by, and the node of the backward pass that it is part of."""
    layer = node = None
    for outer in _around(event):
        if layer is None and node is None and outer.name.startswith(LAYER):
            layer = outer.name.removeprefix(LAYER)
        if node is None and outer.scope == BACKWARD:
            node = outer
    return layer, node


def _parts(event: FunctionEvent) -> Iterator[FunctionEvent]:
    """The parts directly within a range."""
    for child in event.cpu_children:
        if child.name.startswith(PART):
            yield child
        else:
            yield from _parts(child)
