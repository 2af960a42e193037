"""What is in a checkpoint: its manifest, what its parts weigh, its tensors, and what is damaged."""

import contextlib
from pathlib import Path
from typing import Any

from dltk.run.atomic import read_object
from dltk.run.checkpoint import Checkpoints, load_file
from dltk.run.tensors import named_tensors, tensor_bytes

PARTS = {  # where in a state the parts stand whose size is told; everything else is `other`
    "weights": ("state_dict",),
    "optimizer": ("optimizer_states",),
    "average": ("callbacks", "Average"),
}
SAID = ("epoch", "samples", "strategy", "world_size")  # by a manifest, beside the step


def inspect(checkpoints: Checkpoints, path: Path, *, tensors: bool = False) -> dict[str, Any]:
    """One checkpoint as plain Python; nothing of a damaged one is loaded.

    Args:
        checkpoints: those that it belongs to.
        path: its folder.
        tensors: list them too.

    Returns:
        `path`, `step`, `epoch`, `samples` (of that epoch), `strategy`, `world_size` (None where the manifest does not
        say), `metrics`, `bytes` on the disk, `damage` (None where it is sound), `parts` (bytes of weights, optimizer,
        average, other), and, where asked for, `tensors` with name, shape, dtype and bytes. Parts and tensors are None
        where it is damaged.
    """
    manifest = read_object(path / "manifest.json") or {}
    damage = checkpoints.verify(path)
    state = load_file(path / "state.pt", mapped=True) if damage is None else None
    answer = {
        "path": str(path),
        "step": manifest.get("step"),
        **{key: manifest.get(key) for key in SAID},
        "metrics": manifest.get("metric") or {},
        "bytes": _size(path),
        "damage": damage,
        "parts": None if state is None else _parts(state, (path / "state.pt").stat().st_size),
    }
    return answer | ({"tensors": None if state is None else _tensors(state)} if tensors else {})


def _size(path: Path) -> int:
    """Bytes of a folder's files; 0 where a training has removed it meanwhile."""
    with contextlib.suppress(OSError):
        return sum(file.stat().st_size for file in path.iterdir() if file.is_file())
    return 0


def _parts(state: dict[str, Any], size: int) -> dict[str, int]:
    """Bytes of each part of a state that takes `size` bytes in all; shared memory counts for the first that has it."""
    counted: set[int] = set()
    parts = {}
    for name, keys in PARTS.items():
        part: Any = state
        for key in keys:
            part = part.get(key, {}) if isinstance(part, dict) else {}
        parts[name] = tensor_bytes(part, counted)
    return {**parts, "other": size - sum(parts.values())}


def _tensors(state: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "shape": list(tensor.shape),
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "bytes": tensor.numel() * tensor.element_size(),
        }
        for name, tensor in named_tensors(state)
    ]
