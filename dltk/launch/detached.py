"""A run on this machine that outlives the shell: a process in a session of its own, and what is known of it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dltk.errors import LaunchError
from dltk.launch.opening import as_settings
from dltk.launch.processes import PLACE
from dltk.launch.snapshot import snapshot
from dltk.run import phases
from dltk.run.atomic import read_object, refusing, replace_file, to_json
from dltk.run.folder import RunFolder, Status
from dltk.run.lease import machine, process_start
from dltk.trainer.signals import Signals, blocked

_ENDED: dict[Status, str] = {"done": "COMPLETED", "preempted": "PREEMPTED", "interrupted": "CANCELLED"}


def command(run: Path, changed: Mapping[str, Any]) -> list[str]:
    """What the process runs.

    Args:
        run: the run's folder.
        changed: settings of its place that differ from the frozen recipe, by dotted key.
    """
    return [sys.executable, "-u", "-m", "dltk", "train", str(run), *as_settings(changed)]


def start(run: RunFolder, changed: Mapping[str, Any], note: Callable[[str], None]) -> str:
    """Copy the code and start the training; the job's number, which is the process's.

    Args:
        run: the run, which nobody trains.
        changed: as for `command`.
        note: is told what the copy of the code leaves out.

    Raises:
        LaunchError: a file looks like a secret key, or the disk refuses.
    """
    with phases.phase("folder"):
        folder = run.new_job()
        code = snapshot(Path.cwd(), folder / "code", note)
        folder.mkdir(parents=True, exist_ok=True)
        run.keep_versions(folder)
    log = run.path.absolute() / "logs" / f"here-{folder.name}.out"
    words = command(run.path.absolute(), changed)
    with refusing(log, "cannot write"):
        log.parent.mkdir(exist_ok=True)
        # Signals that come meanwhile wait until Python can answer them there, and until the run knows its process here,
        # whichever thread gets them: a library's may not hold them back.
        with log.open("ab") as out, Signals(say=False) as late, blocked():
            process = subprocess.Popen(
                words, env=_environment(code), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
            try:
                known = {"host": socket.gethostname(), "machine": machine(), "pid": process.pid}
                known |= {"process": process_start(process.pid), "log": str(log), "command": words}
                replace_file(folder / "job.json", to_json(known, indent=1) + "\n")
                run.note_job("here", str(process.pid), str(folder / "job.json"), phases.taken())
            except BaseException:
                process.kill()  # nobody would find it
                process.wait()
                raise
    if late.received is not None:
        signal.raise_signal(late.received)
    return str(process.pid)


def _environment(code: list[Path]) -> dict[str, str]:
    """This one's, with the copied code, and without what an outer launcher said of a process's place."""
    outer = {name for name in os.environ if name in PLACE or name.startswith("TORCHELASTIC_")} - {"OMP_NUM_THREADS"}
    kept = {name: value for name, value in os.environ.items() if name not in outer}
    paths = [*map(str, code), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, "PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(paths)}


def state(run: RunFolder) -> dict[str, Any]:
    """What is known of a run's last job, by Slurm's names: `JobState`, `Reason`, `NodeList`; nothing where it has none.

    Whether its process lives, only its own machine knows; from another one the run's lease tells.
    """
    last = last_job(run)
    if last is None:
        return {}
    known = read_object(Path(last["script"])) or {}
    about = {"NodeList": known.get("host")}
    if _lives(run, known):
        return {"JobState": "RUNNING", "Reason": f"process {last['id']} on {known.get('host')}", **about}
    own = [attempt for attempt in run.ledger.attempts() if attempt["start"] >= last["time"]]
    said = {
        "JobState": _ENDED.get(run.status, "FAILED") if own else "FAILED",
        "Reason": (own[-1]["reason"] if own else None) or _last_line(known.get("log")),
    }
    return {**said, **about}


def is_active(run: RunFolder) -> bool:
    """Whether the process of a run's last job lives."""
    return state(run).get("JobState") == "RUNNING"


def interrupt(run: RunFolder) -> None:
    """Do to a run's process what Ctrl-C does.

    Raises:
        LaunchError: it runs on another machine.
    """
    last = last_job(run)
    known = read_object(Path(last["script"])) if last else None
    assert known, "the run has no job"
    if known["machine"] != machine():
        raise LaunchError(run.path, "", f"its process is on {known['host']}", "Cancel it there.")
    if process_start(known["pid"]) == known["process"]:
        os.kill(known["pid"], signal.SIGINT)


def last_job(run: RunFolder) -> dict[str, Any] | None:
    """The job that a run was last submitted as, where that was on its own machine."""
    jobs = run.jobs()
    return jobs[-1] if jobs and jobs[-1].get("on") == "here" else None


def _lives(run: RunFolder, known: Mapping[str, Any]) -> bool:
    if known.get("machine") != machine():
        return run.status == "running"
    return known.get("process") is not None and process_start(known["pid"]) == known["process"]


def _last_line(log: str | None) -> str:
    """What a process said last that never came to an attempt."""
    lines = Path(log).read_text(errors="replace").split("\n") if log and Path(log).is_file() else []
    return next((line for line in reversed(lines) if line.strip()), "unknown")
