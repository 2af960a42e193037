"""The tensors in a checkpoint's state, a nest of dicts, lists and plain values. Imports no torch: it only looks."""

from collections.abc import Iterator
from typing import Any


def named_tensors(state: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every tensor with its place in the state, as `optimizer_states.0.state.3.exp_avg`."""
    if isinstance(state, dict):
        items = list(state.items())
    elif isinstance(state, list | tuple):
        items = list(enumerate(state))
    else:
        if hasattr(state, "untyped_storage"):
            yield name, state
        return
    for key, value in items:
        yield from named_tensors(value, f"{name}.{key}" if name else str(key))


def tensor_bytes(state: Any, counted: set[int] | None = None) -> int:
    """Bytes of all tensor storages in a state, shared ones once.

    Args:
        state: what holds them.
        counted: addresses of storages that do not count any more; those met are added.
    """
    counted, total = set() if counted is None else counted, 0
    for _, tensor in named_tensors(state):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in counted:
            counted.add(storage.data_ptr())
            total += storage.nbytes()
    return total
