"""When to validate: at the ends of epochs or every so many steps, and always after the last one."""

from collections.abc import Callable

from lightning import Callback, Trainer

from dltk.tasks.task import Task
from dltk.trainer.recorder import Recorder


class Validating(Callback):
    """Tells Lightning the next batch after which to validate.

    Args:
        following: step to the next step, after it, at which to validate.
        recorder: knows what was validated before a restart.
    """

    def __init__(self, following: Callable[[int], int], recorder: Recorder) -> None:
        self.following = following
        self.recorder = recorder

    def on_train_start(self, trainer: Trainer, task: Task) -> None:
        """Make up for a validation that the last attempt did not come to."""
        due = task.step > 0 and self.following(task.step - 1) == task.step
        if due and trainer.enable_validation and self.recorder.validated_step < task.step:
            trainer.validating = True
            trainer.fit_loop.epoch_loop.val_loop.run()
            trainer.training = True
        self._plan(trainer, task.step)

    def on_validation_end(self, trainer: Trainer, task: Task) -> None:
        """Plan the next one."""
        if trainer.state.fn == "fit":
            self._plan(trainer, task.step)

    def _plan(self, trainer: Trainer, step: int) -> None:
        # Lightning validates after batch i when (i + 1) is a multiple of this number: the first is the number itself.
        trainer.val_check_batch = self.following(step) * trainer.accumulate_grad_batches
