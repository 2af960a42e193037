"""When to save, and how Lightning's checkpoint becomes a directory of the run folder and comes back."""

import contextlib
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer
from lightning.fabric.plugins import CheckpointIO

from dltk.errors import LaunchError
from dltk.run.folder import RunFolder
from dltk.run.host import free_memory
from dltk.run.tensors import tensor_bytes
from dltk.tasks.task import Task
from dltk.trainer.background import Background
from dltk.trainer.config import CheckpointConfig
from dltk.trainer.recorder import Recorder
from dltk.trainer.snapshot import HostBuffers
from dltk.trainer.stopping import Stopping

MEMORY_SHARE = 0.5  # of the free memory that the copy of a checkpoint may take without being asked for


class DirectoryIO(CheckpointIO):
    """Lightning's reading and writing of checkpoints, through the run folder's verified directories.

    A checkpoint is written behind the training's back: copied into host memory that is kept for the next one, then
    written, published and pruned by a thread. One write is under way at a time; its error comes with the next call.

    Args:
        run: the run folder.
        config: what to keep, and whether to write behind the training's back.
        accumulate: micro-batches of a step in this attempt; the attempt that saved may have had others.
        strategy: of this attempt; what is saved does not depend on it, and goes on under any other.
        world: processes of this attempt, likewise.
        say: prints one line.
    """

    def __init__(
        self,
        run: RunFolder,
        config: CheckpointConfig,
        accumulate: int,
        strategy: str,
        world: int,
        say: Callable[[str], None],
    ) -> None:
        self.run, self.config, self.accumulate, self.say = run, config, accumulate, say
        self.strategy, self.world = strategy, world
        self.checkpoints = run.checkpoints
        self.meta: dict[str, Any] = {}  # for the next manifest
        self.began = time.monotonic()  # when the next checkpoint was decided on, by the monotonic clock
        self._writer = Background("dltk-checkpoint")
        self._buffers = HostBuffers()
        self._behind: bool | None = None  # whether a thread writes; decided at the first save

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write and publish one directory, or begin to; `path` is ignored, the step names it."""
        self.finish()
        if not self._writes_behind(checkpoint):
            self._publish(checkpoint, self.meta, self.began)
        else:
            self._writer.start(partial(self._publish, self._buffers.copy(checkpoint), self.meta, self.began))

    def check(self) -> None:
        """Raise the error of a write that has failed; never waits."""
        self._writer.check()

    def wait(self) -> None:
        """Wait until the last checkpoint is published, or could not be; `finish` tells."""
        self._writer.wait()

    def finish(self) -> None:
        """Wait until the last checkpoint is published. Raises the error that kept it from being so."""
        self._writer.finish()

    def teardown(self) -> None:
        """Give the copy's memory back when the training is over."""
        self.finish()
        self._buffers.release()

    def _publish(self, checkpoint: dict[str, Any], meta: dict[str, Any], began: float) -> None:
        self.checkpoints.write(meta["step"], checkpoint, meta, self.run.require_lease)
        with contextlib.suppress(LaunchError, OSError):  # a disk that refuses is told of by what matters more
            self.run.note_save(time.monotonic() - began)
        config = self.config
        self.checkpoints.prune(
            keep_last=config.keep_last, keep_best=config.keep_best, metric=config.monitor, mode=config.mode
        )

    def _writes_behind(self, checkpoint: dict[str, Any]) -> bool:
        if self._behind is None:
            self._behind = self.config.asynchronous is True
            if self.config.asynchronous == "auto":
                need, free = tensor_bytes(checkpoint), free_memory()
                self._behind = need <= MEMORY_SHARE * free
                if not self._behind:
                    self.say(
                        f"Training waits for each checkpoint to be written: a copy takes {need / 1e9:.1f} GB, and "
                        f"{free / 1e9:.1f} GB of memory are free. checkpoint.asynchronous=true copies all the same."
                    )
        return self._behind

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Verify and read one directory."""
        checkpoint = self.checkpoints.load(Path(path))
        self._tell_of_change(self.checkpoints.manifest(Path(path)))
        restart_loops(checkpoint["loops"]["fit_loop"], checkpoint["task"]["step"] * self.accumulate)
        return checkpoint

    def _tell_of_change(self, manifest: dict[str, Any]) -> None:
        """One line where other processes saved than go on."""
        before = _processes(manifest.get("strategy"), manifest.get("world_size"))
        now = _processes(self.strategy, self.world)
        if before != now:
            self.say(f"step {manifest['step']:,} was saved by {before}, and goes on with {now}")

    def remove_checkpoint(self, path: Any) -> None:
        """Lightning removes nothing here; the run folder's retention does."""
        raise AssertionError("checkpoints are removed by Checkpoints.prune only")


def _processes(strategy: str | None, world: int | None) -> str:
    if world == 1 or world is None:
        return "one process"
    return f"{world} processes ({strategy or 'ddp'})"  # of an earlier dltk, which had no other


def restart_loops(state: dict[str, Any], batches: int) -> None:
    """Make the state of Lightning's fit loop say: `batches` are done, nothing is under way.

    A checkpoint may have been written inside a hook, where some of Lightning's counters are ahead of others, or by
    processes that took more or fewer micro-batches a step.
    """
    done = dict.fromkeys(("ready", "started", "processed", "completed"), batches)
    state["epoch_loop.batch_progress"] = {"total": done, "current": dict(done), "is_last_batch": False}
    nothing = dict.fromkeys(("ready", "started", "processed", "completed"), 0)
    state["epoch_loop.val_loop.batch_progress"] = {"total": nothing, "current": dict(nothing), "is_last_batch": False}
    begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    state["epoch_progress"] = {"total": begun, "current": dict(begun)}


class Saving(Callback):
    """Saves every so many steps or minutes, after each validation, at the end, and when asked to stop.

    Args:
        config: when, and what to keep.
        io: the writer.
        stopping: who leaves after the save.
        recorder: refuses to save weights that are not finite.
        position: step to (epoch, samples of it).
        say: prints one line.
    """

    def __init__(
        self,
        config: CheckpointConfig,
        io: DirectoryIO,
        stopping: Stopping,
        recorder: Recorder,
        position: Callable[[int], tuple[int, int]],
        say: Callable[[str], None],
    ) -> None:
        self.config, self.io, self.stopping, self.recorder, self.position = config, io, stopping, recorder, position
        self.say = say
        self.saved_step = -1  # of the last checkpoint that was begun, the same on every process
        self._saved_at = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, task: Task, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save when a step is due; leave when the processes agreed to stop."""
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        self.io.check()
        step = batch["info"].step + 1
        if task.stop_agreed:
            self._save_and_leave(trainer, task, step)
        validates_now = batch_idx + 1 == trainer.val_check_batch  # and saves after that
        if not validates_now and (self._step_due(step) or self._minutes_due(trainer, step)):
            self.save(trainer, task, step)

    def on_validation_batch_end(self, trainer: Trainer, task: Task, *_: Any) -> None:
        """Save and leave when the processes agreed to stop; the validation is made up for after the restart."""
        if task.stop_agreed and trainer.state.fn == "fit":
            self._save_and_leave(trainer, task, task.step)

    def on_validation_end(self, trainer: Trainer, task: Task) -> None:
        """Save what was just measured, so that the best can be kept."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.save(trainer, task, task.step)

    def on_train_end(self, trainer: Trainer, task: Task) -> None:
        """Whatever comes next finds the last checkpoint published, on every process."""
        self._finish(trainer)

    def on_exception(self, trainer: Trainer, task: Task, exception: BaseException) -> None:
        """A checkpoint under way is finished even so; why the training ends matters more than what befell it."""
        try:
            self.io.finish()
        except Exception as error:
            if str(error) != str(exception):
                self.say(f"The last checkpoint was not written: {error}")

    def save(self, trainer: Trainer, task: Task, step: int) -> None:
        """Write the checkpoint of `step`, or begin to, on every process together."""
        if step == self.saved_step:
            return
        self.io.began = time.monotonic()
        self.recorder.require_finite(trainer, task, weights=True)
        epoch, samples = self.position(step)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        measured = self.recorder.validated_step == step
        self.io.meta = {
            "step": step,
            "epoch": epoch,
            "samples": samples,
            "world_size": self.io.world,
            "strategy": self.io.strategy,
            "metric": metrics if measured else {},
        }
        if trainer.is_global_zero:
            self.stopping.run.require_lease()
        trainer.save_checkpoint(self.io.checkpoints.path / f"step-{step:08d}", weights_only=False)
        self.saved_step, self._saved_at = step, time.monotonic()

    def _save_and_leave(self, trainer: Trainer, task: Task, step: int) -> None:
        self.save(trainer, task, step)
        self._finish(trainer)
        self.stopping.leave(trainer)

    def _finish(self, trainer: Trainer) -> None:
        """Wait on every process until the first one has published the last checkpoint."""
        self.io.finish()
        trainer.strategy.barrier("dltk.checkpoint")

    def _step_due(self, step: int) -> bool:
        return self.config.every_steps is not None and step % self.config.every_steps == 0

    def _minutes_due(self, trainer: Trainer, step: int) -> bool:
        """The first process's clock decides, asked only at log lines, where the processes meet anyway."""
        if not self.recorder.is_log_step(step):
            return False
        due = time.monotonic() - self._saved_at >= 60 * self.config.every_minutes
        return bool(trainer.strategy.broadcast(due)) if trainer.world_size > 1 else due
