"""`dltk status`, `logs`: where a run that was handed over stands, and what its job printed."""

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import typer

from dltk.cli import terminal
from dltk.cli.runs import RUN_HELP, find_run
from dltk.errors import LaunchError

if TYPE_CHECKING:
    from dltk.run.folder import RunFolder

commands = typer.Typer()
ACTIVE = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED")  # of a job that has not left


def job_state(run: "RunFolder") -> dict[str, Any]:
    """What the cluster knows of a run's last job, by Slurm's names; nothing where it has forgotten it."""
    from dltk.launch import detached, ray_jobs, slurm

    if detached.last_job(run) is not None:
        return detached.state(run)
    if ray_jobs.last_job(run) is not None:
        return ray_jobs.state(run)
    jobs = slurm.jobs_of(run)
    return dict(slurm.state(jobs[-1])) if jobs else {}


@commands.command(rich_help_panel="Clusters", epilog="Example:\n\ndltk status lenet5_digits/seed-0")
def status(
    run: str = typer.Argument(help=RUN_HELP), as_json: bool = typer.Option(False, "--json", help="Print JSON.")
) -> None:
    """Where a run stands, and what the cluster says of its job."""
    from dltk.compare.listing import outline

    found = find_run(run)
    jobs, known = [job["id"] for job in found.jobs()], job_state(found)
    said = {**outline(found), "job": jobs[-1] if jobs else None, "state": known.get("JobState")}
    said |= {"why": known.get("Reason"), "nodes": known.get("NodeList"), "restarts": known.get("Restarts")}
    said |= {"run_time": known.get("RunTime"), "time_limit": known.get("TimeLimit")}
    if as_json:
        terminal.emit(said)
        return
    terminal.say(f"{found.path}: {said['status']}, step {said['step']}")
    terminal.say(_job_line(said))
    if jobs and said["state"] not in ACTIVE and said["status"] in ("preempted", "interrupted", "lost"):
        on = found.jobs()[-1]["on"]
        terminal.note(f"Go on with: dltk submit {found.path}" + (f" --on {on}" if on != "slurm" else ""))


def _job_line(said: Mapping[str, Any]) -> str:
    """What the cluster says of a run's last job."""
    if said["job"] is None:
        return "It was submitted to no cluster."
    if said["state"] is None:
        return f"job {said['job']}: no longer known to the cluster"
    why = "" if said["why"] in (None, "None") else f" ({said['why']})"  # None is Slurm's word for no reason
    line = f"job {said['job']}: {said['state']}{why}"
    if said["run_time"] is None:  # Slurm alone tells one
        return line
    where = f" on {said['nodes']}" if said["nodes"] not in (None, "", "(null)") else ""
    return f"{line}{where}, {said['run_time']} of {said['time_limit']}, {said['restarts']} restarts"


@commands.command(rich_help_panel="Clusters", epilog="Example:\n\ndltk logs -f lenet5_digits/seed-0")
def logs(
    run: str = typer.Argument(help=RUN_HELP),
    follow: bool = typer.Option(False, "-f", "--follow", help="Go on until the job has left."),
    rank: int | None = typer.Option(None, min=0, help="What one process printed, instead of the job."),
) -> None:
    """Print what a run's job has printed."""
    found = find_run(run)
    name = "*.out" if rank is None else f"rank-{rank}.log"
    files = sorted((found.path / "logs").glob(name), key=lambda path: path.stat().st_mtime)
    if not files and not (follow and found.jobs()):
        raise LaunchError(found.path, "logs", f"there is no {name}", "Its job has not begun, or it was not submitted.")
    for text in _lines(found, name, follow):
        terminal.write(text)


def _lines(run: "RunFolder", name: str, follow: bool) -> Iterator[str]:
    """The newest log's text, piece by piece, until its job has left."""
    place, newest = 0, None
    while True:
        over = not follow or job_state(run).get("JobState") not in ACTIVE
        files = sorted((run.path / "logs").glob(name), key=lambda path: path.stat().st_mtime)
        if files:
            place = place if files[-1] == newest else 0  # the next job of a chain has a log of its own
            newest = files[-1]
            with newest.open("rb") as file:
                file.seek(place)
                data = file.read()
            place += len(data)
            if data:
                yield data.decode(errors="replace")
        if over:
            return
        time.sleep(1)
