"""Running on this machine: one process in place, or one for each device, watched until the last has left."""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from dltk import recipe
from dltk.errors import DltkError, ExitCode, LaunchError
from dltk.launch.rank import FINE, End
from dltk.recipe import Recipe
from dltk.run.atomic import refusing, replace_file
from dltk.run.folder import RunFolder
from dltk.trainer.signals import Signals, blocked
from dltk.trainer.strategies.deepspeed_config import STAGES

LENGTHS = ("train.epochs", "train.steps")  # what --extend may raise
GRACE = 10.0  # seconds that the other processes get when one has failed
POLL = 0.02  # seconds between two looks at the processes


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
        return _fork(fork, list(sources)), {}
    if sources and isinstance(sources[0], str | Path) and is_run(sources[0]):
        folder = _opened(Path(sources[0]))
        wanted = recipe.load(folder.path / "recipe.yaml", *sources[1:])
        return folder, _changes(folder, wanted, extend)
    wanted = recipe.load(*sources)
    runs_dir, name = Path(wanted.settings["runs_dir"]), wanted.settings["run"]
    if name is not None and is_run(runs_dir / wanted.name / name):
        folder = _opened(runs_dir / wanted.name / name)
        return folder, _changes(folder, wanted, extend)
    return RunFolder.create(runs_dir, wanted.name, wanted.settings, run=name, text=recipe.freeze(wanted)), {}


def is_run(path: str | Path) -> bool:
    """Whether a path is a run folder."""
    return (Path(path) / "recipe.yaml").is_file()


def attempt(folder: RunFolder, changed: Mapping[str, Any] | None = None, signals: Signals | None = None) -> ExitCode:
    """One attempt at a run: resume from the newest checkpoint that verifies, train, settle the ledger.

    Args:
        folder: the run.
        changed: settings of its place that this attempt changes, by dotted key.
        signals: taken already, by a caller who did slow things before.

    Raises:
        LaunchError: another process trains this run, or the disk refuses.
    """
    with contextlib.nullcontext(signals) if signals else Signals() as taken, folder.lease(_note):
        restart = _prepare(folder)
        settings = recipe.thaw(folder.path / "recipe.yaml").settings
        accelerator, world = devices({**settings["launch"], **_launch_changes(changed)})
        number = folder.ledger.begin(
            {
                "changed": dict(changed or {}),
                "world_size": world,
                "accelerator": accelerator,
                "step": _step(restart),
            }
        )
        for warning in folder.checkpoints.warnings:
            folder.ledger.note(number, warning)
        with _settled(folder, number) as end:
            if world == 1:
                end[:] = _in_place(folder, accelerator, taken, restart)
            else:
                end[:] = _processes(folder, accelerator, world, taken, restart)
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
    folder.ledger.end(number, reason, int(code), _step(folder.checkpoints.newest()))


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


def _prepare(folder: RunFolder) -> Path | None:
    """Settle what an earlier attempt left: choose the checkpoint, move metrics past it away, clear a STOP."""
    restart = folder.checkpoints.newest()
    for warning in folder.checkpoints.warnings:
        _note(warning)
    parent = folder.about.get("parent")
    if restart is None and parent:
        what = f"forked from {parent}, and has no sound checkpoint"
        raise LaunchError(folder.path, "", what, "Fork it again, as another run.")
    folder.metrics.rewind(_step(restart))
    folder.clear_stop()
    folder.write_environment({})
    (folder.path / "logs").mkdir(exist_ok=True)
    return restart


def _note(line: str) -> None:
    print(line, file=sys.stderr)


def _step(checkpoint: Path | None) -> int:
    return int(checkpoint.name.removeprefix("step-")) if checkpoint else 0


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
        _note(f"{folder.path}: {error}")
        return ExitCode.CRASHED, str(error)


def _processes(
    folder: RunFolder, accelerator: str, world: int, signals: Signals, restart: Path | None
) -> tuple[ExitCode, str]:
    command = [sys.executable, "-m", "dltk.launch.rank", str(folder.path), *([str(restart)] if restart else [])]
    return run_processes(folder, command, accelerator, world, signals)


def run_processes(
    folder: RunFolder, command: list[str], accelerator: str, world: int, signals: Signals
) -> tuple[ExitCode, str]:
    """Start one process for each device and wait for all; one that fails ends the others.

    Args:
        folder: keeps what they print and how they end, in `logs`.
        command: what each runs; it ends by `rank.serve`.
        accelerator: `cpu` or `cuda`.
        world: processes.
        signals: are passed on.

    Returns:
        The exit code and the reason of all.

    Raises:
        DltkError: the user's mistake that one of them found.
    """
    for rank in range(world):
        End.path(folder.path, rank).unlink(missing_ok=True)
    ranks: list[subprocess.Popen[bytes]] = []
    with _none_left(ranks):
        with contextlib.ExitStack() as stack, blocked():
            for rank, environment in enumerate(_environments(world, accelerator, folder.token)):
                log = stack.enter_context(_log(folder, rank).open("ab")) if rank else None
                ranks.append(_start(command, environment, log))
        died = _wait(folder, ranks, signals)
    folder.require_lease()  # else the ends are those of another launcher's processes
    return _verdict(folder, [process.returncode for process in ranks], died)


def _start(command: list[str], environment: dict[str, str], log: IO[bytes] | None) -> "subprocess.Popen[bytes]":
    """One process, in a session of its own; what it prints goes to the log where there is one."""
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def _environments(world: int, accelerator: str, token: str) -> Iterator[dict[str, str]]:
    """The environment of each process: its number, where they meet, its share of the cores, the lease's token."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    threads = str(max(1, (os.cpu_count() or 1) // world))
    ours = {"DLTK_ACCELERATOR": accelerator, "DLTK_LAUNCHER": str(os.getpid()), "DLTK_LEASE": token}
    ours["OMP_NUM_THREADS"] = threads
    for rank in range(world):
        numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "NODE_RANK": 0}
        yield {**os.environ, **address, **ours, **{name: str(number) for name, number in numbers.items()}}


def _log(folder: RunFolder, rank: int) -> Path:
    return folder.path / "logs" / f"rank-{rank}.log"


def _wait(folder: RunFolder, ranks: list[subprocess.Popen[bytes]], signals: Signals) -> dict[int, float]:
    """Wait for all processes, passing signals on; when one fails, the others get a grace period and are then killed.

    Returns:
        When each process was seen to have ended, but for those killed here.
    """
    died: dict[int, float] = {}
    told: int | None = None
    deadline: float | None = None
    while len(died) < len(ranks):
        died |= {i: time.time() for i, one in enumerate(ranks) if i not in died and one.poll() is not None}
        if signals.received != told:
            told = signals.received
            _tell(ranks, told)
        if deadline is None and _failing(folder, ranks):
            deadline = time.monotonic() + GRACE
        if deadline is not None and time.monotonic() > deadline:
            _kill(ranks)
            break
        time.sleep(POLL)
    return died


def _tell(ranks: list[subprocess.Popen[bytes]], number: int | None) -> None:
    for process in ranks:
        if number is not None and process.poll() is None:
            process.send_signal(number)


def _failing(folder: RunFolder, ranks: list[subprocess.Popen[bytes]]) -> bool:
    """Whether a process has failed: it is dead, or has said that it will be."""
    if any(process.returncode not in (None, *FINE) for process in ranks):
        return True
    said = [End.read(folder.path, rank) for rank in range(len(ranks)) if End.path(folder.path, rank).exists()]
    return any(end is not None and end.code not in FINE for end in said)


def _verdict(folder: RunFolder, codes: list[int], died: Mapping[int, float]) -> tuple[ExitCode, str]:
    """One code and reason for all processes: those of the one that failed first, else the gravest."""
    ends = [End.read(folder.path, rank) for rank in range(len(codes))]
    failed = [rank for rank, code in enumerate(codes) if code not in FINE]
    if not failed:
        code, rank = max((code, -rank) for rank, code in enumerate(codes))
        end = ends[-rank]
        return ExitCode(code), end.reason if end else "stopped"
    first = min(failed, key=lambda rank: _order(codes[rank], ends[rank], died.get(rank)))
    end = ends[first]
    if end is not None and end.mistake is not None:
        raise DltkError(*end.mistake)
    reason = f"rank {first} of {len(codes)} failed: {end.reason if end else _death(codes[first])}"
    _note(f"{folder.path}: {reason}")
    if end is not None and end.trace:
        _note(end.trace.rstrip())
    elif end is None and first and _log(folder, first).is_file():
        _note("\n".join(_log(folder, first).read_text(errors="replace").splitlines()[-20:]))
    return ExitCode.CRASHED, reason


def _order(code: int, end: End | None, died: float | None) -> tuple[int, float]:
    """Sorts failed processes by what came first.

    A signal from outside (out of memory, a broken library) comes before every exception, for no peer's failure sends
    one, but for SIGABRT, by which NCCL ends a process that waits in vain.
    """
    if died is None:
        return 2, 0.0  # killed by the launcher
    outside = code < 0 and code != -signal.SIGABRT
    return (0 if outside else 1), end.time if end else died


def _death(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


@contextlib.contextmanager
def _none_left(ranks: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Kill the processes that still run in the end, whatever happens."""
    try:
        yield
    finally:
        _kill(ranks)


def _kill(ranks: list[subprocess.Popen[bytes]]) -> None:
    """Kill what still runs, each process with all that it started in its session."""
    for process in ranks:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def free_port() -> int:
    """A TCP port of the loopback device that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _changes(folder: RunFolder, wanted: Recipe, extend: bool) -> dict[str, Any]:
    """What an attempt changes of its place; refuses what would change the result."""
    frozen = recipe.thaw(folder.path / "recipe.yaml")
    changed = {}
    for key, old, new in recipe.difference(frozen.settings, wanted.settings):
        if key not in frozen.origin and wanted.origin.get(key) == "default":
            continue  # a setting that dltk did not have when the run began
        if recipe.harmless(key):
            changed[key] = new
        elif not (extend and key in LENGTHS):
            remedy = f"Begin a new run from this one: `dltk train --fork {folder.path} {key}={new}`"
            remedy += ", or lengthen this one with --extend." if key in LENGTHS else "."
            raise LaunchError(folder.path, key, f"this run was begun with {old!r}, not {new!r}", remedy)
    if extend:
        with folder.lease(_note):  # a training may be reading the recipe
            _extend(folder, frozen, wanted)
    return changed


def _extend(folder: RunFolder, frozen: Recipe, wanted: Recipe) -> None:
    """Replace the frozen recipe by a longer one; the old text stays beside it."""
    longer = {**frozen.settings, "train": {**frozen.settings["train"]}}
    for key in LENGTHS:
        name = key.removeprefix("train.")
        before, after = frozen.settings["train"][name], wanted.settings["train"][name]
        if (before is None) != (after is None):
            other = next(length for length in LENGTHS if length != key) if before is None else key
            raise LaunchError(folder.path, key, f"{after!r} does not lengthen {before!r}", f"Raise {other}.")
        if before is not None and after < before:
            raise LaunchError(folder.path, key, f"{after} is less than the run's {before}", "Extend it to more.")
        longer["train"][name] = after
    if longer == frozen.settings:
        return
    number = len(folder.ledger.attempts())
    shutil.copyfile(folder.path / "recipe.yaml", folder.path / f"recipe.{number}.yaml")
    replace_file(folder.path / "recipe.yaml", recipe.freeze(Recipe(frozen.name, longer, {})))


def _fork(parent_text: str, sources: list[Any]) -> RunFolder:
    """A new run that starts from a checkpoint of another, and names it."""
    path, at, step = parent_text.rpartition("@")
    if not at or not step.isdecimal():
        path, step = parent_text, ""
    parent = _opened(Path(path))
    begins_with_recipe = bool(sources) and "=" not in str(sources[0])
    own: list[Any] = [] if begins_with_recipe else [parent.path / "recipe.yaml", "run=null"]
    wanted = recipe.load(*own, *sources)
    settings = wanted.settings
    _require_same_state(parent, settings)
    with _copied(parent, int(step) if step else None, Path(settings["runs_dir"])) as checkpoint:
        _require_steps_left(parent, _step(checkpoint), settings)
        folder = RunFolder.create(
            Path(settings["runs_dir"]),
            wanted.name,
            settings,
            run=settings["run"],
            text=recipe.freeze(wanted),
            parent=f"{parent.path}@{_step(checkpoint)}",
        )
        folder.checkpoints.path.mkdir()
        checkpoint.rename(folder.checkpoints.path / checkpoint.name)
    return folder


@contextlib.contextmanager
def _copied(parent: RunFolder, step: int | None, place: Path) -> Iterator[Path]:
    """A copy of a run's checkpoint, in a hidden folder: there is no new run before it is whole.

    Args:
        parent: the run, which may be in training, and then removes old checkpoints.
        step: of the checkpoint; None for the newest.
        place: where the hidden folder is made.
    """
    with refusing(place, "cannot copy the checkpoint"):
        place.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(prefix=".forking-", dir=place))
    try:
        while True:
            chosen = _chosen(parent, step)
            with refusing(place, "cannot copy the checkpoint"):
                try:
                    _copy(chosen, hidden / chosen.name)
                    break
                except FileNotFoundError:
                    if chosen.exists():
                        raise
        yield hidden / chosen.name
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _chosen(parent: RunFolder, step: int | None) -> Path:
    """A run's sound checkpoint of a step, or its newest."""
    found = parent.checkpoints.newest() if step is None else parent.checkpoints.at(step)
    for warning in parent.checkpoints.warnings:
        _note(warning)
    if found is None:
        what = "the run has no sound checkpoint"
        raise LaunchError(parent.path, "fork", what, "Train it first, or begin without --fork.")
    return found


def _copy(folder: Path, to: Path) -> None:
    """Copy the files of a folder; `shutil.copytree` would hide what the disk says."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            target = to / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    if not to.exists():
        raise FileNotFoundError(folder)


def _opened(path: Path) -> RunFolder:
    """A run to go on from; imported weights alone, without a trainer's state, are none."""
    folder = RunFolder.open(path)
    if folder.status == "imported":
        remedy = f"Start from them, in a recipe of your own: init: [{{from: {folder.path}}}]."
        raise LaunchError(folder.path, "", "holds imported weights alone, and no training goes on from them", remedy)
    return folder


def _require_same_state(parent: RunFolder, settings: Mapping[str, Any]) -> None:
    """Refuse to fork where the checkpoint's weights or moments would mean nothing."""
    for section, key in (("model", "architecture"), ("task", "name"), ("optimizer", "name")):
        old, new = (one[section] and one[section][key] for one in (parent.recipe, settings))
        if old != new:
            what = f"{new!r} cannot go on from the state that {old!r} left in {parent.path}"
            remedy = f"Take its weights alone, in a recipe of your own: init: [{{from: {parent.path}}}]."
            raise LaunchError("--fork", f"{section}.{key}", what, remedy)


def _require_steps_left(parent: RunFolder, step: int, settings: Mapping[str, Any]) -> None:
    """Refuse to fork where the new run would be over before its first step."""
    from dltk.assemble import build_data

    place = recipe.resolve_place(settings)
    data = build_data({**place, "data": {**place["data"], "workers": 0}}, whole_run=True)
    if step < data.total_steps:
        return
    key = "train.steps" if data.epochs is None else "train.epochs"
    earlier = [str(at) for at in parent.checkpoints.steps() if at < data.total_steps]
    remedy = f"Raise {key}"
    if earlier:
        there = f"there are: {', '.join(earlier)}"
        remedy += f", or fork from an earlier step ({there}): --fork {parent.path}@{earlier[-1]}"
    what = f"a run of {data.total_steps:,} steps has nothing left to train after step {step:,}"
    raise LaunchError(f"--fork {parent.path}", key, what, f"{remedy}.")
