"""How the parameters of a network lie on the processes of a training: here whole on each.

A strategy that lays them otherwise brings a subclass of its own, so that whoever clips, averages or saves parameters
need not know which strategy it is.
"""

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn


class Shards:
    """Every process has all parameters whole, and all gradients summed over the processes."""

    def part(self, parameter: Tensor) -> Tensor:
        """What this process keeps of a parameter, in the parameter's own memory."""
        return parameter.detach()

    def cut(self, parameter: Tensor, whole: Tensor) -> Tensor:
        """What this process keeps of a tensor of a parameter's shape that every process has."""
        return whole.to(parameter.device)

    def join(self, parameter: Tensor, part: Tensor) -> Tensor:
        """The tensor of a parameter's shape of which each process has a part, on the first one; all must call it."""
        return part

    def size(self, parameter: Tensor) -> int:
        """Numbers in the whole parameter."""
        return parameter.numel()

    def gradients(self, parameters: Iterable[nn.Parameter]) -> list[Tensor]:
        """What this process keeps of the gradients of one step, each element on one process or on all of them."""
        return [parameter.grad for parameter in parameters if parameter.grad is not None]

    def norm(self, parts: list[Tensor]) -> Tensor:
        """The Euclidean norm (a scalar) of all gradients together, from this process's parts of them."""
        return nn.utils.get_total_norm(parts)

    @contextlib.contextmanager
    def whole(self, model: nn.Module) -> Iterator[None]:
        """While it lasts the network's parameters are whole, and what is written to them stays."""
        yield


def scale(gradients: list[Tensor], factor: float | Tensor) -> None:
    """Multiply gradients in place."""
    if gradients:
        torch._foreach_mul_(gradients, factor)


def clip_norm(shards: Shards, gradients: list[Tensor], limit: float) -> Tensor:
    """Scale gradients down to a norm of at most `limit`, as torch.nn.utils.clip_grad_norm_ does; the norm before."""
    norm = shards.norm(gradients)
    scale(gradients, torch.clamp(limit / (norm + 1e-6), max=1.0))
    return norm


def clip_value(gradients: list[Tensor], limit: float) -> None:
    """Bring each component of the gradients to between -limit and limit."""
    if gradients:
        torch._foreach_clamp_min_(gradients, -limit)
        torch._foreach_clamp_max_(gradients, limit)
