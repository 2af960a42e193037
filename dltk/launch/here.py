"""Running on this machine: one process in place, or one for each device, watched until the last has left."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from dltk import recipe
from dltk.errors import DltkError, ExitCode, LaunchError
from dltk.recipe import Recipe
from dltk.run.folder import RunFolder

GRACE = 15.0  # seconds that the other processes get when one has failed


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
        raise LaunchError(
            folder.path, "", f"training ended with {code.name.lower()} ({int(code)})", "Train again to go on."
        )
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
        folder = RunFolder.open(Path(sources[0]))
        wanted = recipe.load(folder.path / "recipe.yaml", *sources[1:])
        return folder, _changes(folder, wanted, extend)
    wanted = recipe.load(*sources)
    runs_dir, name = Path(wanted.settings["runs_dir"]), wanted.settings["run"]
    if name is not None and is_run(runs_dir / wanted.name / name):
        folder = RunFolder.open(runs_dir / wanted.name / name)
        return folder, _changes(folder, wanted, extend)
    return RunFolder.create(runs_dir, wanted.name, wanted.settings, run=name, text=recipe.freeze(wanted)), {}


def is_run(path: str | Path) -> bool:
    """Whether a path is a run folder."""
    return (Path(path) / "recipe.yaml").is_file()


def attempt(folder: RunFolder, changed: Mapping[str, Any] | None = None) -> ExitCode:
    """One attempt at a run: resume from the newest checkpoint that verifies, train, settle the ledger."""
    from dltk.trainer.stopping import Signals

    signals = Signals()
    signals.install()
    settings = recipe.thaw(folder.path / "recipe.yaml").settings
    with folder.lease():
        restart = _prepare(folder)
        accelerator, world = devices({**settings["launch"], **_launch_changes(changed)})
        number = folder.ledger.begin(
            {
                "changed": dict(changed or {}),
                "world_size": world,
                "accelerator": accelerator,
                "step": _step(restart),
            }
        )
        code, reason = ExitCode.CRASHED, "crashed"
        try:
            if world == 1:
                code, reason = _in_place(folder, accelerator, signals, restart)
            else:
                code, reason = _processes(folder, accelerator, world, signals, restart)
        except DltkError as error:
            code, reason = ExitCode.MISTAKE, str(error)
            raise
        except BaseException as error:
            reason = f"{type(error).__name__}: {error}"
            raise
        finally:
            last = folder.metrics.last() or {}
            folder.ledger.end(number, reason, int(code), last.get("step", 0))
    return code


def devices(launch: Mapping[str, Any]) -> tuple[str, int]:
    """The accelerator (`cpu` or `cuda`) and the number of processes that the `launch` settings mean on this machine.

    Raises:
        LaunchError: more devices asked than the machine has.
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
    return accelerator, 1 if count == "auto" else count


def _prepare(folder: RunFolder) -> Path | None:
    """Settle what an earlier attempt left: choose the checkpoint, move metrics past it away, clear a STOP."""
    restart = folder.checkpoints.newest()
    for warning in folder.checkpoints.warnings:
        print(warning, file=sys.stderr)
    folder.metrics.rewind(_step(restart))
    folder.clear_stop()
    folder.write_environment({})
    (folder.path / "logs").mkdir(exist_ok=True)
    return restart


def _step(checkpoint: Path | None) -> int:
    return int(checkpoint.name.removeprefix("step-")) if checkpoint else 0


def _launch_changes(changed: Mapping[str, Any] | None) -> dict[str, Any]:
    return {k.removeprefix("launch."): v for k, v in (changed or {}).items() if k.startswith("launch.")}


def _in_place(folder: RunFolder, accelerator: str, signals: Any, restart: Path | None) -> tuple[ExitCode, str]:
    from dltk.launch import rank
    from dltk.trainer.make import Place

    rank.set_threads(rank.effective_settings(folder), 1)
    return rank.train(folder, Place(0, 1, accelerator), signals, restart)


def _processes(
    folder: RunFolder, accelerator: str, world: int, signals: Any, restart: Path | None
) -> tuple[ExitCode, str]:
    """Start one process for each device and wait for all; one that fails ends the others."""
    command = [sys.executable, "-m", "dltk.launch.rank", str(folder.path), *([str(restart)] if restart else [])]
    (folder.path / "logs" / "reason").unlink(missing_ok=True)
    ranks: list[subprocess.Popen[bytes]] = []
    with contextlib.ExitStack() as stack:
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        for rank in range(world):
            log = None
            if rank:
                log = stack.enter_context((folder.path / "logs" / f"rank-{rank}.log").open("ab"))
            numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "NODE_RANK": 0}
            environment = {**os.environ, **address, **{k: str(v) for k, v in numbers.items()}}
            environment |= {
                "DLTK_ACCELERATOR": accelerator,
                "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // world)),
            }
            ranks.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))
        with _forwarded(ranks):
            codes = _wait(ranks)
    return _verdict(folder, codes)


def _wait(ranks: list[subprocess.Popen[bytes]]) -> list[int]:
    """Exit codes of all processes; when one fails, the others get a grace period and are then killed."""
    deadline: float | None = None
    while any(process.poll() is None for process in ranks):
        failed = any(process.returncode not in (None, 0, ExitCode.PREEMPTED, ExitCode.INTERRUPTED) for process in ranks)
        if failed and deadline is None:
            deadline = time.monotonic() + GRACE
        if deadline is not None and time.monotonic() > deadline:
            for process in ranks:
                process.kill()
        time.sleep(0.05)
    return [process.returncode for process in ranks]


def _verdict(folder: RunFolder, codes: list[int]) -> tuple[ExitCode, str]:
    """One code and reason for all processes: the gravest."""
    if all(code == 0 for code in codes):
        return ExitCode.DONE, "done"
    stopped = [code for code in codes if code in (ExitCode.PREEMPTED, ExitCode.INTERRUPTED)]
    if len(stopped) == len(codes):
        note = folder.path / "logs" / "reason"
        return ExitCode(max(stopped)), note.read_text() if note.is_file() else "stopped"
    rank, code = next((i, c) for i, c in enumerate(codes) if c not in (0, ExitCode.PREEMPTED, ExitCode.INTERRUPTED))
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    print(f"{folder.path}: rank {rank} of {len(codes)} failed with {how}.", file=sys.stderr)
    log = folder.path / "logs" / f"rank-{rank}.log"
    if rank and log.is_file():
        print("\n".join(log.read_text(errors="replace").splitlines()[-20:]), file=sys.stderr)
    return ExitCode.MISTAKE if code == ExitCode.MISTAKE else ExitCode.CRASHED, f"rank {rank}: {how}"


@contextlib.contextmanager
def _forwarded(ranks: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Pass the signals of this process on to all ranks while they run."""
    from dltk.trainer.stopping import SIGNALS

    def forward(number: int, frame: FrameType | None) -> None:
        for process in ranks:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for process in ranks:
            if process.poll() is None:
                process.kill()


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
        if recipe.harmless(key):
            changed[key] = new
        elif not (extend and key in ("train.epochs", "train.steps")):
            raise LaunchError(
                folder.path,
                key,
                f"this run was begun with {old!r}, not {new!r}",
                "Begin a new run with `--fork RUN`"
                + (", or lengthen this one with `--extend`." if "train." in key else "."),
            )
    if extend:
        _extend(folder, frozen, wanted)
    return changed


def _extend(folder: RunFolder, frozen: Recipe, wanted: Recipe) -> None:
    """Replace the frozen recipe by a longer one; the old text stays beside it."""
    longer = {**frozen.settings, "train": {**frozen.settings["train"]}}
    for key in ("epochs", "steps"):
        before, after = frozen.settings["train"][key], wanted.settings["train"][key]
        if before is not None and after is not None and after < before:
            raise LaunchError(
                folder.path, f"train.{key}", f"{after} is less than the run's {before}", "Extend it to more."
            )
        longer["train"][key] = after
    if longer == frozen.settings:
        return
    number = len(folder.ledger.attempts())
    shutil.copyfile(folder.path / "recipe.yaml", folder.path / f"recipe.{number}.yaml")
    partial = folder.path / ".recipe.yaml.partial"
    partial.write_text(recipe.freeze(Recipe(frozen.name, longer, {})))
    partial.replace(folder.path / "recipe.yaml")


def _fork(parent_text: str, sources: list[Any]) -> RunFolder:
    """A new run that starts from a checkpoint of another, and names it."""
    path, _, step = parent_text.partition("@")
    parent = RunFolder.open(Path(path))
    directory = parent.checkpoints.at(int(step)) if step else parent.checkpoints.newest()
    if directory is None:
        raise LaunchError(path, "fork", "the run has no sound checkpoint", "Train it first, or begin without --fork.")
    begins_with_recipe = bool(sources) and "=" not in str(sources[0])
    beginning: list[Any] = [] if begins_with_recipe else [parent.path / "recipe.yaml", "run=null"]
    wanted = recipe.load(*beginning, *sources)
    settings = wanted.settings
    folder = RunFolder.create(
        Path(settings["runs_dir"]),
        wanted.name,
        settings,
        run=settings["run"],
        text=recipe.freeze(wanted),
        parent=f"{parent.path}@{_step(directory)}",
    )
    shutil.copytree(directory, folder.checkpoints.path / directory.name)
    return folder
