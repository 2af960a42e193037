"""How many bytes of tensors a process holds, named by recipes of the tests as `tests.launch.strategies.live:Live`."""

import gc
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer


class Live(Callback):
    """Writes the most bytes that lived before a step and after it, from the second step on.

    Args:
        folder: where each process writes a file `live-RANK`.
    """

    def __init__(self, folder: str) -> None:
        self.folder, self.most = Path(folder), 0

    def on_before_optimizer_step(self, trainer: Trainer, module: LightningModule, optimizer: Any) -> None:
        self._look(module)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        self._look(module)
        (self.folder / f"live-{trainer.global_rank}").write_text(str(self.most))

    def _look(self, module: LightningModule) -> None:
        if module.step >= 2:
            self.most = max(self.most, live())


def live() -> int:
    """Bytes of the storages of all tensors that this process holds."""
    gc.collect()
    sizes = {}
    for thing in gc.get_objects():
        if issubclass(type(thing), torch.Tensor) and thing.device.type != "meta":
            for tensor in (thing, thing.grad if thing.is_leaf else None):
                inner = getattr(tensor, "_local_tensor", tensor)
                if inner is not None:
                    storage = inner.untyped_storage()
                    sizes[storage.data_ptr()] = storage.nbytes()
    return sum(sizes.values())
