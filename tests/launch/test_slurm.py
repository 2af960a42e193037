"""Jobs on a real Slurm of two nodes, started by `slurm_local.py`; and what is refused before there is one."""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dltk import recipe
from dltk.errors import LaunchError, RecipeError
from dltk.launch import slurm
from dltk.launch.slurm import Job, clock
from dltk.launch.snapshot import snapshot
from dltk.run.folder import RunFolder, find_runs
from tests.commands import wait_until
from tests.launch.conftest import Workshop, assert_equal_to_the_bit, curve, final_state, lines

HERE = Path(__file__).parent
SLOWLY = """
place: true
site: {environment: {DLTK_FAULTS: '[{"rank": 0, "milliseconds": 100}]'}}
"""
OUTER = {  # what a shell of `salloc` or `srun --pty` has
    "SLURM_JOB_ID": "1", "SLURM_JOBID": "1", "SLURM_NTASKS": "4", "SLURM_NPROCS": "4", "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_PROCID": "2", "SLURM_NODEID": "1", "SLURM_NNODES": "2", "SLURM_JOB_NUM_NODES": "2", "SLURM_LOCALID": "2",
    "SLURM_CPU_BIND": "quiet,mask_cpu:0x1", "SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_JOB_ID": "8",
    "SLURM_RESTART_COUNT": "3",
}  # fmt: skip
PRESET = {"MASTER_ADDR": "elsewhere", "RANK": "7", "WORLD_SIZE": "9", "LOCAL_RANK": "7", "OMP_NUM_THREADS": "3"}
CPU = ("launch.accelerator=cpu", "launch.devices=1")
SHORT = ("model.dropout=0.0", "train.epochs=null", "train.steps=4", "log.every_steps=1")
PLAIN = ("model.dropout=0.0", "train.epochs=2", "train.seed=3")


# The script --------------------------------------------------------------------------------------------------------


def job(container: dict[str, Any] | None = None, **site: Any) -> Job:
    launch = {"nodes": 4, "devices": 8, "accelerator": "cuda", "container": container}
    settings = recipe.load("lenet5_digits", {"site": site, "launch": launch}, check_model=False).settings
    run = Path("/shared/runs/vgg16/first")
    code = (run / "jobs" / "1" / "code" / "0",)
    folders = (Path("/shared/runs"), Path("/shared/data"), Path("/shared/data/cache"))
    return Job(
        "dltk-vgg16", (run,), code, settings["launch"], settings["site"], ("launch.nodes=4",), "afterok:12", folders
    )


SITE: dict[str, Any] = {
    "account": "vision", "partition": "a100", "time": "2-12:00", "gres": "gpu:a100", "cpus": 32, "memory": "400G",
    "modules": ["cuda/13.0"], "environment": {"NCCL_SOCKET_IFNAME": "ib0", "SAID": "two words; more"},
    "options": ["--exclusive"], "python": "/opt/venv/bin/python",
}  # fmt: skip


CONTAINERS: dict[str, dict[str, Any] | None] = {
    "train": {"kind": "wrapper", "command": ["apptainer", "exec", "image.sif"]},
    "pyxis": {"kind": "pyxis", "image": "/images/torch.sqsh", "mounts": ["/scratch", "/opt/site:/site:ro"]},
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_script_is_the_one_that_was_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "cwd", lambda: Path("/home/me/project"))
    text = job(CONTAINERS[name], **SITE).script()
    assert text == (HERE / "golden" / f"{name}.sbatch").read_text()
    assert "{{" not in text


CANCEL = '{"who": "me", "why": "enough", "requeue": false}'


@pytest.mark.parametrize(("before", "since", "kept"), [
    (None, None, "slurm"), (None, CANCEL, "me"), (CANCEL, None, "slurm"),
    (None, CANCEL.replace("false", "true"), "slurm"),
])  # fmt: skip
def test_a_notice_takes_no_cancelling_back(tmp_path: Path, before: str | None, since: str | None, kept: str) -> None:
    """But one that an earlier attempt has answered."""
    text = job().script()
    function = text[text.index("before=") : text.index("trap ask_to_save")]
    first, then = (f"printf %s '{stop}' > STOP" if stop else ":" for stop in (before, since))
    script = "\n".join(["run=.", "job='slurm 7.0'", first, function, then, "ask_to_save"])
    subprocess.run(["bash", "-uc", script], cwd=tmp_path, check=True)
    assert json.loads((tmp_path / "STOP").read_text())["who"] == kept
    assert [path.name for path in tmp_path.iterdir()] == ["STOP"]


@pytest.mark.cluster
def test_the_script_is_sound() -> None:
    assert shutil.which("shellcheck"), "no shellcheck: apt-get install shellcheck"
    scripts = map(str, (HERE / "golden").glob("*.sbatch"))
    checked = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_a_container_is_a_matter_of_srun() -> None:
    """With sbatch's flags the job's script would run in it, where there is no scontrol."""
    text = job({"kind": "pyxis", "image": "docker://registry#torch", "home": True}).script()
    assert all(line.startswith("srun ") for line in text.splitlines() if "--container" in line)
    assert " --container-mount-home " in text
    with pytest.raises(LaunchError, match=r"image: 'docker://registry#torch' lies in a registry, which"):
        job({"kind": "pyxis", "image": "docker://registry#torch"}, network=False).script()
    with pytest.raises(LaunchError, match=r"launch.container.mounts: '/a,b:/a,b' cannot be a mount"):
        job({"kind": "pyxis", "image": "torch.sqsh", "mounts": ["/a,b"]}).script()


@pytest.mark.parametrize(("container", "said"), [
    ({"kind": "docker"}, "launch.container.kind: 'docker' is not"),
    ({"kind": "pyxis"}, "launch.container.image: is missing, and kind is pyxis. Add `image: /images/torch.sqsh`"),
    ({"kind": "wrapper"}, "launch.container.command: is missing, and kind is wrapper"),
    ({"kind": "wrapper", "command": ["x"], "image": "y"}, "launch.container.image: means nothing to kind wrapper"),
    ({"kind": "pyxis", "image": "y", "mount": ["x"]}, "launch.container.mount: no setting 'mount'"),
])  # fmt: skip
def test_what_is_no_container(container: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(said)):
        job(container)


def test_an_array_has_a_run_for_each_task() -> None:
    one = job()
    runs = tuple(Path(f"/shared/runs/vgg16/seed-{seed}") for seed in range(3))
    text = Job(one.name, runs, one.code, one.launch, one.site).script()
    assert "#SBATCH --array=0-2\n" in text
    assert "#SBATCH --output=/shared/runs/vgg16/seed-%a/logs/slurm-%A_%a.out\n" in text
    assert 'run=/shared/runs/vgg16/seed-"$SLURM_ARRAY_TASK_ID"\n' in text


@pytest.mark.parametrize(("site", "said"), [
    ({"account": "a\n#SBATCH --uid=0"}, r"site.account: 'a\\n#SBATCH --uid=0' cannot stand in a job's header"),
    ({"partition": "a b"}, "site.partition: 'a b' cannot stand"),
    ({"time": "2m"}, "site.notice: 120 s, and the whole job has 2m. Give the job more time"),
    ({"options": ["--wrap=x y"]}, "site.options: '--wrap=x y' is no option of sbatch"),
    ({"environment": {"A;B": "1"}}, "site.environment: 'A;B' is no variable's name"),
    ({"environment": {"OMP_NUM_THREADS": "4"}}, "OMP_NUM_THREADS is the launcher's to set. Set launch.threads."),
])  # fmt: skip
def test_what_cannot_stand_in_a_script(site: dict[str, Any], said: str) -> None:
    with pytest.raises(LaunchError, match=said):
        job(**site).script()


@pytest.mark.parametrize("folder", ["/shared/my runs", "/shared/10:30"])
def test_a_folder_that_cannot_stand_in_a_script(folder: str) -> None:
    one = job()
    with pytest.raises(LaunchError, match=f"runs_dir: '{folder}.*' cannot stand in a job's header"):
        Job(one.name, (Path(folder),), one.code, one.launch, one.site).script()


def test_what_looks_like_a_placeholder_stays() -> None:
    assert "export A='{{python}}'\n" in job(environment={"A": "{{python}}"}).script()


@pytest.mark.parametrize(("wanted", "count"), [("gpu", 8), ("gpu:a100", 4), ("gpu:v100", 8), ("tpu", 0)])
def test_the_devices_of_one_node(wanted: str, count: int) -> None:
    assert slurm._gres_of_a_node(wanted, "gpu:a100:4(S:0-1)\ngpu:v100:6,gpu:v100:2\n(null)") == count


def test_what_a_job_may_lose() -> None:
    site: dict[str, Any] = {"notice": 120, "options": []}
    spare, cluster = {"PreemptMode": "REQUEUE", "GraceTime": "25"}, {"KillWait": "30 sec", "PreemptType": "preempt/qos"}
    assert slurm.losses(spare, cluster, site, 55.0) == []
    (cut,) = slurm.losses(spare, cluster, site, 56.0)
    assert cut.startswith(
        "a job that is preempted has 55 s (GraceTime 25 s, KillWait 30 s), and saving has taken 56.0 s"
    )
    never = {**cluster, "PreemptType": "preempt/none"}
    (late,) = slurm.losses(spare, never, site, 121.0)
    assert late == "a job is told 120 s before the end of its time, and saving has taken 121.0 s; raise site.notice"
    (gone,) = slurm.losses(spare, cluster, {**site, "options": ["--no-requeue"]}, 0.0)
    assert "does not come back (--no-requeue)" in gone


def test_durations_as_slurm_reads_them() -> None:
    assert [clock(text) for text in ("24:00:00", "90m", "2-12:00")] == ["1-00:00:00", "0-01:30:00", "2-12:00:00"]


def test_a_line_of_scontrol() -> None:
    found = slurm._fields("JobId=7 JobName=a b UserId=root(0) Command=(null) TRES=cpu=4,node=1 MinMemory=0")
    assert found == {"JobId": "7", "JobName": "a b", "UserId": "root(0)", "Command": "(null)",
                     "TRES": "cpu=4,node=1", "MinMemory": "0"}  # fmt: skip


# The code ----------------------------------------------------------------------------------------------------------


def repository(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def test_a_job_runs_the_code_as_it_was_submitted(tmp_path: Path) -> None:
    folder = repository(tmp_path / "mine", net__py="version = 1\n")
    (folder / "net.py").write_text("version = 2\n")  # not committed
    (folder / "new.py").write_text("")
    notes: list[str] = []
    mine, *_ = snapshot(folder, tmp_path / "code", notes.append)
    (folder / "net.py").write_text("version = 3\n")
    assert (mine / "net.py").read_text() == "version = 2\n"
    assert notes[0].endswith("not tracked by Git, so the job does not have: new.py")


def test_a_link_to_a_tracked_file_is_a_file_of_the_copy(tmp_path: Path) -> None:
    folder = repository(tmp_path / "mine", net__py="version = 1\n")
    (folder / "same.py").symlink_to("net.py")
    (tmp_path / "secret").touch()
    (folder / "elsewhere").symlink_to(tmp_path / "secret")
    subprocess.run(["git", "add", "-A"], cwd=folder, check=True)
    mine, *_ = snapshot(folder, tmp_path / "code", print)
    assert (mine / "same.py").read_text() == "version = 1\n"
    assert not (mine / "elsewhere").exists()


KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\n" + "QUJDREVGR0g=" * 3


@pytest.mark.parametrize("files", [{"__env": "A=1"}, {"key": KEY}])
def test_a_secret_is_not_copied(tmp_path: Path, files: dict[str, str]) -> None:
    folder = repository(tmp_path / "mine", **files)
    with pytest.raises(LaunchError, match="looks like a secret key"):
        snapshot(folder, tmp_path / "code", print)
    assert not (tmp_path / "code").exists()


# Refused without a cluster -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "said"), [
    (("--on", "pbs", *CPU), "--on: there is no 'pbs'. Choices: slurm, ray, here."),
    ((), "launch.devices: the job must say how many processes a machine starts."),
    (("launch.devices=2",), "launch.accelerator: the login node does not tell what the others have."),
    (("--time", "1:30", *CPU), "site.time"),
    (("--site", "site.yaml", *CPU), "site.yaml:1: site.partitoin: no setting 'partitoin' in site. Did you"),
    (("--nodes", "2", "site.local=[/]", *CPU), "lies in /, which each machine has of its own"),
    (("--nodes", "2", "runs_dir=/dev/shm/runs", *CPU), "lies in this machine's memory, and the job has 2 machines"),
    ((*CPU,), "scontrol: this machine has no Slurm"),
])  # fmt: skip
def test_mistakes_leave_nothing(workshop: Workshop, arguments: tuple[str, ...], said: str) -> None:
    (workshop.folder / "site.yaml").write_text("site: {partitoin: main}\n")
    before = set(workshop.folder.rglob("runs/small/*"))
    found = workshop.dltk("submit", "small.yaml", *arguments, expect=2, PATH=str(Path(sys.executable).parent))
    assert said in found.err
    assert len(found.err.splitlines()) == 1
    assert set(workshop.folder.rglob("runs/small/*")) == before


def test_a_dry_run_needs_no_slurm_and_leaves_nothing(workshop: Workshop) -> None:
    place = str(Path(sys.executable).parent)
    found = workshop.dltk("submit", "small.yaml", "run=dry", "--nodes", "2", *CPU, "--dry-run", PATH=place)
    assert "#SBATCH --nodes=2\n" in found.out
    assert not workshop.run("dry").exists()


# On a real cluster -------------------------------------------------------------------------------------------------


class Cluster:
    """Slurm on this machine.

    Args:
        folder: of its files; short, for sockets lie in it.
        options: of `slurm_local.py start`.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.do("start", "--mode", "plain", "--nodes", "2", "--gpus", "2", *options)
        self.environment = {"SLURM_CONF": str(folder / "etc" / "slurm.conf")}

    def do(self, verb: str, *arguments: str) -> None:
        command = [sys.executable, str(HERE / "slurm_local.py"), verb, str(self.folder), *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert answer.returncode == 0, answer.stderr

    def tool(self, *command: str) -> str:
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    def job(self, number: str) -> dict[str, str]:
        return slurm._fields(self.tool("scontrol", "-o", "show", "job", number))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    yield from started()


def started(*options: str) -> Iterator[Cluster]:
    """A cluster while it is needed; a missing Slurm fails the tests that need it."""
    missing = [tool for tool in ("sbatch", "slurmctld", "munged") if shutil.which(tool, path=SBIN) is None]
    assert not missing, f"no {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client munge"
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="dltk-slurm-", dir="/tmp")), *options)
    yield cluster
    cluster.do("stop", "--purge")


SBIN = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


class Submitted:
    """A run of the small recipe that was handed to the cluster, from a shell of another job."""

    def __init__(self, cluster: Cluster, workshop: Workshop, name: str, *arguments: str, slow: int = 0) -> None:
        self.cluster, self.workshop, self.path = cluster, workshop, workshop.run(name)
        site = workshop.folder / f"site-{name}.yaml"
        faults = json.dumps([{"rank": 0, "milliseconds": slow}] if slow else [])
        site.write_text(f"place: true\nsite:\n  time: 10m\n  environment: {{DLTK_FAULTS: '{faults}'}}\n")
        given = ("small.yaml", f"run={name}", "--site", site.name, *CPU, *PLAIN, *arguments)
        said = workshop.dltk("submit", *given, **{**cluster.environment, **OUTER})
        found = re.search(r"submitted as job (\d+)", said.out)
        assert found, said.out
        self.number = found[1]

    def state(self) -> str:
        return self.cluster.job(self.number)["JobState"]

    def imports(self, nodes: int = 1) -> None:
        """Wait until Python starts on its nodes."""

        def started() -> bool:
            commands = []
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    commands.append(path.read_bytes().split(b"\0"))
            words = [b"dltk", b"node", str(self.path).encode()]
            return sum(words == one[3:6] for one in commands if one[0].endswith(b"python")) == nodes

        wait_until(started, f"job {self.number} to begin", 60, lambda: print(self.log()))

    def steps(self, count: int) -> None:
        """Wait until the run has come so far."""
        there = lambda: (lines(self.path) or [{"step": 0}])[-1]["step"] >= count  # noqa: E731
        metrics = self.path / "metrics.jsonl"
        wait_until(lambda: metrics.exists() and there(), f"step {count}", 120, lambda: print(self.log()))

    def end(self, state: str = "COMPLETED", timeout: float = 200) -> "Submitted":
        wait_until(lambda: self.state() not in slurm._ACTIVE, f"job {self.number} to end", timeout,
                   lambda: print(self.log()))  # fmt: skip
        assert self.state() == state, self.log()
        return self

    def log(self) -> str:
        return "\n".join(path.read_text() for path in sorted((self.path / "logs").glob("slurm-*.out")))

    def attempts(self) -> list[dict[str, Any]]:
        return RunFolder.open(self.path).ledger.attempts()


@pytest.fixture(scope="module")
def whole(cluster: Cluster, workshop: Workshop) -> Path:
    """The run on two machines that nothing interrupts."""
    return Submitted(cluster, workshop, "slurm-whole", "--nodes", "2").end().path


def assert_as_whole(run: Path, whole: Path) -> None:
    assert_equal_to_the_bit(final_state(run), final_state(whole))
    for metric in ("train/loss", "data/digest", "val/top1_error"):
        assert curve(run, metric) == curve(whole, metric)
    steps = [line["step"] for line in lines(run)]
    assert steps == sorted(set(steps))


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_two_machines_train_as_this_one_does(whole: Path, workshop: Workshop) -> None:
    alone = workshop.train("slurm-alone", *PLAIN)
    assert curve(whole, "data/digest") == curve(alone, "data/digest")
    assert curve(whole, "train/loss") == pytest.approx(curve(alone, "train/loss"), rel=1e-5)
    (attempt,) = RunFolder.open(whole).ledger.attempts()
    assert (attempt["nodes"], attempt["world_size"], attempt["exit_code"]) == (2, 2, 0)
    seconds = json.loads((whole / "environment.json").read_text())["seconds"]
    assert {"compose", "folder", "rendezvous", "data", "first_step"} <= set(seconds)
    assert all(spent >= 0 for spent in seconds.values())


@pytest.mark.cluster
@pytest.mark.timeout(1200)
def test_a_job_that_is_told_to_save_comes_back(cluster: Cluster, workshop: Workshop, whole: Path) -> None:
    """By a signal to the steps and by Slurm's own notice, each while Python starts and in the midst of the steps."""
    run = Submitted(cluster, workshop, "slurm-back", "--nodes", "2", "log.every_steps=1", slow=40)
    for number, option in enumerate(([], ["--batch"]), start=1):
        run.imports(nodes=2)
        cluster.tool("scancel", *option, "--signal=USR1", run.number)
        wait_until(lambda: int(cluster.job(run.number)["Restarts"]) == number, "a requeue", 120)  # noqa: B023 - at once
    run.steps(10)
    cluster.tool("scancel", "--batch", "--signal=USR1", run.number)
    wait_until(lambda: int(cluster.job(run.number)["Restarts"]) == 3, "the third requeue", 120)
    run.steps(lines(run.path)[-1]["step"] + 10)
    cluster.tool("scancel", "--signal=USR1", run.number)
    run.end()
    assert cluster.job(run.number)["Restarts"] == "4"
    reasons = [attempt["reason"] for attempt in run.attempts()]
    notice = "asked to stop by slurm: the end of the time of the job"
    assert reasons == ["SIGUSR1", notice, notice, "SIGUSR1", "done"]
    assert_equal_to_the_bit(final_state(run.path), final_state(whole))
    assert set(curve(whole, "data/digest").items()) <= set(curve(run.path, "data/digest").items())


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_a_crash_and_a_cancelled_job_stay_away(cluster: Cluster, workshop: Workshop) -> None:
    crash = Submitted(
        cluster, workshop, "slurm-crash", "optimizer.lr=1e30", "schedule.name=constant", "schedule.warmup=0"
    )
    cancelled = Submitted(cluster, workshop, "slurm-cancelled", "--nodes", "2", "log.every_steps=1", slow=400)
    crash.end("FAILED")
    cancelled.steps(3)
    cluster.tool("scancel", cancelled.number)
    cancelled.end("CANCELLED")
    ended = Submitted(cluster, workshop, "slurm-ended", "log.every_steps=1", slow=400)
    ended.steps(3)
    workshop.dltk("cancel", "small/slurm-ended", **cluster.environment)
    cluster.tool("scancel", "--batch", "--signal=USR1", ended.number)  # a notice, which takes no cancelling back
    ended.end("FAILED")
    time.sleep(2)
    assert [cluster.job(one.number)["Restarts"] for one in (crash, cancelled, ended)] == ["0", "0", "0"]
    assert "was nan" in crash.attempts()[0]["reason"] or "not finite" in crash.attempts()[0]["reason"]
    assert ended.attempts()[0]["exit_code"] == 130


@pytest.mark.cluster
@pytest.mark.long
@pytest.mark.timeout(900)
def test_scancel_at_any_moment(cluster: Cluster, workshop: Workshop) -> None:
    """While it waits, in the validation, and while it waits again after a signal that came during the imports."""
    marks = workshop.marks("slurm-validates")
    (marks / "plan").write_text("validation 39")
    fault = f"train.callbacks=[{{name: 'faults:Slow', marks: '{marks}'}}]"
    validates = Submitted(cluster, workshop, "slurm-validates", fault)
    waits = Submitted(cluster, workshop, "slurm-waits", "--dependency", f"afterok:{validates.number}")
    cluster.tool("scancel", waits.number)
    wait_until((marks / "slow-0").exists, "the validation", 120, lambda: print(validates.log()))
    cluster.tool("scancel", validates.number)
    back = Submitted(cluster, workshop, "slurm-imports", slow=40)
    starts = Submitted(cluster, workshop, "slurm-starts", slow=40)
    starts.imports()
    cluster.tool("scancel", starts.number)
    back.imports()
    cluster.tool("scancel", "--signal=USR1", back.number)
    again = lambda: (back.state(), cluster.job(back.number)["Restarts"]) == ("PENDING", "1")  # noqa: E731
    wait_until(again, "the requeue", 120, lambda: print(back.log()))
    cluster.tool("scancel", back.number)
    for one in (validates, waits, starts, back):
        one.end("CANCELLED")
    time.sleep(2)
    assert [cluster.job(one.number)["Restarts"] for one in (validates, waits, starts, back)] == ["0", "0", "0", "1"]
    (attempt,) = back.attempts()
    assert (attempt["reason"], attempt["exit_code"]) == ("SIGUSR1", 85)
    assert validates.attempts()[-1]["reason"] == "SIGTERM"


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_in_the_shells_of_salloc_and_srun(cluster: Cluster, workshop: Workshop) -> None:
    """A training there is one machine's own; so is each of several that srun starts, and that is said."""
    train = [sys.executable, "-m", "dltk", "train", "small.yaml", "train.epochs=1"]
    environment = {**os.environ, **cluster.environment}

    def in_shell(*shell: str, words: Sequence[str] = ()) -> str:
        command = [*shell, "bash", "-c", shlex.join([*train, *words])]
        answer = subprocess.run(command, cwd=workshop.folder, env=environment, capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr
        return answer.stderr

    assert "srun" not in in_shell("salloc", "-N2", "--ntasks-per-node=2", words=["run=salloc"])
    # A shell at a terminal of its own, into which the command is typed.
    terminal = [
        sys.executable,
        "-c",
        "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))",
    ]
    typed = f"cd {workshop.folder}; {shlex.join([*train, 'run=pty'])}; exit $?\n"
    shell = [*terminal, "srun", "--pty", "bash"]
    answer = subprocess.run(shell, input=typed, env=environment, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout
    several = "task 1 of 2 that srun started: each trains a run of its own; `dltk submit --nodes 2` trains one together"
    assert several in in_shell("srun", "-N2", "--ntasks-per-node=1", words=["runs_dir=srun"])
    runs = [*(RunFolder.open(workshop.run(name)) for name in ("salloc", "pty")), *find_runs(workshop.folder / "srun")]
    assert [run.ledger.attempts()[-1]["world_size"] for run in runs] == [1, 1, 1, 1]
    assert [run.status for run in runs] == ["done"] * 4


@pytest.mark.cluster
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["by its administrator", pytest.param("by a power cut", marks=pytest.mark.long)])
def test_a_node_is_lost(how: str, cluster: Cluster, workshop: Workshop, whole: Path) -> None:
    """In the end the run is the one that nothing interrupted. That a node is dead Slurm sees after half a minute."""
    dies = how == "by a power cut"
    name = "slurm-cut" if dies else "slurm-lost"
    run = Submitted(cluster, workshop, name, "--nodes", "2", "log.every_steps=1", slow=400 if dies else 40)
    run.steps(10)
    node = cluster.tool("scontrol", "show", "hostnames", cluster.job(run.number)["NodeList"]).split()[1]
    if dies:
        cluster.do("kill-node", node)
    else:
        cluster.tool("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    wait_until(lambda: int(cluster.job(run.number)["Restarts"]) == 1, "the requeue", 60, lambda: print(run.log()))
    if dies:
        cluster.do("start-node", node)
    run.end()
    assert_equal_to_the_bit(final_state(run.path), final_state(whole))


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_an_array_of_seeds_under_a_wrapper(cluster: Cluster, workshop: Workshop) -> None:
    """Its last task, told to save through a wrapper that presets another place, comes back alone."""
    assert shutil.which("bwrap"), "no bubblewrap: apt-get install bubblewrap"
    preset = [word for name, value in PRESET.items() for word in ("--setenv", name, value)]
    command = json.dumps(["bwrap", "--dev-bind", "/", "/", "--die-with-parent", *preset])
    container = f"launch.container={{kind: wrapper, command: {command}}}"
    (workshop.folder / "slowly.yaml").write_text(SLOWLY)
    given = ("small.yaml", "slowly.yaml", "runs_dir=array", "--seeds", "2", "train.epochs=1", "log.every_steps=1")
    said = workshop.dltk("submit", *given, *CPU, container, **cluster.environment)
    number = re.search(r"submitted as job (\d+)", said.out)
    assert number
    runs = [workshop.folder / "array" / "small" / f"seed-{seed}" for seed in range(2)]
    last = f"{number[1]}_1"
    wait_until((runs[1] / "metrics.jsonl").exists, "the last task to train", 100)
    assert cluster.job(last)["JobId"] == number[1], "its number is that of the array"
    cluster.tool("scancel", "--batch", "--signal=USR1", last)
    wait_until(lambda: all(RunFolder.open(run).status == "done" for run in runs), "both seeds", 150)
    assert [RunFolder.open(run).recipe["train"]["seed"] for run in runs] == [0, 1]
    assert [len(RunFolder.open(run).ledger.attempts()) for run in runs] == [1, 2]
    assert final_state(runs[0])["weights"].keys() == final_state(runs[1])["weights"].keys()
    assert json.loads(workshop.dltk("status", str(runs[1]), "--json", **cluster.environment).out)["job"] == last
    for run in runs:
        (log,) = (run / "logs").glob("slurm-*.out")
        said_there = log.read_text()
        assert all(f"dltk: {name}={value} of the environment is not" in said_there for name, value in PRESET.items())


@pytest.fixture
def wide() -> Iterator[Cluster]:
    """One whose nodes take ten jobs at once."""
    yield from started("--cpus", "10")


@pytest.mark.cluster
@pytest.mark.long
@pytest.mark.timeout(900)
def test_ten_jobs_at_once_do_not_collide(wide: Cluster, workshop: Workshop) -> None:
    """Each on both machines, all begun at the same moment; each finds its own ports, and nobody meets another's."""
    given = ("small.yaml", "runs_dir=ten", "--seeds", "10", "--nodes", "2", *CPU, *SHORT)
    workshop.dltk("submit", *given, **wide.environment)
    runs = [workshop.folder / "ten" / "small" / f"seed-{seed}" for seed in range(10)]
    wait_until(lambda: all(RunFolder.open(run).status == "done" for run in runs), "ten runs", 800)
    attempts = [attempt for run in runs for attempt in RunFolder.open(run).ledger.attempts()]
    assert [attempt["world_size"] for attempt in attempts] == [2] * 10
    assert max(attempt["start"] for attempt in attempts) < min(attempt["end"] for attempt in attempts)
    assert len({curve(run, "train/loss")[4] for run in runs}) == 10, "two seeds trained one another's weights"
    alone = workshop.train("ten-alone", "train.seed=7", *SHORT)
    assert curve(runs[7], "data/digest") == curve(alone, "data/digest")
    assert curve(runs[7], "train/loss") == pytest.approx(curve(alone, "train/loss"), rel=1e-5)


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_what_the_cluster_has_not(cluster: Cluster, workshop: Workshop) -> None:
    def refused(*arguments: str) -> str:
        return workshop.dltk("submit", "small.yaml", *arguments, expect=2, **cluster.environment).err

    assert "the cluster has no partition 'a100'. There are: debug, main." in refused("site.partition=a100", *CPU)
    assert "launch.nodes: 3 asked, partition 'main' has 2. Set at most 2." in refused("--nodes", "3", *CPU)
    assert "site.time: 10m asked, partition 'debug' allows" in refused("site.partition=debug", "--time", "10m", *CPU)
    assert "launch.devices: 3 asked, a node of partition 'main' has 2." in refused("--gpus-per-node", "3")
    assert "site.gres: 'tpu' asked, the nodes of partition 'main' have gpu:2" in refused(
        "--gpus-per-node", "1", "site.gres=tpu"
    )
    assert "sbatch: " in refused("run=never", "site.constraint=none", *CPU)
    assert not workshop.run("never").exists()
    said = workshop.dltk("submit", "small.yaml", "--nodes", "2", *CPU, "--test-only", **cluster.environment)
    assert "to start at" in said.out


@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_a_job_that_waits(cluster: Cluster, workshop: Workshop) -> None:
    first = Submitted(cluster, workshop, "slurm-first", "log.every_steps=1", slow=100)
    run = Submitted(cluster, workshop, "slurm-waits", "--dependency", f"afterok:{first.number}")
    said = workshop.dltk("status", "small/slurm-waits", **cluster.environment).out
    assert "PENDING (Dependency)" in said
    again = workshop.dltk("submit", "small/slurm-waits", *CPU, expect=2, **cluster.environment)
    assert again.err == (
        f"runs/small/slurm-waits: its job {run.number} is PENDING already. Wait for it, `dltk cancel` it, or let the "
        f"new one follow it: --dependency afterany:{run.number}.\n"
    )
    workshop.dltk("cancel", "small/slurm-waits", **cluster.environment)
    run.end("CANCELLED")
    cluster.tool("scancel", first.number)
    first.end("CANCELLED")


def test_an_outer_jobs_variables_mean_nothing(workshop: Workshop) -> None:
    """In a shell of `salloc` or `srun --pty bash` a training is this machine's own."""
    workshop.dltk("train", "small.yaml", "run=outer", "train.epochs=1", **OUTER)
    assert RunFolder.open(workshop.run("outer")).status == "done"
