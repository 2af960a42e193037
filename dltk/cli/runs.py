"""`dltk runs`, `stop`, `cancel`: what has been trained, and ending what trains."""

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dltk.cli import terminal
from dltk.errors import LaunchError

if TYPE_CHECKING:
    from dltk.run.folder import RunFolder

commands = typer.Typer()
RUN_HELP = "A run folder, or its name RECIPE/RUN below ./runs."


@commands.command(rich_help_panel="Runs", epilog="Examples:\n\ndltk runs\n\ndltk runs runs/lenet5_digits --json")
def runs(
    where: str = typer.Argument("runs", metavar="[DIR|RUN]", help="A folder of runs, or one run."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """List the runs below a folder, or the attempts of one run."""
    if is_run(where):
        _show_attempts(find_run(where), as_json)
        return
    if not Path(where).is_dir() and where != "runs":
        raise LaunchError(where, "", "no such folder", "`dltk runs` lists the runs below ./runs.")
    from dltk.run.folder import find_runs

    problems: list[str] = []
    found = [outline(run) for run in find_runs(where, problems=problems)]
    for problem in problems:
        terminal.note(problem)
    if as_json:
        terminal.emit(found)
    elif not found:
        terminal.say(f"No runs in {where}. dltk train RECIPE makes one.")
    else:
        rows = [
            (f"{r['recipe']}/{r['run']}", r["status"], terminal.number(r["step"]), headline(r["metrics"]))
            for r in found
        ]
        terminal.show(terminal.table(["run", "|status", ">step", "result"], rows))


def outline(run: "RunFolder") -> dict[str, Any]:
    """One run as `runs --json` lists it."""
    last, summary = run.metrics.last() or {}, run.summary() or {}
    metrics = {key: value for key, value in last.items() if "/" in key}
    return {
        "run": run.path.name,
        "path": str(run.path),
        "recipe": run.path.absolute().parent.name,
        "status": run.status,
        "step": last.get("step", summary.get("step", 0)),
        "metrics": summary.get("metrics") or metrics,
    }


def find_run(text: str) -> "RunFolder":
    """The run that a command line names.

    Raises:
        LaunchError: there is none.
    """
    from dltk.run.folder import RunFolder

    inside = Path("runs") / text
    return RunFolder.open(inside if not Path(text).exists() and inside.is_dir() else Path(text))


def is_run(text: str) -> bool:
    """Whether a command line's word names a run."""
    return any((folder / "recipe.yaml").is_file() for folder in (Path(text), Path("runs") / text))


def headline(metrics: dict[str, Any]) -> str:
    """The one number that tells most."""
    order = ("test/top1_error", "test/", "val/top1_error", "val/", "train/loss")
    name = next((key for begin in order for key in metrics if key.startswith(begin)), None)
    return f"{name} {terminal.number(metrics[name])}" if name else "–"


def _clock(moment: str | None) -> str:
    """A moment of the ledger, `2026-11-22T22:28:07Z`, as `11-22 22:28:07`."""
    return moment[5:19].replace("T", " ") if moment else "–"


def _show_attempts(run: "RunFolder", as_json: bool) -> None:
    attempts = run.ledger.attempts()
    if as_json:
        terminal.emit({**outline(run), "attempts": attempts})
        return
    terminal.say(f"{run.path}: {run.status}, step {outline(run)['step']}")
    rows = [
        (
            a["attempt"], _clock(a["start"]), _clock(a["end"]), a["reason"] or "–", terminal.number(a["exit_code"]),
            terminal.number(a.get("world_size")), terminal.number(a["steps"]),
        )
        for a in attempts
    ]  # fmt: skip
    headings = [">#", "|start (UTC)", "|end", "reason", ">exit", ">world", ">steps"]
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
