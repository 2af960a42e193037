"""Callbacks that look into a step, named by recipes of the tests as `tests.launch.strategies.looking:Collectives`."""

import json
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor
from torch.distributed.tensor.debug import CommDebugMode


class Collectives(Callback):
    """Counts what one process sends in one step, by kind, before the loss and after it, into `collectives-RANK`."""

    def __init__(self, folder: str, step: int) -> None:
        self.folder, self.step = Path(folder), step
        self.counts: list[dict[str, int]] = []
        self.mode: Any = None

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, i: int) -> None:
        if batch["info"].step == self.step:
            self._begin()

    def on_before_backward(self, trainer: Trainer, module: LightningModule, loss: Tensor) -> None:
        if self.mode is not None:
            self._end()
            self._begin()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        if self.mode is not None:
            self._end()
            (self.folder / f"collectives-{trainer.global_rank}").write_text(json.dumps(self.counts))

    def _begin(self) -> None:
        self.mode = CommDebugMode()
        self.mode.__enter__()

    def _end(self) -> None:
        self.mode.__exit__(None, None, None)
        counts = self.mode.get_comm_counts()
        self.counts.append({str(kind).rpartition(".")[2]: n for kind, n in sorted(counts.items(), key=str)})
        self.mode = None


class Masks(Callback):
    """Keeps the masks of a network's `drop`, of several processes that share its units; one process then takes them."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.calls, self.world, self.rank = 0, trainer.world_size, trainer.global_rank
        module.model.drop.register_forward_hook(self._keep if self.world > 1 else self._take)

    def _keep(self, drop: Any, inputs: tuple[Tensor], dropped: Tensor) -> None:
        if drop.training:
            torch.save(torch.where(inputs[0] == 0, 0.0, dropped / inputs[0]), self._file(self.rank))
            self.calls += 1

    def _take(self, drop: Any, inputs: tuple[Tensor], dropped: Tensor) -> Tensor | None:
        if not drop.training:
            return None
        several = len(list(self.folder.glob("mask-0-*")))
        mask = torch.cat([torch.load(self._file(rank), weights_only=True) for rank in range(several)], 1)
        self.calls += 1
        # One process behind another there, sample by sample here.
        order = torch.cat([torch.arange(rank, len(mask), several) for rank in range(several)])
        return inputs[0] * mask[order.argsort()]

    def _file(self, rank: int) -> Path:
        return self.folder / f"mask-{self.calls}-{rank}"


class Half(Callback):
    """Trains in float16 on the CPU, where Lightning does not, and keeps what became of the scale of the loss.

    The first scale makes some gradients infinite.
    """

    def __init__(self, folder: str, scale: float) -> None:
        self.folder, self.first, self.scales = Path(folder), scale, [scale]

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        self.scaler = torch.amp.GradScaler("cpu", init_scale=self.first)
        trainer.strategy._precision_plugin = MixedPrecision("16-mixed", "cpu", self.scaler)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        self.scales.append(self.scaler.get_scale())
        (self.folder / f"scales-{trainer.global_rank}").write_text(json.dumps(self.scales))


class Gathered(Callback):
    """Keeps what a strategy would save before the first step: what came of the checkpoint that it goes on from."""

    def __init__(self, file: str) -> None:
        self.file = file

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        strategy = trainer.strategy
        state = {
            "weights": dict(strategy.lightning_module_state_dict()),
            "optimizer": [strategy.optimizer_state(optimizer) for optimizer in trainer.optimizers],
        }
        if trainer.is_global_zero:
            torch.save(state, self.file)


class Held(Callback):
    """Keeps what a process holds of each parameter, and the order in which it sent pieces forth and back in a step."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.passes: list[str] = []
        layers = trainer.strategy._layers
        layers.register_forward_hook(lambda *_: self.passes.append("forth"))
        layers.decoder.weight_hh_l0.register_post_accumulate_grad_hook(lambda _: self.passes.append("back"))

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        (self.folder / f"passes-{trainer.global_rank}").write_text(json.dumps(self.passes))
        self.passes.clear()

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        state = trainer.optimizers[0].state
        held = {
            name: {
                "weight": parameter.numel(),
                "moments": sum(value.numel() for value in state.get(parameter, {}).values() if value is not None),
            }
            for name, parameter in module.model.named_parameters()
        }
        (self.folder / f"held-{trainer.global_rank}").write_text(json.dumps(held))
