"""Writes what a run does: metrics lines, the digest of the data, where the time goes; stops when a loss is not finite.

Between log lines everything stays on the device; the processes meet once at each line.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from lightning import Callback, Trainer
from torch import Tensor

from dltk.data.gathering import gathered
from dltk.data.loader import Damage, Digest
from dltk.run.folder import RunFolder
from dltk.run.host import resident_memory
from dltk.tasks.task import Task
from dltk.trainer.stopwatch import Stopwatch
from dltk.trainer.utilisation import Utilisation


class NotFiniteError(ArithmeticError):
    """A loss, or a weight that it led to, was NaN or infinite."""


KEPT_LOSSES = 1024  # scalars on the device, between looks
SHOWN_KEYS = 64  # of a batch that made a loss not finite
TOLD_DAMAGE = 10  # samples named at one line
Listener = Callable[[int, dict[str, Any]], None]  # hears of every metrics line: the step and its numbers


class Recorder(Callback):
    """Writes `metrics.jsonl` and tells the listeners.

    Args:
        run: the run folder.
        every: steps between lines.
        total: steps of the run.
        position: step to (epoch, samples of it).
        samples: step to samples consumed since the run began.
        damage: which samples could not be read.
        stopwatch: where the time goes.
        utilisation: which share of the devices' arithmetic is used.
        listeners: who else hears of each line.
        say: prints one line.
    """

    def __init__(
        self,
        run: RunFolder,
        *,
        every: int,
        total: int,
        position: Callable[[int], tuple[int, int]],
        damage: Damage,
        stopwatch: Stopwatch,
        utilisation: Utilisation,
        listeners: list[Listener],
        say: Callable[[str], None],
    ) -> None:
        self.run, self.every, self.total, self.position = run, every, total, position
        self.stopwatch, self.utilisation, self.listeners, self.say = stopwatch, utilisation, listeners, say
        self.damage, self._damage_told = damage, 0  # and how many of it were named
        self.digest = Digest()
        self.validated_step = -1
        self.seen = 0  # samples consumed since the run began
        self._seen_at_line = 0
        self._line_at = time.perf_counter()
        self._losses: list[tuple[int, Tensor]] = []  # (step, loss) of the micro-batches since the last look
        self._recent: deque[tuple[int, tuple[str, ...]]] = deque()  # (step, keys) since the last line
        self._lines_written = 0  # of training, in this attempt
        self._warned_of_data = False

    def is_log_step(self, step: int) -> bool:
        """Whether a line is written after `step` steps."""
        return step % self.every == 0 or step == self.total

    def on_train_start(self, trainer: Trainer, task: Task) -> None:
        """Start the clocks."""
        self._seen_at_line = self.seen
        self._restart_clock()

    def on_train_batch_end(self, trainer: Trainer, task: Task, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count the batch; write a line when one is due."""
        info = batch["info"]
        self.digest.update(info.places, info.hashes)
        self._recent.append((info.step, info.keys))
        self._keep_loss(outputs, info.step)
        self.utilisation.add(batch)
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        self.digest.close_batch()
        self.seen += info.samples
        if self.is_log_step(info.step + 1):
            self.require_finite(trainer, task)
            self._write_training_line(trainer, task, info.step + 1)

    def on_validation_start(self, trainer: Trainer, task: Task) -> None:
        """Validation does not count as training time."""
        self._paused_at = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, task: Task) -> None:
        """Write what was measured."""
        self._line_at += time.perf_counter() - self._paused_at
        if trainer.state.fn != "fit":
            return
        self.validated_step = task.step
        measured = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        self._write(trainer, task.step, measured)
        self.damage.agree(trainer.world_size)
        self._tell_damage(trainer)

    def on_exception(self, trainer: Trainer, task: Task, exception: BaseException) -> None:
        """Name what was met since the last line: it may be why."""
        self._name_damage()

    def require_finite(self, trainer: Trainer, task: Task, *, weights: bool = False) -> None:
        """Stop every process when any of them met a loss that is not finite.

        Args:
            trainer: of this process.
            task: the task in training.
            weights: look at the weights too; they may be broken by a step whose loss was finite.

        Raises:
            NotFiniteError: with the step and the keys of its batch.
        """
        found = gathered(self._find_bad(task, weights), trainer.world_size)
        bad = [one for one in found if one is not None]
        if not bad:
            return
        step, what, _ = min(bad)
        self._await_checkpoint(trainer)
        keys = [key for at, _, keys in bad if at == step for key in keys]
        more = f" and {len(keys) - SHOWN_KEYS} more" if len(keys) > SHOWN_KEYS else ""
        raise NotFiniteError(
            f"{what} not finite at step {step}; its batch: {', '.join(keys[:SHOWN_KEYS])}{more}. "
            f"Lower optimizer.lr, or clip with train.clip_norm{self._as_in()}."
        )

    @staticmethod
    def _await_checkpoint(trainer: Trainer) -> None:
        """Let a checkpoint that is being written be published: the remedy goes on from the newest one."""
        wait = getattr(trainer.strategy.checkpoint_io, "wait", None)
        if wait is not None:
            wait()

    def _as_in(self) -> str:
        """A command that does so from the newest checkpoint; nothing where there is none, or no one rate."""
        rate = (self.run.recipe.get("optimizer") or {}).get("lr")
        if not self.run.checkpoints.steps() or not isinstance(rate, int | float):
            return ""
        return f": dltk train --fork {self.run.path} optimizer.lr={rate / 2:g}"

    def state_dict(self) -> dict[str, Any]:
        """The digest, the samples seen, the last validation, how many damaged samples were named."""
        state = {"seen": self.seen, "validated_step": self.validated_step, "damage_told": self._damage_told}
        return {"digest": self.digest.state_dict(), **state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.digest.load_state_dict(state_dict["digest"])
        self.seen, self.validated_step = state_dict["seen"], state_dict["validated_step"]
        self._damage_told = state_dict.get("damage_told", 0)

    def _keep_loss(self, outputs: Any, step: int) -> None:
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if isinstance(loss, Tensor):
            self._losses.append((step, loss.detach()))
        if len(self._losses) > KEPT_LOSSES:
            self._losses = self._losses[self._first_bad() :][:1]

    def _first_bad(self) -> int:
        """The place of the first loss kept that is not finite, or their number. Waits for the device."""
        if not self._losses:
            return 0
        bad = ~torch.stack([loss for _, loss in self._losses]).isfinite()
        return int(bad.int().argmax()) if bad.any() else len(self._losses)

    def _find_bad(self, task: Task, weights: bool) -> tuple[int, str, tuple[str, ...]] | None:
        """The first step that went wrong on this process since the last look, what did, and the keys of its batch."""
        first = self._first_bad()
        step, what = self._losses[first][0] if first < len(self._losses) else -1, "the loss is"
        self._losses = self._losses[first:][:1]
        if step < 0 and weights and not _finite([task.shards.part(parameter) for parameter in task.model.parameters()]):
            step, what = task.step - 1, "the weights after the update are"
        if step < 0:
            return None
        return step, what, tuple(key for at, keys in self._recent if at == step for key in keys)

    def _write_training_line(self, trainer: Trainer, task: Task, step: int) -> None:
        self._recent = deque(entry for entry in self._recent if entry[0] == step - 1)
        seconds = max(1e-9, time.perf_counter() - self._line_at)
        parts = self.stopwatch.read()
        metrics: dict[str, Any] = {
            f"train/{name}": value for name, value in task.totals.read(trainer.world_size).items()
        }
        rates = [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups]
        if rates:
            metrics["train/lr"] = rates[0]
        if task.gradient_norm is not None:
            metrics["train/gradient_norm"] = float(task.gradient_norm)
        metrics["time/samples_per_second"] = rate = (self.seen - self._seen_at_line) / seconds
        for side in ("source_tokens", "target_tokens"):  # of text: of a sample in the mean
            if f"train/{side}" in metrics:
                metrics[f"time/{side}_per_second"] = rate * metrics[f"train/{side}"]
        share = self.utilisation.share(rate, trainer.world_size)
        if share is not None:
            metrics["time/mfu"] = share
        metrics |= {f"time/{part}": spent / seconds for part, spent in parts.items()}
        metrics |= _memory(task.device)
        metrics["data/digest"] = self.digest.agreed(trainer.world_size)
        self.damage.agree(trainer.world_size)
        if self.damage.reasons:
            metrics["data/damaged"] = len(self.damage.reasons)
        self._write(trainer, step, metrics)
        self._tell_damage(trainer)
        self._remedy(metrics["time/data_wait"], trainer)
        self._lines_written += 1
        self._seen_at_line = self.seen
        self._restart_clock()

    def _write(self, trainer: Trainer, step: int, metrics: dict[str, Any]) -> None:
        if not trainer.is_global_zero:
            return
        epoch, _ = self.position(step)
        self.run.require_lease()
        self.run.metrics.append(step=step, epoch=epoch, samples=self.seen, time=time.time(), **metrics)
        for listener in self.listeners:
            listener(step, metrics)

    def _tell_damage(self, trainer: Trainer) -> None:
        """Name the damaged samples that were met since the last line.

        Raises:
            DataError: there are more than allowed; on every process.
        """
        if trainer.is_global_zero:
            self._name_damage()
        self._damage_told = len(self.damage.reasons)
        self.damage.require_few()

    def _name_damage(self) -> None:
        new = self.damage.lines(self._damage_told)
        for line in new[:TOLD_DAMAGE]:
            self.say(f"Damaged, left out: {line}")
        if len(new) > TOLD_DAMAGE:
            self.say(f"Damaged, left out: {len(new) - TOLD_DAMAGE} more")

    def _remedy(self, data_wait: float, trainer: Trainer) -> None:
        # An attempt's first line holds the workers' start.
        if data_wait > 0.2 and not self._warned_of_data and trainer.is_global_zero and self._lines_written:
            self._warned_of_data = True
            self.say(
                f"{100 * data_wait:.0f} % of the time goes into waiting for data. "
                "Raise data.workers, or choose a cheaper data.augment."
            )

    def _restart_clock(self) -> None:
        self.stopwatch.read()
        self._line_at = time.perf_counter()


def _memory(device: torch.device) -> dict[str, float]:
    """What this process holds of the machine's memory, and at most of its device's since the last line, in MB."""
    found = {"memory/process_mb": round(resident_memory() / 1e6, 1)}
    if device.type == "cuda":
        found["memory/device_mb"] = round(torch.cuda.max_memory_allocated(device) / 1e6, 1)
        torch.cuda.reset_peak_memory_stats(device)
    return found


def _finite(parameters: list[Tensor]) -> bool:
    """Whether every number is finite; waits for the device once."""
    parameters = [parameter for parameter in parameters if parameter.numel()]  # a part of a small one may be empty
    if not parameters:
        return True
    norms = torch._foreach_norm(parameters, torch.inf)
    return bool(torch.stack([norm.float() for norm in norms]).isfinite().all())
