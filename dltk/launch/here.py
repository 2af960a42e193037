"""Running on this machine: one process in place, or one for each device, watched until the last has left."""

import contextlib
import importlib.util
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dltk import recipe
from dltk.errors import DltkError, ExitCode, LaunchError
from dltk.launch.forking import forked
from dltk.launch.nodes import Node, lead
from dltk.launch.opening import changes, is_run, opened
from dltk.launch.processes import Group, run_processes
from dltk.launch.rank import say
from dltk.run import phases
from dltk.run.checkpoint import step_of
from dltk.run.folder import RunFolder
from dltk.run.lease import STALE, Lease
from dltk.trainer.config import sharing
from dltk.trainer.signals import Signals
from dltk.trainer.strategies.deepspeed_config import STAGES


def train(*sources: Any) -> RunFolder:
    """Train a recipe (files, overlays, `key=value`, mappings) to its end, or continue a run folder.

    Returns:
        The run's folder.

    Raises:
        RecipeError: a setting is wrong.
        LaunchError: the run cannot start, or did not end well.
    """
    folder, changed = open_run(sources)
    code = attempt(folder, changed)
    if code is not ExitCode.DONE:
        again = "Mend its cause first." if code is ExitCode.CRASHED else "Train again to go on."
        raise LaunchError(folder.path, "", f"training ended with {code.name.lower()} ({int(code)})", again)
    return folder


def open_run(
    sources: Sequence[Any], *, fork: str | None = None, extend: bool = False
) -> tuple[RunFolder, dict[str, Any]]:
    """The run folder that sources name or begin, and what this attempt changes of its place.

    Args:
        sources: a run folder or recipe files, then overlays and `key=value`.
        fork: RUN or RUN@STEP: begin a new run from a checkpoint of that one, by its recipe unless sources say another.
        extend: the run may become longer than its frozen recipe says.

    Raises:
        LaunchError: a setting differs from the frozen recipe in a way that changes the result.
    """
    if fork is not None:
        return forked(fork, list(sources)), {}
    if sources and isinstance(sources[0], str | Path) and is_run(sources[0]):
        folder = opened(Path(sources[0]))
        with phases.phase("compose"):
            wanted = recipe.load(folder.path / "recipe.yaml", *sources[1:], going_on=True)
        return folder, changes(folder, wanted, extend)
    with phases.phase("compose"):
        wanted = recipe.load(*sources)
    runs_dir, name = Path(wanted.settings["runs_dir"]), wanted.settings["run"]
    if name is not None and is_run(runs_dir / wanted.name / name):
        folder = opened(runs_dir / wanted.name / name)
        return folder, changes(folder, wanted, extend)
    with phases.phase("folder"):
        return RunFolder.create(runs_dir, wanted.name, wanted.settings, run=name, text=recipe.freeze(wanted)), {}


def attempt(
    folder: RunFolder,
    changed: Mapping[str, Any] | None = None,
    signals: Signals | None = None,
    node: Node | None = None,
) -> ExitCode:
    """One attempt at a run: resume from the newest checkpoint that verifies, train, settle the ledger.

    Args:
        folder: the run.
        changed: settings of its place that this attempt changes, by dotted key.
        signals: taken already, by a caller who did slow things before.
        node: which machine this is, the first of those that train together; None: the only one.

    Raises:
        LaunchError: another process trains this run, the disk refuses, or the run wants more machines.
    """
    old_stop = folder.stop_request()
    with contextlib.nullcontext(signals) if signals else Signals() as taken, lease_of(folder, node, taken):
        restart = _prepare(folder, node, old_stop)
        settings = recipe.thaw(folder.path / "recipe.yaml").settings
        launch = {**settings["launch"], **_launch_changes(changed)}
        require_progress(folder, step_of(restart), launch["max_attempts"])
        accelerator, local = devices(launch)
        _require_nodes(folder, launch["nodes"], node)
        world = local * launch["nodes"]
        _require_groups(folder, launch, world)
        number = folder.ledger.begin(
            {
                "changed": dict(changed or {}),
                "world_size": world,
                "accelerator": accelerator,
                **({"nodes": node.count, "job": node.job} if node else {}),
                "step": step_of(restart),
            }
        )
        for warning in [*folder.checkpoints.warnings, *_other_versions(folder)]:
            folder.ledger.note(number, warning)
        with _settled(folder, number) as end:
            if world == 1:
                end[:] = _in_place(folder, accelerator, taken, restart)
            elif node is not None:
                end[:] = lead(folder, node, accelerator, local, restart, taken)
            else:
                command = [sys.executable, "-m", "dltk.launch.rank", str(folder.path)]
                command += [str(restart)] if restart else []
                end[:] = run_processes(folder, command, accelerator, Group(local), taken)
    return end[0]


@contextlib.contextmanager
def _settled(folder: RunFolder, number: int) -> Iterator[list[Any]]:
    """A list for exit code and reason, which go into the ledger at the end; an exception brings its own."""
    end: list[Any] = [ExitCode.CRASHED, "crashed"]
    try:
        yield end
    except BaseException as error:
        mistake = isinstance(error, DltkError)
        end[:] = (ExitCode.MISTAKE, str(error)) if mistake else (ExitCode.CRASHED, f"{type(error).__name__}: {error}")
        with contextlib.suppress(LaunchError):  # the disk may be full, and the error above tells more
            _end_attempt(folder, number, end)
        raise
    _end_attempt(folder, number, end)


def _end_attempt(folder: RunFolder, number: int, end: list[Any]) -> None:
    code, reason = end
    folder.require_lease()
    folder.ledger.end(number, reason, int(code), step_of(folder.checkpoints.newest()))


def devices(launch: Mapping[str, Any]) -> tuple[str, int]:
    """The accelerator (`cpu` or `cuda`) and the number of processes that the `launch` settings mean on this machine.

    Raises:
        LaunchError: more devices asked than the machine has, or a strategy whose library it lacks.
    """
    import torch

    found = torch.cuda.device_count()
    accelerator = launch["accelerator"]
    if accelerator == "auto":
        accelerator = "cuda" if found else "cpu"
    count = launch["devices"]
    if accelerator == "cuda":
        if not found:
            raise LaunchError("", "launch.accelerator", "'cuda' asked, this machine has no CUDA device", "Use 'auto'.")
        count = found if count == "auto" else count
        if count > found:
            raise LaunchError("", "launch.devices", f"{count} asked, this machine has {found}", f"Set at most {found}.")
    count = 1 if count == "auto" else count
    if count < 1:
        raise LaunchError("", "launch.devices", f"{count} asked", "Set at least 1, or 'auto'.")
    if count > 1 and launch["strategy"] in STAGES and importlib.util.find_spec("deepspeed") is None:
        what = f"'{launch['strategy']}' asked, and DeepSpeed is not installed"
        raise LaunchError("", "launch.strategy", what, "Install the extra: dltk[deepspeed] (Linux only).")
    return accelerator, count


def _require_nodes(folder: RunFolder, wanted: int, node: Node | None) -> None:
    """See that as many machines came as the recipe says."""
    if wanted > 1 and node is None:
        remedy = f"Submit it to a cluster, or try it on this one: dltk train RUN --simulate {wanted}xPROCESSES."
        raise LaunchError(folder.path, "launch.nodes", f"{wanted} asked, and this is one machine", remedy)
    if node is not None and node.count != wanted:
        what = f"{wanted} asked, and the job has {node.count}"
        raise LaunchError(folder.path, "launch.nodes", what, f"Submit it again with launch.nodes={node.count}.")


def _require_groups(folder: RunFolder, launch: Mapping[str, Any], world: int) -> None:
    """See that the processes are whole groups of those that have a network together; one process has it alone."""
    key, count = sharing(launch)
    if world > 1 and world % count:
        what = f"{count} given, and {world} processes are no multiple of it"
        raise LaunchError(folder.path, key, what, "Change it, or launch.devices.")


def lease_of(folder: RunFolder, node: Node | None, signals: Signals) -> Lease:
    """The run for this process; a job waits for the end of one on another machine, which may just have died there."""
    deadline = time.monotonic() + (0.0 if node is None else 1.5 * STALE)
    while True:
        try:
            return folder.lease(say)
        except LaunchError:
            if time.monotonic() >= deadline or signals.received is not None:
                raise
        time.sleep(1)


def require_progress(folder: RunFolder, step: int, most: int) -> None:
    """Refuse to start for ever: attempts that were preempted, or died with their machine, and came no further.

    One that crashed or was interrupted has been started again by a person, so the row ends there.

    Raises:
        LaunchError: there were so many in a row.
    """
    row = 0
    for attempt in reversed(folder.ledger.attempts()):
        first = attempt["first_step"]
        if attempt["exit_code"] not in (None, ExitCode.PREEMPTED) or first is None or first < step:
            break
        row += 1
    if row >= most:
        what = f"{most} allowed, and the last {row} were preempted or died at step {step:,} without a step gained"
        remedy = f"See `dltk runs {folder.path}`; go on with launch.max_attempts={2 * row}."
        raise LaunchError(folder.path, "launch.max_attempts", what, remedy)


def _prepare(folder: RunFolder, node: Node | None, old_stop: dict[str, Any] | None) -> Path | None:
    """Settle what an earlier attempt left, its STOP too."""
    restart = prepare(folder)
    if folder.stop_request() == old_stop and (node is None or (old_stop or {}).get("job") != node.job):
        folder.clear_stop()  # else it came while this attempt began
    return restart


def prepare(folder: RunFolder) -> Path | None:
    """Settle what an earlier attempt left: choose the checkpoint to go on from, move metrics past it away.

    Raises:
        LaunchError: a fork has lost the checkpoint that it began with.
    """
    phases.begin("folder")
    restart = folder.checkpoints.newest()
    for warning in folder.checkpoints.warnings:
        say(warning)
    parent = folder.about.get("parent")
    if restart is None and parent:
        what = f"forked from {parent}, and has no sound checkpoint"
        raise LaunchError(folder.path, "", what, "Fork it again, as another run.")
    folder.metrics.rewind(step_of(restart))
    folder.write_environment({"seconds": _seconds_of_submission(folder)})
    (folder.path / "logs").mkdir(exist_ok=True)
    phases.end()
    folder.note_seconds(phases.taken())
    return restart


def _other_versions(folder: RunFolder) -> list[str]:
    """A line, printed too, where a container or a machine has other packages than those that checked the recipe."""
    others = folder.other_versions()
    lines = [f"the recipe was checked with other packages: {', '.join(others)}"] if others else []
    for line in lines:
        say(line)
    return lines


def _seconds_of_submission(folder: RunFolder) -> dict[str, float]:
    """How long the phases took in the process that submitted a job, whose first attempt this is."""
    jobs, attempts = folder.jobs(), folder.ledger.attempts()
    if not jobs or (attempts and attempts[-1]["start"] >= jobs[-1]["time"]):
        return {}
    return dict(jobs[-1].get("seconds") or {})


def _launch_changes(changed: Mapping[str, Any] | None) -> dict[str, Any]:
    return {k.removeprefix("launch."): v for k, v in (changed or {}).items() if k.startswith("launch.")}


def _in_place(folder: RunFolder, accelerator: str, signals: Signals, restart: Path | None) -> tuple[ExitCode, str]:
    from dltk.launch import rank
    from dltk.trainer.make import Place
    from dltk.trainer.recorder import NotFiniteError

    rank.set_threads(rank.effective_settings(folder), 1)
    try:
        return rank.train(folder, Place(0, 1, accelerator), signals, restart)
    except NotFiniteError as error:
        say(f"{folder.path}: {error}")
        return ExitCode.CRASHED, str(error)
