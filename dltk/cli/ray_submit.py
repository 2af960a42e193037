"""`dltk submit --on ray`: a run on a cluster of Ray, through its job server or from this process."""

import contextlib
import json
import os
import subprocess
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dltk.cli import terminal
from dltk.cli.handing import taken_away_on_failure, tell_how_to_follow
from dltk.errors import DltkError, ExitCode, LaunchError

if TYPE_CHECKING:
    from dltk.launch.ray_group import Workers
    from dltk.recipe import Recipe
    from dltk.run.folder import RunFolder

commands = typer.Typer()
JOB_SERVER, CLUSTER = "RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"  # Ray's own variables


def address_of(given: str | None) -> str:
    """Where the cluster is: as given, as Ray's variables say, else the one that this machine is a node of."""
    return given or os.environ.get(JOB_SERVER) or os.environ.get(CLUSTER) or "auto"


def workers_of(wanted: "Recipe", most: int | None, least: int | None) -> "Workers":
    """How many workers are asked.

    Raises:
        LaunchError: nothing says how many, or no such number fits the recipe.
    """
    from dltk.launch.ray_group import Workers

    launch = wanted["launch"]
    if most is None:
        if launch["devices"] == "auto":
            raise LaunchError("", "--workers", "is missing", "Say how many processes may train together: --workers 16.")
        most = launch["devices"] * launch["nodes"]
    workers = Workers(most, most if least is None else least, launch["threads"] or 1)
    workers.sizes(wanted.settings)
    return workers


def submit_to_ray(
    wanted: "Recipe", run: "RunFolder | None", given: str | None, most: int | None, least: int | None, dry_run: bool
) -> int:
    """Hand a run to a cluster of Ray."""
    from dltk.launch import ray_jobs
    from dltk.launch.opening import changes

    workers, address = workers_of(wanted, most, least), address_of(given)
    if dry_run:
        path = Path(wanted["runs_dir"]) / wanted.name / (wanted["run"] or "RUN") if run is None else run.path
        job = _job(wanted, path.absolute(), workers, (Path.cwd(),), Path.cwd())
        terminal.write(json.dumps({"address": address, **_asked(job)}, indent=2) + "\n")
        return ExitCode.DONE
    if address not in ("auto", "local"):
        ray_jobs.require_reachable(address)
    line = workers.skipped(wanted.settings)
    if line:
        terminal.note(line)
    made = _made(wanted) if run is None else run
    changed = {} if run is None else changes(run, wanted, extend=False)
    with taken_away_on_failure([made] if run is None else []):
        if not ray_jobs.is_server(address):
            return in_process(made, changed, workers, None if address == "local" else address)
        submitted = hand_over(wanted, made, workers, address, changed)
    terminal.say(f"submitted as job {submitted}")
    terminal.say(made.path)
    tell_how_to_follow(made)
    return ExitCode.DONE


def _made(wanted: "Recipe") -> "RunFolder":
    from dltk import recipe
    from dltk.run.folder import RunFolder

    text, runs_dir = recipe.freeze(wanted), wanted["runs_dir"]
    return RunFolder.create(runs_dir, wanted.name, wanted.settings, run=wanted["run"], text=text)


def hand_over(wanted: "Recipe", run: "RunFolder", workers: "Workers", address: str, changed: dict[str, Any]) -> str:
    """Copy the code, submit the job, and note it in the run; the job's id."""
    from dltk.launch import ray_jobs
    from dltk.launch.opening import as_settings
    from dltk.launch.snapshot import snapshot
    from dltk.run import phases

    with phases.phase("folder"):
        folder = run.new_job()
        shipped = folder / "code"
        code = snapshot(Path.cwd(), shipped, terminal.note)
        shipped.mkdir(parents=True, exist_ok=True)
        job = _job(wanted, run.path.absolute(), workers, tuple(code), shipped, tuple(as_settings(changed)))
        (folder / "job.json").write_text(json.dumps({"address": address, **_asked(job)}, indent=2) + "\n")
        (run.path / "logs").mkdir(exist_ok=True)
    name = f"dltk-{run.name.replace('/', '-')}-{folder.name}-{os.urandom(2).hex()}"
    name = ray_jobs.submit(address, job, name, terminal.note)
    run.note_job("ray", name, address, phases.taken())
    return name


def _job(
    wanted: "Recipe", run: Path, workers: "Workers", code: tuple[Path, ...], shipped: Path, settings: Any = ()
) -> Any:
    from dltk.launch.container import require_wrapper, under
    from dltk.launch.ray_jobs import Job

    require_wrapper(wanted["launch"])
    count = (workers.most, workers.least, workers.cpus)
    return Job(run, count, wanted["site"], code, shipped, Path.cwd(), settings, tuple(under(wanted["launch"])))


def _asked(job: Any) -> dict[str, Any]:
    return {"entrypoint": job.entrypoint, "runtime_env": job.runtime_env}


def in_process(run: "RunFolder", changed: dict[str, Any], workers: "Workers", address: str | None) -> ExitCode:
    """Drive the run from this process, which is on a node of the cluster."""
    from dltk.cli.train import conclude
    from dltk.launch.ray_group import require_ray
    from dltk.trainer.signals import Signals

    require_ray()
    from dltk.launch.ray_driver import drive

    with Signals() as signals:
        code = drive(run, changed, workers, address, signals)
    conclude(run, changed, code)
    return code


@commands.command("drive", hidden=True)
def drive_job(
    run: str,
    changes: list[str] | None = typer.Argument(None, metavar="[KEY=VALUE…]"),
    workers: int = typer.Option(..., min=1),
    min_workers: int | None = typer.Option(None, min=1),
    cpus: int = typer.Option(1, min=1),
    folder: Path = typer.Option(Path()),
    address: str | None = typer.Option(None),
) -> int:
    """Drive a run as a job of Ray's server; `dltk submit --on ray` starts it."""
    from dltk.launch.here import open_run
    from dltk.launch.ray_group import Workers
    from dltk.launch.ray_jobs import submission_id

    if folder.is_dir():
        os.chdir(folder)
    with _kept(Path(run) / "logs" / f"ray-{submission_id() or 'none'}.out"):
        try:
            opened, changed = open_run([run, *(changes or [])])
            if opened.status == "done":
                terminal.say(f"{opened.path}: is done already")
                return ExitCode.DONE
            return in_process(opened, changed, Workers(workers, min_workers or workers, cpus), address)
        except DltkError as error:  # said here, so that the file has it
            terminal.note(str(error))
            return ExitCode.MISTAKE
        except Exception:
            traceback.print_exc()
            return ExitCode.CRASHED


@contextlib.contextmanager
def _kept(log: Path) -> Iterator[None]:
    """Keep what this process prints in a file as well: Ray's own logs go with the cluster's head."""
    log.parent.mkdir(exist_ok=True)
    tee = subprocess.Popen(["tee", "-a", str(log)], stdin=subprocess.PIPE, start_new_session=True)
    assert tee.stdin is not None
    before = [os.dup(number) for number in (1, 2)]
    for number in (1, 2):
        os.dup2(tee.stdin.fileno(), number)
    tee.stdin.close()
    try:
        yield
    finally:
        for number, old in zip((1, 2), before, strict=True):
            os.dup2(old, number)
            os.close(old)
        tee.wait(10)
