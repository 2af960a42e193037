"""Running sums of a task's measures, kept on the device until somebody asks."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

Measures = Mapping[str, Any]


class Totals:
    """Sums and weights of every measure since the last reading.

    `add` costs one stack and one addition on the device; nothing waits for the device before `read`.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._sums: Tensor | None = None  # (names, 2): sum, weight

    def add(self, measures: Measures) -> None:
        """Add what `Task.measure` returned: `loss` over `weight`, and every (sum, count) pair."""
        pairs = {"loss": (measures["loss"], measures["weight"])}
        pairs |= {name: value for name, value in measures.items() if isinstance(value, tuple)}
        flat = [torch.as_tensor(number) for pair in pairs.values() for number in pair]
        device = measures["loss"].device
        new = torch.stack([number.detach().to(device, torch.float64) for number in flat]).view(-1, 2)
        if self._sums is None:
            self._names, self._sums = list(pairs), new
        else:
            assert list(pairs) == self._names, f"measure() returned {list(pairs)} after {self._names}"
            self._sums += new

    def state_dict(self, world: int = 1) -> dict[str, Any]:
        """The sums of all processes; with several, all must call it."""
        if self._sums is None:
            return {"names": [], "sums": []}
        sums = self._sums.clone()
        if world > 1:
            dist.all_reduce(sums)
        return {"names": list(self._names), "sums": sums.tolist()}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from saved sums, on one process for all."""
        self._names = list(state["names"])
        self._sums = torch.tensor(state["sums"], dtype=torch.float64, device=device) if self._names else None

    def read(self, world: int = 1) -> dict[str, float]:
        """The means over all processes, by name; the sums start again from zero. Empty when nothing was added."""
        if self._sums is None:
            return {}
        sums, self._sums = self._sums, None
        if world > 1:
            dist.all_reduce(sums)
        pairs = zip(self._names, sums.tolist(), strict=True)
        return {name: total / weight for name, (total, weight) in pairs if weight}
