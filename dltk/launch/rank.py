"""One process of a run: build, restore, train, evaluate, summarise. Started by the launcher, never by hand.

Every process reads the frozen recipe of the run folder; nothing is composed here. `python -m dltk.launch.rank FOLDER`
is what the launcher starts once for each process when there are several.
"""

import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltk.errors import DltkError, ExitCode

if TYPE_CHECKING:
    from dltk.run.folder import RunFolder
    from dltk.trainer.make import Place
    from dltk.trainer.stopping import Signals


def train(folder: "RunFolder", place: "Place", signals: "Signals", restart: Path | None) -> tuple[ExitCode, str]:
    """Train this process's share of a run to its end, or until all processes agree to stop.

    Args:
        folder: the run.
        place: which process this is.
        signals: installed already.
        restart: the verified checkpoint to go on from.

    Returns:
        The exit code and the reason, for the ledger.
    """
    from dltk.assemble import build_callbacks, build_data, build_task
    from dltk.launch import evaluation
    from dltk.run.tracking import Tracker
    from dltk.trainer.make import make_trainer
    from dltk.trainer.recorder import NotFiniteError
    from dltk.trainer.stopping import Stopped

    settings = effective_settings(folder)
    began = time.monotonic()
    note = (lambda line: folder.ledger.note(len(folder.ledger.attempts()), line)) if place.rank == 0 else None
    task = build_task(settings, restored=restart is not None, note=note)
    data = build_data(settings, whole_run=True)
    tracker = None
    if place.rank == 0:
        log = settings["log"]
        tracker = Tracker(
            folder,
            log["wandb"],
            log["project"],
            entity=log["entity"],
            group=log["group"],
            tags=log["tags"],
            config=settings,
        )
    code, reason = ExitCode.CRASHED, "crashed"
    try:
        listeners = [tracker.log] if tracker else []
        trainer = make_trainer(settings, data, folder, place, signals, listeners, build_callbacks(settings))
        trainer.fit(task, datamodule=data, ckpt_path=restart, weights_only=True)
        values = evaluation.final(folder, place, settings, data)
        if place.rank == 0:
            evaluation.write_summary(folder, task, values, seconds=time.monotonic() - began)
        code, reason = ExitCode.DONE, "done"
    except Stopped as stopped:
        code, reason = stopped.exit_code, stopped.reason
    except NotFiniteError as error:
        reason = str(error)
        print(f"{folder.path}: {error}. Lower optimizer.lr, or clip with train.clip_norm.", file=sys.stderr)
    finally:
        if tracker is not None:
            tracker.finish(int(code))
    return code, reason


def effective_settings(folder: "RunFolder") -> dict[str, Any]:
    """The frozen recipe, with what the current attempt changed of the place, its variables resolved."""
    from dltk import recipe

    settings = recipe.thaw(folder.path / "recipe.yaml").settings
    attempts = folder.ledger.attempts()
    changed = attempts[-1].get("changed", {}) if attempts else {}
    for key, value in changed.items():
        *sections, last = key.split(".")
        inner = settings
        for name in sections:
            inner = inner[name]
        inner[last] = value
    return recipe.resolve_place(settings)


def main(arguments: list[str]) -> int:
    """Run one process of several: `FOLDER [CHECKPOINT]`, the rest from RANK and WORLD_SIZE."""
    from dltk.trainer.stopping import Signals

    signals = Signals()
    signals.install()
    _leave_with_parent()
    import torch.distributed as dist

    from dltk.run.folder import RunFolder
    from dltk.trainer.make import Place

    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    place = Place(rank, world, os.environ["DLTK_ACCELERATOR"])
    folder = RunFolder.open(Path(arguments[0]))
    restart = Path(arguments[1]) if len(arguments) > 1 else None
    set_threads(effective_settings(folder), world)
    try:
        code, reason = train(folder, place, signals, restart)
    except DltkError as error:
        print(error, file=sys.stderr)
        return ExitCode.MISTAKE
    if rank == 0 and code in (ExitCode.PREEMPTED, ExitCode.INTERRUPTED):
        (folder.path / "logs" / "reason").write_text(reason)
    if dist.is_initialized():
        dist.destroy_process_group()
    return int(code)


def set_threads(settings: dict[str, Any], world: int) -> None:
    """CPU threads of this process: as the recipe says, or its share of the cores it may use."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    torch.set_num_threads(settings["launch"]["threads"] or max(1, cores // world))


def _leave_with_parent() -> None:
    """End when the launcher is gone: a process whose launcher was killed would wait for its peers for ever."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(ExitCode.CRASHED)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
