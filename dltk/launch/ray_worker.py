"""One worker of a Ray Train group: the training of one process, in the process group that Ray has made.

Ray starts the workers of a group together and ends them together, so a group is one attempt at the run: its first
worker chooses the checkpoint, writes the ledger, and tells the others. Why a worker has left tells its exception:
whether the group is to be made again decides `dltk.launch.ray_policies` by it.
"""

import contextlib
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer

from dltk import recipe
from dltk.errors import ExitCode
from dltk.launch.here import prepare, require_progress
from dltk.launch.rank import End, effective_settings, end_of, say, set_threads, train
from dltk.launch.ray_group import DRIVER, Crashed, Leaving, Order, PeerLost
from dltk.run.atomic import replace_file, to_json
from dltk.run.checkpoint import step_of
from dltk.run.folder import RunFolder
from dltk.run.lease import LeaseLost
from dltk.trainer.checkpointing import Saving
from dltk.trainer.make import Place
from dltk.trainer.signals import Signals

LOST = (  # what gloo and torch's store say when another process is gone
    *("connection closed by peer", "connection reset by peer", "connection refused", "socket closed"),
    *("pair closure", "broken pipe"),
)


def train_as_worker(told: Order) -> None:
    """Train as one worker.

    Raises:
        Leaving: saved, start the group again.
        PeerLost: another worker is gone.
        Crashed: do not start it again.
    """
    _quiet()
    _take_environment(told)
    if Path(told.folder).is_dir():
        os.chdir(told.folder)
    folder = RunFolder.open(Path(told.path), token=told.token)
    lost: list[BaseException] = []

    def as_rank(place: Place, signals: Signals) -> tuple[ExitCode, str]:
        number, restart = _begun(folder, place, told)
        code: ExitCode | None = ExitCode.CRASHED
        try:
            set_threads(effective_settings(folder), int(os.environ["DLTK_LOCAL_WORLD"]))
            code, reason = train(folder, place, signals, restart, [Reporting(folder)])
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            if place.world > 1 and is_lost(error):
                lost.append(error)
                code, reason = None, f"unknown, another process was lost ({_first_line(error)})"
            raise
        finally:
            if place.rank == 0:
                _ended(folder, number, code, reason)
        return code, reason

    end = end_of(as_rank, Signals(say=False))  # in a thread, where Python takes no signals: STOP tells it to leave
    replace_file(End.path(folder.path, int(os.environ["RANK"])), to_json(asdict(end)))
    if lost:
        raise PeerLost(end.reason)
    if end.code == ExitCode.PREEMPTED:
        raise Leaving(end.reason)
    if end.code not in (ExitCode.DONE, ExitCode.INTERRUPTED):
        raise Crashed(end.reason)


def is_lost(error: BaseException) -> bool:
    """Whether an exception says that another process of the group is gone."""
    import torch.distributed as dist

    seen: BaseException | None = error
    while seen is not None:
        said = str(seen).lower() if isinstance(seen, RuntimeError) else ""
        if isinstance(seen, dist.DistError) or any(phrase in said for phrase in LOST):
            return True
        seen = seen.__cause__
    return False


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _quiet() -> None:
    """Keep Ray Train from printing each report of every worker."""
    from ray.train.v2._internal.execution import context

    logging.getLogger(context.__file__).setLevel(logging.WARNING)  # that logger has the name of its file


def _take_environment(told: Order) -> None:
    """Tell Lightning and our own launcher's parts which process this is: each worker as a machine of its own.

    The workers of a group need not lie evenly on the nodes, so nothing follows from a rank but itself.
    """
    import ray.train
    import ray.train.torch

    context = ray.train.get_context()
    said = {"RANK": context.get_world_rank(), "WORLD_SIZE": context.get_world_size()}
    said |= {"LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1, "NODE_RANK": context.get_world_rank()}
    said |= {"DLTK_LOCAL_WORLD": context.get_local_world_size()}
    said |= {"DLTK_ACCELERATOR": told.accelerator, "DLTK_LEASE": told.token}
    if told.accelerator == "cuda":
        said["DLTK_DEVICE"] = ray.train.torch.get_device().index
    os.environ.update({name: str(value) for name, value in said.items()})


def _begun(folder: RunFolder, place: Place, told: Order) -> tuple[int, Path | None]:
    """The attempt's number, and the checkpoint that the first worker chose.

    Raises:
        LaunchError: too many attempts in a row have not gained a step.
    """
    import ray.train.collective

    chosen: tuple[int, str | None] = 0, None
    if place.rank == 0:
        restart = prepare(folder)
        for old in (folder.path / "logs").glob("end-*.json"):
            old.unlink(missing_ok=True)
        step = step_of(restart)
        launch = recipe.thaw(folder.path / "recipe.yaml").settings["launch"]
        most = told.changed.get("launch.max_attempts", launch["max_attempts"])
        require_progress(folder, step, most)
        about = {"changed": dict(told.changed), "world_size": place.world, "accelerator": place.accelerator}
        number = folder.ledger.begin({**about, "job": told.job, "step": step})
        for warning in folder.checkpoints.warnings:
            folder.ledger.note(number, warning)
        workers = "1 worker" if place.world == 1 else f"{place.world} workers"
        say(f"attempt {number}: {workers}, from step {step:,}")
        chosen = number, str(restart) if restart else None
    number, path = ray.train.collective.broadcast_from_rank_zero(chosen)
    return number, Path(path) if path else None


def _ended(folder: RunFolder, number: int, code: ExitCode | None, reason: str) -> None:
    """Write the attempt's end, unless the run has gone to another driver, and take the answered request away."""
    with contextlib.suppress(LeaseLost):
        folder.require_lease()
        folder.ledger.end(number, reason, code, step_of(folder.checkpoints.newest()))
        if code is ExitCode.PREEMPTED and (folder.stop_request() or {}).get("who") != DRIVER:
            folder.clear_stop()


class Reporting(Callback):
    """Reports to Ray the checkpoints that the run folder has got; they stay where they are.

    A checkpoint is published behind the training's back, so it is the one before that is known when one is begun.

    Args:
        run: the run folder.
    """

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._reported = -1

    def on_train_batch_end(self, trainer: Trainer, task: Any, *_: Any) -> None:
        """Report when another checkpoint was begun, on every process alike."""
        saving = next(one for one in trainer.callbacks if isinstance(one, Saving))  # type: ignore[attr-defined]
        if saving.saved_step != self._reported:
            self._reported = saving.saved_step
            self._report(trainer)

    def on_fit_end(self, trainer: Trainer, task: Any) -> None:
        """Report the last one."""
        self._report(trainer)

    def _report(self, trainer: Trainer) -> None:
        import ray.train

        newest = max(self._run.checkpoints.steps().items(), default=None) if trainer.is_global_zero else None
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        ray.train.report(
            {**metrics, "step": max(self._reported, 0)},
            checkpoint=ray.train.Checkpoint.from_directory(str(newest[1])) if newest else None,
            checkpoint_upload_mode=ray.train.CheckpointUploadMode.NO_UPLOAD,
        )
