"""Ray's job server: a run handed to it, with the code that it was submitted with, and what it knows of the job."""

import logging
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dltk.errors import LaunchError
from dltk.launch.ray_group import require_ray
from dltk.run.atomic import from_json
from dltk.run.folder import RunFolder

PATIENCE = 3.0  # seconds within which a server must answer
ACTIVE = ("PENDING", "RUNNING")
PORTS = {"http": 8265, "https": 443}  # of the job server
STARTING, STARTS = "No available agent", 60.0  # what a server answers whose cluster starts, and for how many seconds
CLIENT = "ray"  # scheme of an address for Ray's client


@dataclass(frozen=True)
class Job:
    """What is asked of the job server for one run.

    Args:
        run: the run's folder, which all nodes see.
        workers: the most, the least, and CPUs of each.
        site: the recipe's section.
        code: where Python finds the code, as `snapshot` tells it.
        shipped: the folder that the cluster gets a copy of; code in it is found by its place there.
        folder: that it is submitted from.
        settings: `key=value` of this attempt's place.
        under: the command that Python runs under.
    """

    run: Path
    workers: tuple[int, int, int]
    site: Mapping[str, Any]
    code: Sequence[Path]
    shipped: Path
    folder: Path
    settings: tuple[str, ...] = ()
    under: tuple[str, ...] = ()

    @property
    def entrypoint(self) -> str:
        """The command of the job."""
        most, least, cpus = self.workers
        python = self.site["python"] or sys.executable
        command = [*self.under, python, "-u", "-m", "dltk", "drive", str(self.run)]
        command += ["--workers", str(most), "--min-workers", str(least), "--cpus", str(cpus)]
        return shlex.join([*command, "--folder", str(self.folder), *self.settings])

    @property
    def runtime_env(self) -> dict[str, Any]:
        """Code and variables that the cluster gets with the job; no secrets."""
        inside = [path.relative_to(self.shipped) if path.is_relative_to(self.shipped) else path for path in self.code]
        # Python makes these absolute when it starts, in the folder that the copy lies in.
        variables = {"PYTHONPATH": os.pathsep.join(map(str, inside)), **self.site["environment"]}
        more = {"py_executable": self.site["python"]} if self.site["python"] else {}
        return {"working_dir": str(self.shipped), "env_vars": variables, **more}


def submission_id() -> str | None:
    """The id of the job that this process is the driver of; None where it is none."""
    said = from_json(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "").encode()) or {}
    found = (said.get("metadata") or {}).get("job_submission_id")
    return found if isinstance(found, str) else None


def is_server(address: str | None) -> bool:
    """Whether an address is a job server's; else it is a cluster's, which this process joins."""
    return address is not None and urlsplit(address).scheme in PORTS


def require_reachable(address: str) -> None:
    """See quickly that something listens where a cluster is said to be.

    Raises:
        LaunchError: nothing does, or the address is none, or is for Ray's client, which is no node of the cluster.
    """
    parts = urlsplit(address if "//" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port or PORTS.get(parts.scheme)
    except ValueError:
        host, port = None, None
    if not host or not port or parts.scheme == CLIENT:
        remedy = "Write http://HEAD:8265 for its job server, HEAD:6379 from one of its nodes, or auto."
        raise LaunchError("", "--address", f"'{address}' is no address of a Ray cluster", remedy)
    try:
        socket.create_connection((host, port), PATIENCE).close()
    except OSError as error:
        why = error.strerror or "no answer"
        remedy = "Is the cluster up? `ray start --head` starts one, and prints its addresses."
        raise LaunchError("", "--address", f"no Ray cluster at {host}:{port} ({why.lower()})", remedy) from None


def client(address: str) -> Any:
    """A client of the job server.

    Raises:
        LaunchError: it is not there, or refuses.
    """
    require_reachable(address)
    require_ray()
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray").setLevel(logging.WARNING)  # it would tell of every file that it sends
    try:
        return JobSubmissionClient(address)
    except Exception as error:  # of many kinds: what listens there may be anything
        what = f"no job server answers at {address} ({_first_line(error)})"
        raise LaunchError("", "--address", what, "Give that of the cluster's dashboard, http://HEAD:8265.") from None


def submit(address: str, job: Job, name: str, say: Callable[[str], None]) -> str:
    """Hand a job to the server; its id there.

    A server answers before its cluster can take jobs: it is asked again until the cluster has started.

    Args:
        address: the server's.
        job: what is handed to it.
        name: the id that the job gets.
        say: prints one line.

    Raises:
        LaunchError: the server refuses it.
    """
    server = client(address)
    said, until = False, time.monotonic() + STARTS
    while True:
        try:
            found = server.submit_job(entrypoint=job.entrypoint, runtime_env=job.runtime_env, submission_id=name)
            return str(found)
        except Exception as error:
            if STARTING not in str(error) or time.monotonic() > until:
                raise LaunchError("", "the job server", _first_line(error), "Mend what it names.") from None
        if not said:
            say(f"The cluster at {address} is still starting: waiting for it, {STARTS:.0f} s at most.")
            said = True
        time.sleep(1.0)


def state(run: RunFolder) -> dict[str, Any]:
    """What the job server knows of a run's last job: `JobState` and `Reason`; nothing where it doesn't answer."""
    last = last_job(run)
    if last is None:
        return {}
    try:
        found = client(last["script"]).get_job_info(last["id"])
    except (LaunchError, RuntimeError):
        return {}
    return {"JobState": str(found.status.value), "Reason": _last_line(found.message), "NodeList": found.driver_node_id}


def cancel(run: RunFolder) -> None:
    """Keep a run's last job from beginning, or end it.

    Raises:
        LaunchError: the server is not there.
    """
    last = last_job(run)
    assert last is not None, "the run has no job"
    client(last["script"]).stop_job(last["id"])


def last_job(run: RunFolder) -> dict[str, Any] | None:
    """The job that a run was last submitted as, where that was on Ray; `script` is the server's address."""
    jobs = run.jobs()
    return jobs[-1] if jobs and jobs[-1].get("on") == "ray" else None


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def _last_line(text: str | None) -> str:
    """Of what a job has said last; Ray's message ends with a bracket of its own."""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip(" )")]
    return lines[-1] if lines else ""
