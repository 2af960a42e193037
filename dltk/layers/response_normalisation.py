"""Response normalisation across maps: each activity is divided by a power of what its neighbouring maps do there.

Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural networks", NIPS (2012),
section 3.3: y_i = x_i / s_i^beta with s_i = k + alpha * (sum of x_j^2 over the n maps j around i), constants k = 2,
n = 5, alpha = 1e-4, beta = 0.75.

`nn.LocalResponseNorm` divides the sum by n first, as the authors' released code does: its alpha is n times this one.

Why this is quicker than torch's: on a CPU the sum over neighbours is a few additions of shifted maps, and block after
block stays in the cache, instead of the whole batch passing through the memory at each step; the paper's exponent is
taken by roots; and the backward pass keeps the input alone, where automatic differentiation keeps every step between.
"""

# Shapes: b images, c maps, h rows, w columns, p places (b h w, or h w), n images of a block, g groups.

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

BLOCK = 1 << 18  # activities of a block on a CPU: 1 MiB, so that a block's few steps stay in the cache


class ResponseNormalisation(nn.Module):
    """Divides by (k + alpha * sum of the squares of `size` maps)^beta; at the first and last map the window is cut off.

    Args:
        size: maps in the window, an odd number.
        alpha: weight of the sum (not of the mean, as in torch).
        beta: exponent.
        k: added to the sum.
        groups: the maps lie in so many equal groups, which do not see each other.
    """

    def __init__(
        self, size: int = 5, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0, groups: int = 1
    ) -> None:
        super().__init__()
        assert size % 2 == 1, f"a window of {size} maps has no middle"
        self.size, self.alpha, self.beta, self.k, self.groups = size, alpha, beta, k, groups

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (b, c, h, w) to maps of the same shape, type and order in memory."""
        assert maps.dim() == 4, f"maps are {tuple(maps.shape)}, not (b, c, h, w)"
        assert maps.shape[1] % self.groups == 0, f"{maps.shape[1]} maps make no {self.groups} equal groups"
        if not maps.is_contiguous(memory_format=torch.channels_last):
            maps = maps.contiguous()
        return _Normalise.apply(maps, self.size, self.alpha, self.beta, self.k, self.groups)

    def extra_repr(self) -> str:
        """The constants."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}, groups={self.groups}"


class _Normalise(torch.autograd.Function):
    """The function and its derivative.

    With p_i = s_i^-beta and g = dL/dy: dL/dx_j = g_j p_j - 2 beta x_j * alpha * (sum of g_i p_i x_i / s_i over the i
    in whose windows j lies), and those are the i in j's window. s is computed again rather than kept.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, size: int, alpha: float, beta: float, k: float, groups: int) -> Tensor:
        ctx.save_for_backward(maps)
        ctx.constants = size, alpha, beta, k, groups
        made = torch.empty_like(maps)
        with _full_precision(maps.device.type):
            for x, y in _blocks(maps, made):
                x = x.to(_wide(maps))
                p, _ = _powers(_window_sums(x * x, size, groups, alpha, k), beta)
                y.copy_(p.mul_(x))
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (maps,) = ctx.saved_tensors
        size, alpha, beta, k, groups = ctx.constants
        made = torch.empty_like(maps)
        with _full_precision(maps.device.type):
            for x, g, out in _blocks(maps, gradient, made):
                x = x.to(_wide(maps))
                p, inverse = _powers(_window_sums(x * x, size, groups, alpha, k), beta)
                p.mul_(g)
                u = _window_sums(inverse.mul_(p).mul_(x), size, groups, alpha)
                out.copy_(p.addcmul_(x, u, value=-2 * beta))
        return made, None, None, None, None, None


def _full_precision(device_type: str) -> contextlib.AbstractContextManager[Any]:
    """Without autocast, which would round the sums to 8 bits."""
    if not torch.amp.is_autocast_available(device_type):
        return contextlib.nullcontext()
    return torch.autocast(device_type, enabled=False)


def _wide(maps: Tensor) -> torch.dtype:
    """The type to compute in."""
    return torch.promote_types(maps.dtype, torch.float32)


def _blocks(*all_maps: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same block of each: rows (p, c) where the first lies channels last, else images (n, c, p).

    Blocks of the last are views, to be written; it lies as the first does.
    """
    first, *others, written = all_maps
    b, c, h, w = first.shape
    if first.is_contiguous(memory_format=torch.channels_last) and not first.is_contiguous():
        laid = [maps.permute(0, 2, 3, 1).reshape(b * h * w, c) for maps in (first, *others)]
        laid.append(written.permute(0, 2, 3, 1).view(b * h * w, c))
        length = BLOCK // c
    else:
        laid = [maps.reshape(b, c, h * w) for maps in (first, *others)]
        laid.append(written.view(b, c, h * w))
        length = BLOCK // (c * h * w)
    if not _in_cache(first):  # split into one block, an exporter could not prove that it is one for every b
        return iter([tuple(laid)])
    return zip(*(maps.split(max(1, length)) for maps in laid), strict=True)


def _in_cache(maps: Tensor) -> bool:
    """Whether steps of one pass each are the quickest, block by block; else there are few, or they are made one."""
    return maps.device.type == "cpu" and not torch.compiler.is_compiling()


def _window_sums(terms: Tensor, size: int, groups: int, alpha: float, k: float = 0.0) -> Tensor:
    """k + alpha * (sum over the windows of the maps, which are dimension 1) of terms (p, c) or (n, c, p)."""
    grouped = terms.unflatten(1, (groups, -1))  # (p, g, c / g) or (n, g, c / g, p)
    if not _in_cache(terms):
        return _pooled(grouped, size).mul(alpha).add(k).flatten(1, 2)
    sums = grouped.mul(alpha).add_(k)
    count = grouped.shape[2]
    for away in range(1, min(size // 2, count - 1) + 1):
        lower, upper = grouped.narrow(2, 0, count - away), grouped.narrow(2, away, count - away)
        sums.narrow(2, 0, count - away).add_(upper, alpha=alpha)
        sums.narrow(2, away, count - away).add_(lower, alpha=alpha)
    return sums.flatten(1, 2)


def _pooled(grouped: Tensor, size: int) -> Tensor:
    """Sums over windows of dimension 2, in one step."""
    window = (size, 1) if grouped.dim() == 4 else (1, size)
    border = (size // 2, 0) if grouped.dim() == 4 else (0, size // 2)
    return nn.functional.avg_pool2d(grouped, window, 1, border, divisor_override=1)


def _powers(sums: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """sums^-beta and 1 / sums; the paper's exponent by roots, which are quicker than powers. Overwrites the sums."""
    if beta != 0.75:
        return sums.pow(-beta), sums.reciprocal_()
    root = sums.rsqrt_()
    return root.sqrt().mul_(root), root.square_()
