"""Running sums of a task's measures, kept on the device until somebody asks."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

Measures = Mapping[str, Any]
Pairs = Mapping[str, tuple[Any, Any]]  # name: (sum, weight)

BATCHES = 64  # kept at most before they are summed
NUMBERS = 1 << 20  # of tensors kept for later, likewise


class Later:
    """Metrics of samples that can wait until their sums are read, and are then computed for many batches at once.

    Args:
        compute: tensors with the samples of one or several batches to metrics, as `name: (sum, count)`.
        tensors: the samples of this batch in each of them, one a row.
    """

    __slots__ = ("compute", "tensors")

    def __init__(self, compute: Callable[..., Pairs], *tensors: Tensor) -> None:
        self.compute, self.tensors = compute, tensors


class Totals:
    """Sums and weights of every measure since the last reading.

    `add` keeps the numbers as they are; they are added for many batches at once, in the order of the batches, so that
    it does not matter when. Nothing waits for the device before `read`.

    Args:
        derive: the means by name to these and what follows from them, such as an exponential.
    """

    def __init__(self, derive: Callable[[dict[str, float]], dict[str, float]] | None = None) -> None:
        self._derive = derive
        self._names: list[str] = []
        self._sums: Tensor | None = None  # (names, 2): sum, weight
        self._pairs: list[Pairs] = []  # of the batches kept
        self._later: list[dict[str, Later]] = []  # likewise
        self._numbers = 0

    def add(self, measures: Measures) -> None:
        """Add what `Task.measure` returned: `loss` over `weight`, every (sum, count) pair, and what is for later."""
        pairs = {"loss": (measures["loss"].detach(), measures["weight"])}
        later = {}
        for name, value in measures.items():
            if isinstance(value, tuple):
                pairs[name] = value
            elif isinstance(value, Later):
                later[name] = value
                self._numbers += sum(tensor.numel() for tensor in value.tensors)
        self._pairs.append(pairs)
        self._later.append(later)
        if len(self._pairs) >= BATCHES or self._numbers >= NUMBERS:
            self._sum_up()

    def state_dict(self, world: int = 1) -> dict[str, Any]:
        """The sums of all processes; with several, all must call it."""
        self._sum_up()
        if self._sums is None:
            return {"names": [], "sums": []}
        sums = self._sums.clone()
        if world > 1:
            dist.all_reduce(sums)
        return {"names": list(self._names), "sums": sums.tolist()}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Go on from saved sums, on one process for all."""
        self.__init__(self._derive)  # type: ignore[misc]
        self._names = list(state["names"])
        self._sums = torch.tensor(state["sums"], dtype=torch.float64, device=device) if self._names else None

    def read(self, world: int = 1) -> dict[str, float]:
        """The means over all processes, by name; the sums start again from zero. Empty when nothing was added."""
        self._sum_up()
        if self._sums is None:
            return {}
        sums, self._sums = self._sums, None
        if world > 1:
            dist.all_reduce(sums)
        pairs = zip(self._names, sums.tolist(), strict=True)
        means = {name: total / weight for name, (total, weight) in pairs if weight}
        return means if self._derive is None else self._derive(means)

    def _sum_up(self) -> None:
        """Add the batches kept to the sums."""
        if not self._pairs:
            return
        device = self._pairs[0]["loss"][0].device
        names = list(self._pairs[0])
        kept = torch.stack([_column(self._pairs, name, device) for name in names], dim=1)  # (batches, names, 2)
        computed = _computed(self._later, device)
        names += computed
        if self._sums is None:
            self._names, self._sums = names, torch.zeros(len(names), 2, dtype=torch.float64, device=device)
        assert names == self._names, f"measure() returned {names} after {self._names}"
        direct, late = self._sums.split([kept.shape[1], len(computed)])
        for batch in kept:
            direct += batch
        if computed:
            late += torch.stack(list(computed.values()))
        self._pairs, self._later, self._numbers = [], [], 0


def _column(kept: list[Pairs], name: str, device: torch.device) -> Tensor:
    """The sums and weights of one measure, (batches, 2)."""
    sides = ([torch.as_tensor(pairs[name][side]).detach() for pairs in kept] for side in (0, 1))
    return torch.stack([torch.stack(side).to(device, torch.float64) for side in sides], dim=1)


def _computed(kept: list[dict[str, Later]], device: torch.device) -> dict[str, Tensor]:
    """What waited, computed for all batches together: the sum and the count (2,) of each metric."""
    found = {}
    for name, first in kept[0].items():
        columns = zip(*(later[name].tensors for later in kept), strict=True)
        for metric, pair in first.compute(*(torch.cat(column) for column in columns)).items():
            found[metric] = torch.stack([torch.as_tensor(number).to(device, torch.float64) for number in pair])
    return found
