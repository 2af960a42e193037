"""`dltk runs`, `stop`, `cancel`: what has been trained, and ending what trains."""

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dltk.cli import terminal
from dltk.errors import LaunchError

if TYPE_CHECKING:
    from dltk.compare.foreign import WandbRun
    from dltk.compare.listing import Listed
    from dltk.run.folder import RunFolder

commands = typer.Typer()
KEYS_HELP = "KEY is a setting, a metric, or one of run, recipe, status, step, left, created."
RUN_HELP = "A run folder, or its name RECIPE/RUN below ./runs."


@commands.command(
    rich_help_panel="Runs",
    epilog="Examples:\n\ndltk runs\n\ndltk runs runs/lenet5_digits --json\n\n"
    "dltk runs --where status=done --where 'optimizer.lr<0.1' --sort test/top1_error --columns optimizer.lr,train.seed",
)
def runs(
    where: str = typer.Argument("runs", metavar="[DIR|RUN]", help="A folder of runs, or one run."),
    conditions: list[str] | None = typer.Option(
        None, "--where", metavar="KEY=VALUE", help=f"Only runs of which this holds; also != < > <= >=. {KEYS_HELP}"
    ),
    sort: str | None = typer.Option(
        None, metavar="[-]KEY", help="In this order; with a minus before it the greatest first."
    ),
    columns: str | None = typer.Option(None, metavar="KEY,KEY…", help="Show these instead of the result."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """List the runs below a folder, or the attempts of one run."""
    if is_run(where):
        _show_attempts(find_run(where), as_json)
        return
    if not Path(where).is_dir() and where != "runs":
        raise LaunchError(where, "", "no such folder", meant(where))
    from dltk.compare import foreign
    from dltk.compare.listing import kept, listed, ordered, require_key
    from dltk.run.folder import find_runs

    problems: list[str] = []
    every = listed([*find_runs(where, problems=problems), *foreign.find(Path(where), problems)])
    for problem in problems:
        terminal.note(problem)
    keys = [key.strip() for key in (columns or "").split(",") if key.strip()]
    for key in keys:
        require_key(key, every, "--columns")
    found = kept(every, conditions or [])
    found = ordered(found, sort) if sort is not None else found
    if as_json:
        terminal.emit(
            [one.outline | ({"columns": {key: one.value(key) for key in keys}} if keys else {}) for one in found]
        )
    elif not every:
        terminal.say(f"No runs in {where}. dltk train RECIPE makes one.")
    else:
        _show_runs(found, keys)
        if len(found) < len(every):
            terminal.say(f"{len(found):,} of {len(every):,} runs")


PARTS = ("test", "val", "train")
# What claims are made of.
TELLING = ("truth", "top1_error", "sequence_error", "label_error", "bleu", "bleu4", "perplexity", "bits", "kind_error")


def _show_runs(found: "Sequence[Listed]", keys: Sequence[str]) -> None:
    live = any("steps" in one.outline for one in found)
    rows = []
    for one in found:
        said = one.outline
        row = [f"{said['recipe']}/{said['run']}", said["status"], _step(said)]
        row += [terminal.seconds_text(said["left"]) if "left" in said else ""] if live else []
        row += [terminal.number(one.value(key)) for key in keys] if keys else [headline(said["metrics"])]
        rows.append(row)
    heads = ["run", "|status", ">step", *([">left"] if live else []), *(keys or ["result"])]
    terminal.show(terminal.table(heads, rows))


def _step(said: dict[str, Any]) -> str:
    """The step, and of a run that trains how far that is."""
    if "steps" not in said:
        return terminal.number(said["step"])
    return f"{said['step']:,} of {said['steps']:,} ({100 * said['step'] / max(1, said['steps']):.0f} %)"


def find_run(text: str) -> "RunFolder":
    """The run that a command line names.

    Raises:
        LaunchError: there is none.
    """
    from dltk.run.folder import RunFolder

    inside = Path("runs") / text
    path = inside if not Path(text).exists() and inside.is_dir() else Path(text)
    if not path.exists():
        raise LaunchError(text, "", "no such folder", meant(text))
    return RunFolder.open(path)


def find_some(texts: Sequence[str], problems: list[str]) -> "list[RunFolder]":
    """The runs that a command line's words name: run folders, names below ./runs, folders of runs, or patterns.

    Args:
        texts: the words.
        problems: gets a line for each run that cannot be opened, where it was not named by itself.

    Raises:
        LaunchError: a word names none.
    """
    found: dict[Path, RunFolder] = {}
    for text in texts:
        for run in _named(text, problems):
            found.setdefault(run.path.absolute(), run)
    return list(found.values())


def find_any(texts: Sequence[str], problems: list[str]) -> "list[RunFolder | WandbRun]":
    """As `find_some`, and runs of other projects that W&B followed: folders with W&B's own, one of those, its file."""
    from dltk.compare import foreign

    found: dict[Path, RunFolder | WandbRun] = {}
    for text in texts:
        path = Path(text)
        one = foreign.named(path) if path.exists() and not is_run(text) else None
        others = (
            [one] if one is not None else foreign.find(path, problems) if path.is_dir() and not is_run(text) else []
        )
        own: list[RunFolder] = []
        if one is None:
            try:
                own = find_some([text], problems)
            except LaunchError:
                if not others:
                    raise
        found |= {run.path.absolute(): run for run in own} | {run.path.absolute(): run for run in others}
    return list(found.values())


def _named(text: str, problems: list[str]) -> "list[RunFolder]":
    from dltk.run.folder import find_runs

    if is_run(text):
        return [find_run(text)]
    folders = [path for path in (Path(text), Path("runs") / text) if path.is_dir()]
    before = len(problems)
    some = find_runs(folders[0], problems=problems) if folders else []
    if not folders and any(letter in text for letter in "*?["):
        some = _matching(text, problems)
    if some or len(problems) > before:
        return some
    what = "holds no run" if folders else "no run has this name"
    raise LaunchError(text, "", what, "`dltk runs` lists the runs." if folders else meant(text))


def _matching(pattern: str, problems: list[str]) -> "list[RunFolder]":
    """The runs below ./runs whose names a pattern fits, or the runs in the folders that it fits."""
    import glob

    from dltk.run.folder import find_runs

    some = find_runs("runs", pattern, problems)
    for path in sorted(glob.glob(pattern)) if not some else []:
        if Path(path).is_dir():
            some += [find_run(path)] if is_run(path) else find_runs(path, problems=problems)
    return some


def meant(text: str) -> str:
    """A remedy for a name that no run has: the nearest that one has."""
    from difflib import get_close_matches

    from dltk.run.folder import find_runs

    wanted = text.removeprefix("runs/").rstrip("/")
    names = [run.name for run in find_runs("runs")]
    recipes = list(dict.fromkeys(name.partition("/")[0] for name in names))
    by_end = {name.rpartition("/")[2]: name for name in names}
    close = get_close_matches(wanted, names + recipes, 1, 0.6)
    close = close or [by_end[end] for end in get_close_matches(wanted, list(by_end), 1, 0.6)]
    return f"Did you mean '{close[0]}'?" if close else "`dltk runs` lists the runs."


def is_run(text: str) -> bool:
    """Whether a command line's word names a run."""
    return any((folder / "recipe.yaml").is_file() for folder in (Path(text), Path("runs") / text))


def headline(metrics: dict[str, Any]) -> str:
    """The one number that tells most: of the test part if any, and rather an error or a score than a loss."""

    def rank(name: str) -> tuple[int, int]:
        part, _, what = name.partition("/")
        least = len(TELLING) + (0 if part == "train" else 2)  # of training a rate or a norm tells still less
        known = TELLING.index(what) if what in TELLING else least if what == "loss" else len(TELLING) + 1
        return PARTS.index(part) if part in PARTS else len(PARTS), known

    name = min(metrics, key=rank, default=None)
    return f"{name} {terminal.number(metrics[name])}" if name else "–"


def _clock(moment: str | None) -> str:
    """A moment of the ledger, `2026-11-22T22:28:07Z`, as `11-22 22:28:07`."""
    return moment[5:19].replace("T", " ") if moment else "–"


def _show_attempts(run: "RunFolder", as_json: bool) -> None:
    from dltk.compare.listing import outline
    from dltk.run.ledger import lost_hours

    attempts = run.ledger.attempts()
    for attempt, hours in zip(attempts, lost_hours(attempts, run.metrics.read()), strict=True):
        attempt["lost_device_hours"] = hours
    if as_json:
        terminal.emit({**outline(run), "attempts": attempts})
        return
    terminal.say(f"{run.path}: {run.status}, step {outline(run)['step']}")
    rows = [
        (
            a["attempt"], _clock(a["start"]), _clock(a["end"]), a["reason"] or "–", terminal.number(a["exit_code"]),
            terminal.number(a.get("world_size")), terminal.number(a["steps"]),
            "–" if a["lost_device_hours"] is None else f"{a['lost_device_hours']:.3g}",
        )
        for a in attempts
    ]  # fmt: skip
    headings = [">#", "|start (UTC)", "|end", "reason", ">exit", ">world", ">steps", ">lost device-h"]
    terminal.show(terminal.table(headings, rows))
    for attempt in attempts:
        for remark in attempt["notes"]:
            terminal.say(f"attempt {attempt['attempt']}: {remark}")


@commands.command(rich_help_panel="Runs", epilog="Example:\n\ndltk stop lenet5_digits/seed-0")
def stop(
    run: str = typer.Argument(help=RUN_HELP),
    why: str = typer.Option("dltk stop", help="Kept in the ledger."),
) -> None:
    """Ask a training to save and leave at its next step, to be started again (exit code 85)."""
    _request(run, why, requeue=True)


@commands.command(rich_help_panel="Runs", epilog="Example:\n\ndltk cancel lenet5_digits/seed-0")
def cancel(
    run: str = typer.Argument(help=RUN_HELP),
    why: str = typer.Option("dltk cancel", help="Kept in the ledger."),
) -> None:
    """Ask a training to save and leave at its next step, for good (exit code 130); take its waiting jobs away."""
    found = find_run(run)
    if not _taken_away(found):
        _request(run, why, requeue=False)


def _taken_away(run: "RunFolder") -> bool:
    """Take a run's jobs away, but for the one that trains; whether that was all there was to do.

    A job that runs and does not train yet, or not any more, reads no STOP file either.
    """
    from dltk.launch import detached, ray_jobs, slurm

    training = run.status == "running"
    if detached.last_job(run) is not None:
        if training or not detached.is_active(run):
            return False
        detached.interrupt(run)
        terminal.say(f"{run.path}: its process was not training yet, and leaves")
        return True
    if ray_jobs.last_job(run) is not None:
        if training or ray_jobs.state(run).get("JobState") not in ray_jobs.ACTIVE:
            return False
        ray_jobs.cancel(run)
        terminal.say(f"{run.path}: its job was not training, and is cancelled")
        return True
    try:
        active = slurm.active(run)
    except LaunchError as error:
        if not training:
            raise
        terminal.note(f"{error} Of its jobs, those that wait stay in the queue.")
        return False
    jobs = [job for job, state in active if state == "PENDING" or (not training and state != "COMPLETING")]
    for job in jobs:
        slurm.cancel(job)
        terminal.say(f"{run.path}: job {job} was not training, and is cancelled")
    return bool(jobs) and not training


def _request(text: str, why: str, requeue: bool) -> None:
    run = find_run(text)
    if run.status != "running":
        raise LaunchError(run.path, "", f"is not running ({run.status})", "`dltk runs` lists what is.")
    run.request_stop(f"{os.environ.get('USER', os.getuid())}@{socket.gethostname()}", why, requeue)
    terminal.say(f"{run.path}: asked to save and leave; `dltk runs {run.path}` tells when it has.")
