"""A copy of a training's state in host memory, which can be written while the training goes on."""

import copy
from typing import Any

import torch
from torch import Tensor, UntypedStorage

from dltk.run.tensors import named_tensors

Kind = tuple[int, bool]  # of a buffer: bytes, and whether it is page-locked, as copies from a device want it


class HostBuffers:
    """Copies states into buffers that are allocated once and used again: filling fresh memory costs several times more.

    A copy is good until the next one is made.
    """

    def __init__(self) -> None:
        self._kept: dict[Kind, list[UntypedStorage]] = {}

    @property
    def bytes(self) -> int:
        """Host memory that is kept."""
        return sum(kind[0] * len(buffers) for kind, buffers in self._kept.items())

    def copy(self, state: dict[str, Any]) -> dict[str, Any]:
        """A state that shares nothing with the one given; tensors that share memory there share it here.

        Everything but tensors is copied as `copy.deepcopy` does.
        """
        free, self._kept = self._kept, {}
        copies: dict[tuple[torch.device, int, int], UntypedStorage] = {}  # device, address, bytes: buffer
        memo: dict[int, Any] = {}
        for _, tensor in named_tensors(state):
            if not _is_plain(tensor):
                continue  # deepcopy knows what to do
            storage = tensor.untyped_storage()
            place = (storage.device, storage.data_ptr(), storage.nbytes())
            if place not in copies:
                copies[place] = self._buffer(storage, free)
                _bytes_of(copies[place]).copy_(_bytes_of(storage), non_blocking=storage.device.type == "cuda")
            memo[id(tensor)] = _like(tensor, copies[place])
        for device in {device for device, *_ in copies if device.type == "cuda"}:
            torch.cuda.synchronize(device)
        return copy.deepcopy(state, memo)

    def release(self) -> None:
        """Give the memory back, once no copy is read any more."""
        self._kept = {}

    def _buffer(self, storage: UntypedStorage, free: dict[Kind, list[UntypedStorage]]) -> UntypedStorage:
        """A kept buffer of the right size, or a fresh one."""
        kind = (storage.nbytes(), storage.device.type == "cuda")
        if free.get(kind):
            buffer = free[kind].pop()
        else:
            buffer = torch.empty(kind[0], dtype=torch.uint8, pin_memory=kind[1]).untyped_storage()
        self._kept.setdefault(kind, []).append(buffer)
        return buffer


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is nothing but a view of its storage."""
    plain = type(tensor) is Tensor and tensor.layout is torch.strided and not tensor.is_quantized
    return plain and not (tensor.is_conj() or tensor.is_neg() or tensor.requires_grad or tensor.is_meta)


def _bytes_of(storage: UntypedStorage) -> Tensor:
    """A whole storage as bytes."""
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


def _like(tensor: Tensor, storage: UntypedStorage) -> Tensor:
    """The same view of another storage."""
    view = torch.empty(0, dtype=tensor.dtype, device=storage.device)
    return view.set_(storage, tensor.storage_offset(), tensor.shape, tensor.stride())
