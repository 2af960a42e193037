"""A task: how a network is trained and measured. One LightningModule for each way of training, not for each network.

The loss is a sum over a weight. `measure` returns sums; this class multiplies by the number of processes and divides by
the weight of the global batch before the strategy averages over processes. So uneven shares, accumulation and any
number of processes give one and the same gradient, where a mean of means would not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import Metric, MetricCollection

from dltk.data.loader import BatchInfo
from dltk.optim import Constant, Schedule
from dltk.tasks.consensus import Consensus
from dltk.tasks.shards import Shards, clip_norm, clip_value, scale
from dltk.tasks.totals import Totals

Batch = dict[str, Any]

WHOLE = Shards()
PLAIN = frozenset({bool, int, float, str, type(None)})


@dataclass(kw_only=True)
class Procedure:
    """How the weights move: what a recipe says beside network, loss and data."""

    optimizer: Callable[[nn.Module], Optimizer] | None = None
    schedule: Schedule = field(default_factory=Constant)
    clip_norm: float | None = None
    clip_value: float | None = None
    seed: int = 0
    channels_last: bool = False
    monitor: str = "val/loss"  # what plateau schedules hear of
    mode: str = "min"
    metrics: Mapping[str, Metric] = field(default_factory=dict)  # of scores and targets, by label


class Task(lightning.LightningModule):
    """Trains one network. A subclass writes `measure`.

    Args:
        model: the network.
        procedure: optimiser, schedule, clipping, seed; needed for training only.
    """

    splits_scores = False  # whether the loss can be had from scores that lie in parts on several processes
    pipelines = False  # whether the network's layers may lie on several processes, one behind the other
    same_calls = True  # whether a batch decides nothing of which layers are called, and how often

    def __init__(self, model: nn.Module, procedure: Procedure | None = None) -> None:
        super().__init__()
        self.model = model
        self.procedure = procedure or Procedure()
        self.totals = Totals()  # of training, since the last log line
        self.evaluation = Totals()
        self.metrics = MetricCollection(dict(self.procedure.metrics))
        self.vote_to_stop = False  # set by whoever wants this process to stop
        self.stop_agreed = False  # what the processes agreed on in the last step
        self.step = 0  # global batches trained on; the hooks at a batch's end see it counted
        self.split = "test"  # which part `Trainer.test` is given
        self.global_weight = 0.0  # of the last global batch
        self.gradient_norm: Tensor | None = None  # before clipping, when clipping by norm
        self._consensus: Consensus | None = None
        self._weight = 0.0
        self._planned = 0.0

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning sets one around each of its hooks, and nn.Module looks at every value for half a dozen reasons.
        if type(value) in PLAIN and name in self.__dict__:
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def measure(self, batch: Batch) -> dict[str, Any]:
        """Measure one micro-batch.

        Returns:
            `loss`: the sum of the losses of the samples, a scalar with a gradient; `weight`: the sum of their weights,
            a scalar; metrics as `name: (sum, count)`; `scores` where predictions can be kept.
        """
        raise NotImplementedError

    @property
    def shards(self) -> Shards:
        """How the parameters lie on the processes; a strategy of Lightning's own leaves them whole."""
        return getattr(self.trainer.strategy, "shards", WHOLE)

    def weigh(self, info: BatchInfo) -> tuple[float, float]:
        """What a micro-batch weighs in the mean, and what its whole global batch does, had no sample been damaged.

        Both without looking at the device; the first is the `weight` that `measure` gives.
        """
        return info.weight, info.planned

    def expected_loss(self) -> float | None:
        """The loss of an untrained network, where the task knows it (ln k for a softmax over k classes)."""
        return None

    def least_loss(self, batches: Sequence[Batch]) -> float:
        """What the loss of a global batch, given as micro-batches, falls to where a network knows it by heart."""
        return 0.0

    # Training

    def on_fit_start(self) -> None:
        """Open the side channel of the processes."""
        self._consensus = Consensus(self.trainer.world_size)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the generators from (seed, step, micro-batch, rank), so that a restart draws the same masks."""
        info = batch["info"]
        seed_generators(mixed_seed(self.procedure.seed, info.step, info.micro, self.global_rank), self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The micro-batch's share of the global batch's mean loss."""
        info = batch["info"]
        measures = self.measure(batch)
        self.totals.add(measures)
        weight, self._planned = self.weigh(info)
        self._weight += weight
        if (batch_idx + 1) % self.trainer.accumulate_grad_batches == 0:
            assert self._consensus is not None
            self._consensus.start(self._weight, self.vote_to_stop)
            self._weight = 0.0
            self.step = info.step + 1
        # Lightning divides by the number of passes, as for a mean of means: undo it.
        return measures["loss"] * (self.trainer.world_size * self.trainer.accumulate_grad_batches / self._planned)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Correct the gradient where samples of the global batch were damaged and so weighed nothing."""
        assert self._consensus is not None
        weight, self.stop_agreed = self._consensus.finish()
        self.global_weight = weight
        if weight != self._planned and weight > 0:
            scale(self.shards.gradients(self.parameters()), self._planned / weight)

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient of the global batch as the recipe says."""
        assert not gradient_clip_val, (
            "clipping is the recipe's (train.clip_norm), not the Trainer's (gradient_clip_val)"
        )
        if self.procedure.clip_norm is None and self.procedure.clip_value is None:
            return
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)  # a fused optimiser would do it in its step, when they are clipped already
        gradients = self.shards.gradients(self.parameters())
        if self.procedure.clip_norm is not None:
            self.gradient_norm = clip_norm(self.shards, gradients, self.procedure.clip_norm)
        if self.procedure.clip_value is not None:
            clip_value(gradients, self.procedure.clip_value)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then let the network keep its constraints (max-norm)."""
        super().optimizer_step(*args, **kwargs)
        constrain = getattr(self.model, "constrain", None)
        if constrain is not None:
            with torch.no_grad(), self.shards.whole(self.model):
                constrain()

    def configure_optimizers(self) -> Any:
        """The recipe's optimiser, its learning rate following the schedule over the whole run."""
        if self.procedure.optimizer is None:
            raise ValueError("this task has no optimiser: build it from a recipe, or pass Procedure(optimizer=…)")
        optimizer = self.procedure.optimizer(self.model)
        total = (
            getattr(getattr(self.trainer, "datamodule", None), "total_steps", None)
            or self.trainer.estimated_stepping_batches
        )
        schedule = self.procedure.schedule
        scheduler = LambdaLR(optimizer, lambda step: schedule.factor(step, int(total)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    # Evaluation

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Add one batch of the validation part; returns the measures for those who show some."""
        return self._evaluate(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Add one batch of the part evaluated; returns the measures for those who keep predictions."""
        return self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        """Log the exact means over every sample of the validation part."""
        values = self._read_evaluation("val")
        monitored = values.get(self.procedure.monitor)
        if monitored is not None and not self.trainer.sanity_checking:
            self.procedure.schedule.observe(monitored if self.procedure.mode == "min" else -monitored)

    def on_test_epoch_end(self) -> None:
        """Log the exact means over every sample of the part evaluated."""
        self._read_evaluation(self.split)

    def _evaluate(self, batch: Batch) -> dict[str, Any]:
        measures = self.measure(batch)
        self.evaluation.add(measures)
        real = batch["weight"] > 0
        if len(self.metrics) and real.any():
            self.metrics.update(measures["scores"][real], batch["target"][real])
        return measures

    def _read_evaluation(self, split: str) -> dict[str, float]:
        values = {f"{split}/{name}": value for name, value in self.evaluation.read(self.trainer.world_size).items()}
        values |= {f"{split}/{name}": value for name, value in self._read_corpus().items()}
        # Already the same on every process: nothing to reduce.
        self.log_dict({name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}, batch_size=1)
        return values

    def _read_corpus(self) -> dict[str, float]:
        """What is measured of a whole part at once."""
        if not len(self.metrics):
            return {}
        values = {label: float(value) for label, value in self.metrics.compute().items()}
        self.metrics.reset()
        return values

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        """Take what the task needs beside its weights from a checkpoint: nothing."""

    # State and devices

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the step, the schedule's state, and the sums since the last log line."""
        checkpoint["task"] = {
            "step": self.step,
            "schedule": self.procedure.schedule.state_dict(),
            "totals": self.totals.state_dict(self.trainer.world_size),
        }

    def on_load_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Go on from there."""
        state = checkpoint["task"]
        self.step = state["step"]
        self.procedure.schedule.load_state_dict(state["schedule"])
        if self.global_rank == 0:
            self.totals.load_state_dict(state["totals"], self.trainer.strategy.root_device)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move the tensors, beside the computation where memory is pinned; the rest of the batch stays as it is."""
        return {
            name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for name, value in batch.items()
        }


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the host's generator and the device's own.

    `torch.manual_seed` also seeds every kind of device that the process does not use: it notes the call, with its
    stack, in case one is used later. In a loop that costs half a millisecond and some memory each time.
    """
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)


def mixed_seed(*parts: int) -> int:
    """A 63-bit seed from several numbers (splitmix64's finaliser over their running sum)."""
    state = 0
    for part in parts:
        state = (state + part + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1
