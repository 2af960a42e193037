"""After a restart the recipe's optimiser settings count, where the checkpoint says other: a fork may change them."""

from typing import Any

from lightning import Callback, Trainer
from torch import Tensor
from torch.optim import Optimizer

from dltk.tasks.task import Task


class Options(Callback):
    """Puts the optimisers' options (learning rate, momentum, weight decay …) back to the recipe's after restoring.

    The moments come from the checkpoint. The learning rate stays where the schedule had it, times the new over the old
    initial rate; where the recipe is the one that saved, nothing changes.
    """

    def on_fit_start(self, trainer: Trainer, task: Task) -> None:
        """The optimisers are made, and nothing is restored yet."""
        self._wanted = [[_options(group) for group in one.param_groups] for one in trainer.optimizers]

    def on_train_start(self, trainer: Trainer, task: Task) -> None:
        """Everything is restored."""
        for optimizer, wanted in zip(trainer.optimizers, self._wanted, strict=True):
            for group, options in zip(optimizer.param_groups, wanted, strict=True):
                before, now = group.get("initial_lr"), options.get("initial_lr")
                rate = group["lr"] if before == now else group["lr"] * now / before if before else now
                group.update(options, lr=rate)
            _place_counts(optimizer)
        for config in trainer.lr_scheduler_configs:
            scheduler: Any = config.scheduler
            scheduler.base_lrs = [group["initial_lr"] for group in scheduler.optimizer.param_groups]


def _place_counts(optimizer: Optimizer) -> None:
    """Lay the counts of steps where the recipe's kernels look for them; other kernels may have saved."""
    beside = any(group.get("fused") or group.get("capturable") for group in optimizer.param_groups)
    for parameter, state in optimizer.state.items():
        if isinstance(state.get("step"), Tensor):
            state["step"] = state["step"].to(parameter.device if beside else "cpu")


def _options(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}
