"""`dltk train`: train a recipe, or go on with a run."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dltk.cli import terminal
from dltk.cli.evaluate import left_out
from dltk.cli.runs import find_run
from dltk.cli.validate import SOURCES_HELP, batch_text, data_facts, length_text, sizes_text, total_steps
from dltk.errors import ExitCode, LaunchError, RecipeError

if TYPE_CHECKING:
    from dltk.data.dataset import Facts
    from dltk.launch.nodes import Node
    from dltk.launch.simulation import Simulation
    from dltk.launch.torchrun import Worker
    from dltk.recipe import Recipe
    from dltk.run.folder import RunFolder

commands = typer.Typer()


@commands.command(
    rich_help_panel="Train",
    epilog="Examples:\n\ndltk train lenet5_digits\n\n"
    "dltk train lenet5_digits train.epochs=5 optimizer.lr=0.01 run=short\n\n"
    "dltk train recipes/mlp_digits.yaml cluster/ddp.yaml launch.devices=2\n\n"
    "dltk train --fork runs/lenet5_digits/short train.epochs=10 optimizer.lr=0.001\n\n"
    "torchrun --nproc-per-node 2 -m dltk train recipes/mlp_digits.yaml",
)
def train(
    sources: list[str] | None = typer.Argument(
        None,
        metavar="RECIPE|RUN [OVERLAY…] [KEY=VALUE…]",
        help=f"{SOURCES_HELP} Or a run folder, to go on with it.",
    ),
    fork: str | None = typer.Option(
        None,
        metavar="RUN[@STEP]",
        help="Begin a new run from another's newest checkpoint, or with @STEP from that of a step.",
    ),
    extend: bool = typer.Option(False, "--extend", help="Let a run become longer: train.epochs or train.steps."),
    seeds: int | None = typer.Option(None, min=1, help="Train seeds 0 … N-1, as runs seed-0 …; those done are kept."),
    profile: bool = typer.Option(False, "--profile", help="Trace a few steps, and print what took the time."),
    simulate: str | None = typer.Option(
        None, metavar="NODESxPROCESSES", help="Train as so many machines would, on this machine's CPU: 2x4."
    ),
    kill: list[str] | None = typer.Option(
        None, metavar="rank=R@step=S", help="With --simulate: kill a process when it begins a step."
    ),
    slow: list[str] | None = typer.Option(
        None, metavar="rank=R:TIMEms", help="With --simulate: let each step of a process take longer."
    ),
) -> int:
    """Train a recipe to its end, and print the result beside its claim.

    A run that was stopped goes on where it was. run=NAME and runs_dir=DIR choose the run folder, the last line printed.
    """
    sources = sources or []
    if not sources and fork is None:
        raise RecipeError("", "RECIPE", "is missing", "Give a recipe or a run: dltk train lenet5_digits.")
    if sources and (Path("runs") / sources[0] / "recipe.yaml").is_file():
        sources = [str(Path("runs") / sources[0]), *sources[1:]]
    if fork is not None:
        parent, at, step = fork.rpartition("@")
        if not at or not step.isdecimal():  # no step; an @ may be of the path
            parent, at, step = fork, "", ""
        fork = f"{find_run(parent).path}{at}{step}"
    if profile:
        sources = [*sources, "log.profile=true"]
    simulated = _simulation(simulate, kill or [], slow or [])
    if simulated is not None:
        sources = [*sources, *simulated.settings]
    worker = _worker(simulated is not None, seeds is not None)
    if worker is not None:
        return _train_under_torchrun(worker, sources, fork, extend)
    _tell_of_srun()
    if seeds is not None:
        return _train_seeds(sources, seeds, fork, extend, simulated)
    if fork is None:
        _check(sources)
    folder, changed, code = train_one(sources, fork, extend, simulated)
    if simulated is None:  # else its first machine has concluded
        conclude(folder, changed, code)
    return code


@commands.command(hidden=True)
def node(run: str, changes: list[str] | None = typer.Argument(None, metavar="[KEY=VALUE…]")) -> int:
    """Take part in a job as one of its machines; which one, the environment tells."""
    from dltk.launch.nodes import PARENT, Node, follow, leading, leave_with_parent
    from dltk.launch.processes import forget_place
    from dltk.trainer.signals import Signals

    leave_with_parent(os.environ)
    run = str(Path(run).resolve())  # a sweep's array names it by a link
    here = Node.of_slurm(os.environ)
    simulated = PARENT in os.environ
    for line in [] if simulated else forget_place(os.environ):  # a container sets it after the job's script
        if here.number == 0:
            terminal.note(line)
    if here.number:
        with Signals(say=False) as signals:
            return follow(Path(run), here, signals)
    with leading(Path(run), here):
        folder, changed, code = train_one([run, *(changes or [])], None, False, here)
    conclude(folder, changed, code)
    return code


def _tell_of_srun() -> None:
    """One line in the first of several tasks of a Slurm step, none of which knows of the others."""
    tasks, nodes = (os.environ.get(f"SLURM_STEP_NUM_{what}", "1") for what in ("TASKS", "NODES"))
    if tasks != "1" and os.environ.get("SLURM_PROCID") == "0":
        together = f"`dltk submit --nodes {nodes}` trains one together"
        terminal.note(f"task 1 of {tasks} that srun started: each trains a run of its own; {together}.")


def _worker(simulated: bool, seeds: bool) -> "Worker | None":
    """Which of torchrun's processes this is; None in any other."""
    from dltk.launch.torchrun import Worker

    worker = Worker.of_environment(os.environ)
    if worker is not None and (simulated or seeds):
        option = "--simulate" if simulated else "--seeds"
        raise LaunchError("", option, "starts its own processes, and this is one of torchrun's", "Leave torchrun out.")
    return worker


def _train_under_torchrun(worker: "Worker", sources: list[str], fork: str | None, extend: bool) -> int:
    """Be the launcher of this machine, or wait for it."""
    from dltk.launch import here
    from dltk.launch.nodes import follow, leading
    from dltk.launch.opening import as_settings
    from dltk.launch.torchrun import forget
    from dltk.trainer.signals import Signals

    start = worker.meet()
    if worker.local:
        return start.wait()
    node, code = start.node, int(ExitCode.MISTAKE)
    forget(os.environ)
    try:
        if node is not None and node.number:
            run, *_ = start.hear()
            with Signals(say=False) as signals:
                code = follow(Path(run), node, signals)
            return code
        before = start.before()
        if before is not None:
            sources, fork = before, None
        sources = [*sources, *worker.settings]
        if fork is None:
            _check(sources)
        folder, changed = here.open_run(sources, fork=fork, extend=extend)
        words = as_settings(changed)
        start.tell([str(folder.path.absolute()), *words])
        with contextlib.nullcontext() if node is None else leading(folder.path, node):
            folder, changed, code = train_one([str(folder.path), *words], None, extend, node)
        conclude(folder, changed, ExitCode(code))
        return code
    finally:
        start.leave(code)


def _simulation(topology: str | None, kill: list[str], slow: list[str]) -> "Simulation | None":
    """What --simulate, --kill and --slow ask for."""
    if topology is None:
        if kill or slow:
            option = "--kill" if kill else "--slow"
            raise LaunchError("", option, "makes a fault of a simulation only", "Add --simulate 2x4.")
        return None
    from dltk.launch.simulation import Simulation

    return Simulation.read(topology, kill, slow)


def _check(sources: list[str]) -> None:
    """Find the mistakes in a new run before its folder is made, and print what its recipe has to say."""
    from dltk import recipe
    from dltk.launch.opening import is_run
    from dltk.run import phases

    if not is_run(sources[0]):
        with phases.phase("compose"):
            loaded = recipe.load(*sources)
        require_trainable(loaded)


def require_trainable(loaded: "Recipe") -> None:
    """Find the mistakes that only this machine knows, its data and its devices; print what the recipe has to say.

    Raises:
        DltkError: the user's mistake.
    """
    from dltk import recipe
    from dltk.launch import here
    from dltk.run import phases
    from dltk.trainer.config import require_arithmetic

    settings = recipe.resolve_place(loaded.settings)
    with phases.phase("data"):
        total_steps(settings, data_facts(settings))
    require_arithmetic(settings["train"]["precision"], here.devices(settings["launch"])[0])
    for line in loaded.notes:
        terminal.note(line)


def _train_seeds(sources: list[str], seeds: int, fork: str | None, extend: bool, simulated: "Simulation | None") -> int:
    """One run after another; a stop or a crash ends the row."""
    from dltk.launch.opening import is_run

    taken = [text for text in sources if text.startswith(("run=", "train.seed="))]
    if fork or taken or is_run(sources[0]):
        what = taken[0] if taken else "--fork" if fork else sources[0]
        raise LaunchError("", "--seeds", f"cannot be combined with '{what}'", "It names the runs seed-0 … itself.")
    _check(sources)
    for seed in range(seeds):
        folder, changed, code = train_one([*sources, f"train.seed={seed}", f"run=seed-{seed}"], None, extend, simulated)
        if code is not ExitCode.DONE:
            break
    conclude(folder, changed, code)
    return code


def train_one(
    sources: list[str], fork: str | None, extend: bool, how: "Simulation | Node | None" = None
) -> tuple["RunFolder", dict[str, Any], ExitCode]:
    """Train one run.

    Args:
        sources: a recipe or a run, overlays, `key=value`.
        fork: a run to fork, with or without a step.
        extend: whether a run may become longer.
        how: as one machine of several, or as several on this one.

    Returns:
        The run, what was changed of its place and claim, and how it ended.
    """
    from dltk.launch import here
    from dltk.launch.simulation import Simulation
    from dltk.run import phases
    from dltk.trainer.signals import Signals

    with Signals() as signals:  # one that comes while the run is announced is answered by the training
        folder, changed = here.open_run(sources, fork=fork, extend=extend)
        if folder.status == "done" and not extend:
            length = "epochs" if folder.recipe["train"]["steps"] is None else "steps"
            terminal.say(f"{folder.path}: is done already; --extend with more train.{length} lengthens it.")
            return folder, changed, ExitCode.DONE
        if isinstance(how, Simulation):  # its first machine announces the run
            return folder, changed, how.attempt(folder, signals)
        with phases.phase("announce"):
            _announce(folder, changed)
        return folder, changed, here.attempt(folder, changed, signals, how)


# What it will do


def _announce(folder: "RunFolder", changed: Mapping[str, Any]) -> None:
    """Print once what is about to happen."""
    from rich.table import Table
    from rich.text import Text

    from dltk import recipe
    from dltk.cli.layers import count, make_model
    from dltk.launch.here import devices

    settings = recipe.resolve_place(recipe.with_changes(recipe.thaw(folder.path / "recipe.yaml").settings, changed))
    facts = data_facts(settings)
    steps = total_steps(settings, facts)
    model = dict(settings["model"])
    name = model.pop("architecture")
    accelerator, local = devices(settings["launch"])
    nodes = settings["launch"]["nodes"]
    world, machines = local * nodes, f" on {nodes} machines" if nodes > 1 else ""
    restart = folder.checkpoints.newest()
    begins = f"from step {int(restart.name.removeprefix('step-')):,}" if restart else "from the beginning"
    rows = {
        "network": f"{name}, {count(make_model(name, model)):,} trainable parameters",
        "data": f"{settings['data']['name']}, {_data_text(facts, model.get('num_classes'))}",
        "length": f"{length_text(settings, steps)}, {begins}",
        "batch": batch_text(settings, world),
        "device": f"{accelerator}, {world} process{'es' if world != 1 else ''}{machines}, "
        + settings["train"]["precision"],
        "tracking": f"W&B {settings['log']['wandb']}",
        "run": str(folder.path),
    }
    grid = Table.grid(padding=(0, 2))
    for key, text in rows.items():
        grid.add_row(Text(key, style="bold"), Text(terminal.plain(text), overflow="fold"))
    terminal.show(grid)
    claim = settings["claim"]
    if claim and claim["data"] not in (None, facts.contents):
        terminal.note("The data are not those of the recipe's claim, by their sha256; it will stay untested.")


def _data_text(facts: "Facts", outputs: int | None = None) -> str:
    """The data's sizes; what is left out; classes of the network that they do not have; what they say of themselves."""
    files = "file that is no picture" if facts.ignored == 1 else "files that are no pictures"
    said = [sizes_text(facts.sizes), *([f"{facts.ignored:,} {files} left out"] if facts.ignored else [])]
    if facts.classes and outputs and outputs > facts.classes:
        said.append(f"{facts.classes:,} classes, of the network's {outputs:,}")
    return "; ".join([*said, *facts.remarks])


# What came of it


def conclude(folder: "RunFolder", changed: Mapping[str, Any], code: ExitCode) -> None:
    """The result beside its claim, and the run folder as the last line."""
    if code is ExitCode.DONE:
        _show_result(folder, changed)
    elif code is not ExitCode.CRASHED:  # of a crash the cause has been printed, and it may well come again
        attempts = folder.ledger.attempts()
        reason = attempts[-1]["reason"] if attempts else "unknown"
        terminal.note(f"not finished: {str(reason).rstrip('.')}. Go on with: dltk train {folder.path}")
    terminal.say(folder.path)


def _show_result(folder: "RunFolder", changed: Mapping[str, Any]) -> None:
    from dltk.compare.claims import claim_of, judge

    evaluation = (folder.summary() or {}).get("evaluation") or {}
    for line in left_out(evaluation):
        terminal.say(line)
    measured = evaluation.get("metrics", {})
    claim = claim_of(folder, changed)
    judged = None if claim is None else judge(folder, claim)
    rows = []
    for name, value in measured.items():
        mine = claim is not None and name == claim.metric
        claimed = f"{claim.value:g} ± {claim.tolerance:g}" if mine and claim else "–"
        rows.append((name, terminal.number(value), claimed, judged.text if mine and judged else "–"))
    terminal.show(terminal.table(["metric", ">value", ">claim", "|verdict"], rows))
    if judged is not None:
        terminal.say(judged.line)
