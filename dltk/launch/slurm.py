"""Slurm: a job's script from a recipe and a site, its submission, and what Slurm knows of it.

Slurm's own programs do the work; what they print is read by `scontrol -o show`, whose form is the same in all versions.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dltk.errors import LaunchError
from dltk.launch.container import pyxis, under
from dltk.launch.processes import PLACE
from dltk.recipe.places import shipped
from dltk.run.duration import Duration
from dltk.run.folder import RunFolder

_NAME = re.compile(r"[A-Za-z0-9_.:@+,/=-]{1,200}")  # what may stand in a header's line
_OPTION = re.compile(r"--[a-z][a-z-]*(=[A-Za-z0-9_.:@+,/%*-]{1,200})?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DEPENDENCY = re.compile(r"[a-z]+(:\d+(_\d+)?)+([,?][a-z]+(:\d+(_\d+)?)+)*")
_ACTIVE = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING", "SUSPENDED", "REQUEUED")


@dataclass(frozen=True)
class Job:
    """What is asked of Slurm for one run, or for one run of each of several seeds.

    Args:
        name: shown in the queue.
        runs: their folders; several differ in their last part's number alone: `seed-0`, `seed-1` …
        code: where its code lies.
        launch: the recipe's section: nodes, devices, accelerator.
        site: the recipe's section.
        settings: `key=value` that the job adds.
        dependency: as sbatch takes it, such as `afterok:123`.
        folders: what a container must have beside the code, at the same paths: those of runs and data.
    """

    name: str
    runs: tuple[Path, ...]
    code: tuple[Path, ...]
    launch: Mapping[str, Any]
    site: Mapping[str, Any]
    settings: tuple[str, ...] = ()
    dependency: str | None = None
    folders: tuple[Path, ...] = ()

    @property
    def folder(self) -> str:
        """The run folder as the script names it, a word of the shell."""
        if len(self.runs) == 1:
            return shlex.quote(str(self.runs[0]))
        return shlex.quote(str(self.runs[0].parent / "seed-")) + '"$SLURM_ARRAY_TASK_ID"'

    def script(self) -> str:
        """The text for sbatch.

        Raises:
            LaunchError: a value cannot stand in a script.
        """
        site = self.site
        python = site["python"] or sys.executable
        values = {
            "name": _word("name", self.name),
            "header": "\n".join(f"#SBATCH {line}" for line in self._header()),
            "notice": str(site["notice"]),
            "run": self.folder,
            "code": shlex.quote(":".join(map(str, self.code))),
            "environment": "\n".join(self._environment()),
            "srun": "".join(f" {shlex.quote(option)}" for option in self._srun()),
            "python": shlex.join([*under(self.launch), python]),
            "settings": shlex.join(self.settings),
        }
        text = (shipped() / "slurm" / "train.sbatch").read_text()
        return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], text)

    def _header(self) -> list[str]:
        site, launch = self.site, self.launch
        logs = self.runs[0] / "logs" / "slurm-%j.out"
        lines = [f"--job-name={_word('name', self.name)}", f"--nodes={launch['nodes']}"]
        if len(self.runs) > 1:
            lines.append(f"--array=0-{len(self.runs) - 1}")
            logs = self.runs[0].parent / "seed-%a" / "logs" / "slurm-%A_%a.out"
        lines.append(f"--output={_path(logs)}")
        for key in ("account", "partition", "qos", "constraint"):
            if site[key] is not None:
                lines.append(f"--{key}={_word(f'site.{key}', site[key])}")
        if site["time"] is not None:
            if Duration(site["time"]).seconds <= site["notice"]:
                what = f"{site['notice']} s, and the whole job has {site['time']}"
                raise LaunchError("", "site.notice", what, "Give the job more time, or less to save in.")
            lines.append(f"--time={clock(site['time'])}")
        if launch["accelerator"] == "cuda":
            lines.append(f"--gres={_word('site.gres', site['gres'])}:{launch['devices']}")
        if site["cpus"] is not None:
            lines.append(f"--cpus-per-task={site['cpus']}")
        if site["memory"] is not None:
            lines.append(f"--mem={_word('site.memory', site['memory'])}")
        if self.dependency is not None:
            if not _DEPENDENCY.fullmatch(self.dependency):
                raise LaunchError("", "--dependency", f"'{self.dependency}' is none", "Write it as afterok:123.")
            lines.append(f"--dependency={self.dependency}")
        for option in site["options"]:
            if not _OPTION.fullmatch(option):
                what = f"'{option}' is no option of sbatch"
                raise LaunchError("", "site.options", what, "Write it as --exclusive or --mail-type=END.")
            lines.append(option)
        return lines

    def _srun(self) -> list[str]:
        """Options of srun: CPUs, and pyxis' container."""
        options = [] if self.site["cpus"] is None else [f"--cpus-per-task={self.site['cpus']}"]
        return options + pyxis(self.launch, self.site, (*self.folders, *self.code), Path.cwd())

    def _environment(self) -> list[str]:
        lines = [f"module load {shlex.join(self.site['modules'])}"] if self.site["modules"] else []
        for name, value in self.site["environment"].items():
            if not _VARIABLE.fullmatch(name):
                raise LaunchError("", "site.environment", f"'{name}' is no variable's name", "Use letters and _.")
            if name in PLACE:
                remedy = "Set launch.threads." if name == "OMP_NUM_THREADS" else "Leave it out."
                raise LaunchError("", "site.environment", f"{name} is the launcher's to set", remedy)
            lines.append(f"export {name}={shlex.quote(value)}")
        return lines


def clock(text: str) -> str:
    """A duration as sbatch reads it: days-hours:minutes:seconds."""
    seconds = round(Duration(text).seconds)
    days, rest = divmod(seconds, 86400)
    return f"{days}-{rest // 3600:02}:{rest % 3600 // 60:02}:{rest % 60:02}"


def _word(key: str, value: str) -> str:
    if not _NAME.fullmatch(value):
        raise LaunchError(
            "", key, f"{value!r} cannot stand in a job's header", "Use letters, digits and _ . : @ + , / =."
        )
    return value


def _path(path: Path) -> str:
    text = str(path)
    if not re.fullmatch(r"[A-Za-z0-9_.@+,/=%-]+", text):  # a colon would cut PYTHONPATH, which leads into it
        what = f"{text!r} cannot stand in a job's header"
        raise LaunchError("", "runs_dir", what, "Choose a folder without spaces and special characters.")
    return text


# What the cluster has ----------------------------------------------------------------------------------------------


def partition(name: str | None) -> dict[str, str]:
    """What Slurm knows of a partition, or of its default one, with `Gres`: what its nodes have.

    Raises:
        LaunchError: there is no Slurm, or no such partition.
    """
    every = [_fields(line) for line in _tool("scontrol", "-o", "show", "partition").splitlines() if line.strip()]
    for found in every:
        if found.get("PartitionName") == name or (name is None and found.get("Default") == "YES"):
            found["Gres"] = _tool("sinfo", "-h", "-o", "%G", "-p", found["PartitionName"]).strip()
            return found
    names = ", ".join(sorted(one["PartitionName"] for one in every)) or "none"
    what = "the cluster has no default partition" if name is None else f"the cluster has no partition '{name}'"
    raise LaunchError("", "site.partition", what, f"There are: {names}.")


def require_room(job: Job, origin: Mapping[str, str]) -> dict[str, str]:
    """Compare a job with the partition that it goes to.

    Args:
        job: what is asked.
        origin: where each setting was given.

    Returns:
        What Slurm knows of the partition.

    Raises:
        LaunchError: it would be refused, or wait for ever.
    """
    found = partition(job.site["partition"])
    name, nodes, time = found["PartitionName"], job.launch["nodes"], job.site["time"]
    most = min(int(found["TotalNodes"]), _count(found.get("MaxNodes")))
    if nodes > most:
        raise _refusal(origin, "launch.nodes", f"{nodes} asked, partition '{name}' has {most}", f"Set at most {most}.")
    longest = found.get("MaxTime", "UNLIMITED")
    if time is not None and longest != "UNLIMITED" and Duration(time).seconds > Duration(longest).seconds:
        what = f"{time} asked, partition '{name}' allows {longest}"
        raise _refusal(origin, "site.time", what, f"Set at most {longest}.")
    if job.launch["accelerator"] == "cuda":
        wanted, devices = job.site["gres"], job.launch["devices"]
        has = _gres_of_a_node(wanted, found["Gres"])
        if not has:
            what = f"'{wanted}' asked, the nodes of partition '{name}' have {found['Gres']}"
            raise _refusal(origin, "site.gres", what, "Name one that they have.")
        if devices > has:
            what = f"{devices} asked, a node of partition '{name}' has {has}"
            raise _refusal(origin, "launch.devices", what, f"Set at most {has}, or raise launch.nodes.")
    return found


def configuration() -> dict[str, str]:
    """What the cluster is set to, by Slurm's names."""
    lines = _tool("scontrol", "show", "config").splitlines()
    return {key.strip(): value.strip() for key, found, value in (line.partition("=") for line in lines) if found}


def losses(found: Mapping[str, str], settings: Mapping[str, str], site: Mapping[str, Any], saving: float) -> list[str]:
    """What a job may lose where it goes to, in words with numbers.

    `JobRequeue` does not count: the job's script asks for `--requeue`, which counts for more.

    Args:
        found: of the partition: PreemptMode, GraceTime.
        settings: the cluster's: PreemptType, KillWait.
        site: the recipe's section.
        saving: seconds that saving a checkpoint has taken; 0 where that is not known.
    """
    lost = []
    kill, grace = _seconds(settings.get("KillWait")), _seconds(found.get("GraceTime"))
    modes = set(re.split(r"\W+", found.get("PreemptMode", "OFF")))
    # One that is suspended goes on where it was, and loses nothing.
    if settings.get("PreemptType", "preempt/none") != "preempt/none" and modes & {"REQUEUE", "CANCEL"}:
        if saving > grace + kill:
            lost.append(
                f"a job that is preempted has {grace + kill} s (GraceTime {grace} s, KillWait {kill} s), and saving "
                f"has taken {saving:.1f} s: what it trained since its last checkpoint is trained again; lower "
                "checkpoint.every_minutes"
            )
        if "CANCEL" in modes or "--no-requeue" in site["options"]:
            how = "PreemptMode=CANCEL" if "CANCEL" in modes else "--no-requeue"
            lost.append(f"a job that is preempted does not come back ({how}); queue others behind it by --chain")
    if saving > site["notice"]:
        lost.append(
            f"a job is told {site['notice']} s before the end of its time, and saving has taken {saving:.1f} s; raise "
            "site.notice"
        )
    return lost


def _seconds(text: str | None) -> int:
    """`30 sec` and `30` of Slurm."""
    found = re.match(r"\d+", text or "")
    return int(found[0]) if found else 0


def _gres_of_a_node(wanted: str, listed: str) -> int:
    """How many of a kind, such as `gpu` or `gpu:a100`, one node has: the one with most, of sinfo's line for each."""
    one = re.compile(rf"(?<![\w:]){re.escape(wanted)}(?::\w+)*?:(\d+)")
    return max((sum(map(int, one.findall(line))) for line in listed.splitlines()), default=0)


def _refusal(origin: Mapping[str, str], key: str, what: str, remedy: str) -> LaunchError:
    where = origin.get(key, "default")
    return LaunchError("" if where == "default" else where, key, what, remedy)


def _count(text: str | None) -> int:
    return int(text) if text and text.isdecimal() else sys.maxsize


# Jobs --------------------------------------------------------------------------------------------------------------


def submit(script: Path, *options: str) -> str:
    """Hand a script to sbatch; the job's number.

    Raises:
        LaunchError: Slurm refuses it.
    """
    return _tool("sbatch", "--parsable", *options, str(script)).strip().partition(";")[0]


def test(script: Path) -> str:
    """What sbatch says of a script that it only looks at."""
    answer = _run("sbatch", "--test-only", str(script))
    if answer.returncode:
        raise LaunchError(script, "sbatch", _last_line(answer.stderr), "Mend the setting that it names.")
    return _last_line(answer.stderr)


def state(job: str) -> dict[str, str]:
    """What Slurm knows of a job; nothing of one that it has forgotten."""
    answer = _run("scontrol", "-o", "show", "job", job)
    lines = [line for line in answer.stdout.splitlines() if line.strip()]
    return _fields(lines[0]) if answer.returncode == 0 and lines else {}


def is_active(found: Mapping[str, str]) -> bool:
    """Whether a job waits or runs."""
    return found.get("JobState") in _ACTIVE


def active(run: RunFolder) -> list[tuple[str, str]]:
    """A run's jobs that wait or run, with their states; the last one last."""
    found = [(job, state(job)) for job in jobs_of(run)]
    return [(job, known["JobState"]) for job, known in found if is_active(known)]


def cancel(job: str) -> None:
    """End a job, or keep it from beginning.

    Raises:
        LaunchError: Slurm refuses.
    """
    _tool("scancel", job)


def _fields(line: str) -> dict[str, str]:
    """`A=1 B=two words C=3`, as scontrol prints it."""
    found = re.findall(r"(?:^|\s)([A-Za-z][\w:/]*)=(.*?)(?=\s[A-Za-z][\w:/]*=|$)", line)
    return dict(found)


def _tool(*command: str) -> str:
    answer = _run(*command)
    if answer.returncode:
        raise LaunchError("", command[0], _last_line(answer.stderr) or f"failed with {answer.returncode}")
    return answer.stdout


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    quiet: dict[str, Any] = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
    try:
        return subprocess.run(command, timeout=60, env=_outside(os.environ), **quiet)
    except FileNotFoundError:
        what = "this machine has no Slurm"
        raise LaunchError("", command[0], what, "Submit from a login node of the cluster.") from None
    except subprocess.TimeoutExpired:
        raise LaunchError("", command[0], "no answer within 60 s", "Try again when the cluster answers.") from None


def _outside(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what it says of a job that this process runs in: sbatch would hand that on."""
    if "SLURM_JOB_ID" not in environment:
        return dict(environment)
    kept = ("SLURM_CONF", "SLURM_CLUSTERS")
    return {name: value for name, value in environment.items() if not name.startswith("SLURM_") or name in kept}


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return re.sub(r"^\w+: (error: )?", "", lines[-1]) if lines else ""


def jobs_of(run: RunFolder) -> Sequence[str]:
    """The jobs that a run was submitted as, the last one last."""
    return [str(one["id"]) for one in run.jobs() if one.get("on") == "slurm"]
