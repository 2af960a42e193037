"""One process of a run: build, restore, train, evaluate, summarise. Started by the launcher, never by hand.

Every process reads the frozen recipe of the run folder; nothing is composed here. `python -m dltk.launch.rank FOLDER`
is what the launcher starts once for each process when there are several. How it ended stands in a file of the run
folder: exit codes alone tell no cause, and what a process prints is lost among what the others print.
"""

import gc
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltk.errors import DltkError, ExitCode
from dltk.run import phases
from dltk.run.atomic import read_object, replace_file, to_json
from dltk.run.lease import taken
from dltk.trainer.signals import Signals

if TYPE_CHECKING:
    from dltk.data.datamodule import DataModule
    from dltk.launch.evaluation import Evaluated
    from dltk.run.folder import RunFolder
    from dltk.run.tracking import Tracker
    from dltk.trainer.make import Place

FINE = (ExitCode.DONE, ExitCode.PREEMPTED, ExitCode.INTERRUPTED)  # what a process that nothing happened to leaves with


def train(
    folder: "RunFolder", place: "Place", signals: Signals, restart: Path | None, callbacks: Sequence[Any] = ()
) -> tuple[ExitCode, str]:
    """Train this process's share of a run to its end, or until all processes agree to stop.

    Args:
        folder: the run.
        place: which process this is.
        signals: taken already.
        restart: the verified checkpoint to go on from.
        callbacks: of Lightning, that the launcher adds.

    Returns:
        The exit code and the reason, for the ledger.

    Raises:
        NotFiniteError: a loss or a weight was NaN or infinite.
    """
    from dltk.trainer.stopping import Stopped

    settings = effective_settings(folder)
    began = time.monotonic()
    tracker = _tracker(folder, settings) if place.rank == 0 else None
    code, reason = ExitCode.CRASHED, "crashed"
    try:
        _train_and_evaluate(folder, place, settings, signals, restart, tracker, callbacks, began)
        code, reason = ExitCode.DONE, "done"
    except Stopped as stopped:
        code, reason = stopped.exit_code, stopped.reason
    finally:
        if tracker is not None:
            tracker.finish(int(code))
    return code, reason


def _train_and_evaluate(
    folder: "RunFolder",
    place: "Place",
    settings: dict[str, Any],
    signals: Signals,
    restart: Path | None,
    tracker: "Tracker | None",
    callbacks: Sequence[Any],
    began: float,
) -> None:
    from dltk.assemble import build_callbacks, build_data, build_task
    from dltk.launch import evaluation
    from dltk.trainer.make import make_trainer
    from dltk.trainer.stopping import Stopping

    note = (lambda line: folder.ledger.note(len(folder.ledger.attempts()), line)) if place.rank == 0 else None
    phases.begin("network")
    task = build_task(settings, restored=restart is not None, note=note)
    phases.begin("data")
    data = build_data(settings, whole_run=True)
    data.require_index(folder.index, folder.path)
    if place.rank == 0:
        folder.keep_index(data.index, data.total_steps, getattr(data.part("train"), "classes", ()))
    evaluation.require_measurable(task, data, settings)
    others = [*callbacks, *build_callbacks(settings), *_glimpses(settings, data, tracker)]
    phases.begin("rendezvous")
    listeners = [tracker.log] if tracker else []
    trainer = make_trainer(settings, data, folder, place, signals, listeners, others)
    trainer.fit(task, datamodule=data, ckpt_path=restart, weights_only=True)
    found = evaluation.final(folder, place, settings, data, Stopping(signals, folder))
    if place.rank == 0:
        folder.require_lease()
        evaluation.write_summary(folder, task, found.answer, index=data.index, seconds=time.monotonic() - began)
    if tracker is not None and tracker.mode != "disabled":
        _show(folder, settings, data, found, tracker)


def _show(
    folder: "RunFolder", settings: dict[str, Any], data: "DataModule", found: "Evaluated", tracker: "Tracker"
) -> None:
    """Give W&B what its pages show at the end; whatever fails here is no reason for a training to fail."""
    try:
        from dltk.launch import showing

        step = int(found.answer["checkpoint"])
        files = folder.checkpoints.path / f"step-{step:08d}" if settings["log"].get("checkpoint") else None
        tracker.show(step, showing.things(folder, data, found), showing.summary(folder, found.answer), files)
    except Exception as error:
        say(f"W&B: predictions and pictures are left out ({type(error).__name__}: {error}).")


def _glimpses(settings: dict[str, Any], data: "DataModule", tracker: "Tracker | None") -> list[Any]:
    """What shows samples in W&B after validations, where that is wanted; on every process or on none."""
    if settings["log"]["wandb"] == "disabled" or not settings["log"].get("samples", 0):
        return []
    from dltk.launch.glimpses import Glimpses

    return [Glimpses(data, tracker, settings["log"]["samples"], say)]


def _tracker(folder: "RunFolder", settings: dict[str, Any]) -> "Tracker":
    from dltk.run.tracking import Tracker, facts

    log = settings["log"]
    more = {key: log[key] for key in ("entity", "group", "tags")}
    tracker = Tracker(
        folder, log["wandb"], log["project"], config={**settings, "run_on": facts(folder)}, warn=say, **more
    )
    if log["wandb"] != "disabled":
        say(tracker.note)
    return tracker


def say(line: str) -> None:
    """Print a line for the person, beside what a program may read."""
    print(line, file=sys.stderr)


def effective_settings(folder: "RunFolder") -> dict[str, Any]:
    """The frozen recipe, with what the current attempt changed of the place, its variables resolved."""
    from dltk import recipe

    settings = recipe.thaw(folder.path / "recipe.yaml").settings
    attempts = folder.ledger.attempts()
    settings = recipe.with_changes(settings, attempts[-1].get("changed", {}) if attempts else {})
    return recipe.resolve_place(settings)


@dataclass(frozen=True)
class End:
    """How one process of several ended."""

    code: int
    reason: str
    time: float  # seconds since 1970
    mistake: tuple[str, str, str, str] | None = None  # the parts of a user's mistake
    trace: str = ""

    @staticmethod
    def path(folder: Path, rank: int) -> Path:
        """The file it is kept in."""
        return folder / "logs" / f"end-{rank}.json"

    @classmethod
    def read(cls, folder: Path, rank: int) -> "End | None":
        """How a process ended; None while it runs, and when it was killed."""
        return cls.read_path(cls.path(folder, rank))

    @classmethod
    def read_path(cls, path: Path) -> "End | None":
        """What a file says of an end; None where there is none."""
        found = read_object(path)
        return cls(**found) if found else None


Work = Callable[["Place", Signals], tuple[ExitCode, str]]


def main(arguments: list[str]) -> int:
    """Train as one process of several: `FOLDER [CHECKPOINT]`, the rest from RANK and WORLD_SIZE."""
    path, restart = Path(arguments[0]), Path(arguments[1]) if len(arguments) > 1 else None

    def work(place: "Place", signals: Signals) -> tuple[ExitCode, str]:
        from dltk.run.folder import RunFolder

        folder = RunFolder.open(path, token=os.environ["DLTK_LEASE"])
        set_threads(effective_settings(folder), place.local_world)
        return train(folder, place, signals, restart)

    return serve(path, work)


def serve(path: Path, work: Work) -> int:
    """Do the work of one process of several, leave how it ended in a folder, and return the exit code."""
    leave_with(int(os.environ["DLTK_LAUNCHER"]))
    with Signals(say=False) as signals:
        rank = int(os.environ["RANK"])
        end = end_of(work, signals)
        token = os.environ["DLTK_LEASE"]
        if not (token and taken(path / "LEASE", token)):  # else another launcher's processes write their ends there
            replace_file(End.path(path, rank), to_json(asdict(end)))
    if end.code not in FINE:
        # Python's own ending would wait for whatever a failed step has left under way.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code)
    gc.freeze()  # the last look for cycles takes a second
    return end.code


def end_of(work: Work, signals: Signals) -> End:
    """Do the work of the process that the environment tells, and say how it ended; whatever happens is an end."""
    try:
        from dltk.trainer.make import Place
        from dltk.trainer.recorder import NotFiniteError

        try:
            code, reason = work(Place.of_environment(os.environ), signals)
        except NotFiniteError as error:
            return End(ExitCode.CRASHED, str(error), time.time())
    except DltkError as error:
        parts = (error.where, error.key, error.what, error.remedy)
        return End(ExitCode.MISTAKE, str(error), time.time(), mistake=parts)
    except BaseException as error:
        return End(ExitCode.CRASHED, f"{type(error).__name__}: {error}", time.time(), trace=traceback.format_exc())
    _close_group()
    return End(code, reason, time.time())


def _close_group() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def set_threads(settings: dict[str, Any], local: int) -> None:
    """CPU threads of this process: as the recipe says, or its share of the cores it may use."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    torch.set_num_threads(settings["launch"]["threads"] or _openmp_threads() or max(1, cores // local))


def _openmp_threads() -> int:
    """What OMP_NUM_THREADS says of the outermost level: of a list the first number; 0 where OpenMP ignores it."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() else 0


def leave_with(launcher: int) -> None:
    """End when the launcher is gone: a process whose launcher was killed would wait for its peers for ever."""

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(1.0)
        os._exit(ExitCode.CRASHED)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
