"""Comparing what checkpoints hold."""

from typing import Any

import torch


def assert_close(one: Any, other: Any, where: str = "", *, relative: float = 1e-5) -> None:
    """Nested states of the same shape whose tensors and numbers are close, measured by the largest of each tensor."""
    assert type(one) is type(other), f"{where}: {type(one)} and {type(other)}"
    if isinstance(one, dict):
        assert list(one) == list(other), where
        for key in one.keys() - {"fused", "foreach"}:  # which kernel does it
            assert_close(one[key], other[key], f"{where}/{key}", relative=relative)
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_close(a, b, f"{where}/{i}", relative=relative)
    elif isinstance(one, torch.Tensor):
        assert (one.dtype, one.shape, type(one)) == (other.dtype, other.shape, type(other)), where
        largest = max(float(other.abs().max()) if other.numel() else 0.0, 1e-12)
        worst = float((one.double() - other.double()).abs().max()) / largest if other.numel() else 0.0
        assert worst <= relative, f"{where}: differs by {worst:.3g} of its largest"
    elif isinstance(one, float):
        assert abs(one - other) <= relative * max(abs(other), 1e-12), f"{where}: {one} and {other}"
    else:
        assert one == other, f"{where}: {one} and {other}"
