"""The looks at a machine: each fault that can be planted without root gets its verdict and a remedy."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dltk import recipe
from dltk.launch.doctor import Demand, demand_of, devices, examine, exchange, machine, packages, storage, tracking
from dltk.launch.doctor.finding import Verdict
from tests.commands import processes, wait_until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def demand(tmp_path: Path) -> Demand:
    return Demand(runs_dir=tmp_path / "runs" / "deeper")


def test_this_environment_is_fit(demand: Demand) -> None:
    assert packages.python().verdict is Verdict.OK
    found = packages.required()
    assert found.verdict is Verdict.OK
    assert {"torch", "lightning", "typer"} <= found.numbers.keys()
    assert packages.extras().verdict in (Verdict.INFO, Verdict.WARN)
    assert {"ray", "deepspeed", "text", "onnx"} <= packages.extras().numbers.keys()


def test_missing_and_old_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {
        "requires-python": ">=99",
        "dependencies": ["torch>=99", "no-such-package-of-anybody>=1", "rich", "x; sys_platform == 'none'"],
        "optional-dependencies": {"new": ["rich>=99"], "none": ["no-such-package-of-anybody"], "test": ["rich>=99"]},
    }
    monkeypatch.setattr(packages, "project", lambda: wanted)
    assert packages.python().verdict is Verdict.FAIL
    found = packages.required()
    assert found.verdict is Verdict.FAIL
    assert "torch is " in found.says
    assert ">=99 is needed; no-such-package-of-anybody is missing" in found.says
    extras = packages.extras()
    assert extras.verdict is Verdict.WARN
    assert "rich is " in extras.says
    assert extras.numbers["none"] == "not installed"


def test_a_wheel_says_the_same_as_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    def metadata_of(name: str) -> "Said":
        return Said()

    class Said(dict):
        def __getitem__(self, key: str) -> str:
            return ">=3.11"

        def get_all(self, key: str) -> list[str]:
            return ["ray", "text"]

    wanted = ["torch>=2", "ray[default]>=2.59; extra == 'ray'", 'sacrebleu>=2; extra == "text"']
    monkeypatch.setattr(packages, "PROJECT", Path("nowhere"))
    monkeypatch.setattr(packages.metadata, "metadata", metadata_of)
    monkeypatch.setattr(packages.metadata, "requires", lambda name: wanted)
    found = packages.project()
    assert found["dependencies"] == ["torch>=2"]
    assert found["optional-dependencies"] == {"ray": ["ray[default]>=2.59"], "text": ["sacrebleu>=2"]}


def test_torch_that_does_not_import_is_one_fail_and_nothing_that_needs_it_runs(
    demand: Demand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    found = dict(examine(demand))
    assert found["torch"].verdict is Verdict.FAIL
    assert "cannot be imported" in found["torch"].says
    assert not {"devices", "all-reduce", "shared memory"} & found.keys()


def test_cores_beyond_the_quota(demand: Demand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 16)
    for quota, verdict in ((None, Verdict.OK), (16.0, Verdict.OK), (2.5, Verdict.WARN)):
        monkeypatch.setattr(machine, "core_quota", lambda quota=quota: quota)
        found = machine.cores(demand)
        assert found.verdict is verdict
    assert "launch.threads=2" in found.remedy


def test_open_files(demand: Demand) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        for limit, verdict in ((4096, Verdict.OK), (1024, Verdict.WARN), (200, Verdict.FAIL)):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
            found = machine.open_files(demand)
            assert found.verdict is verdict, found
            assert found.remedy.startswith("ulimit -n ") is (verdict is not Verdict.OK)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_shared_memory_that_is_too_small(demand: Demand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "SHARED", tmp_path)
    assert machine.shared_memory(demand).verdict is Verdict.OK
    found = machine.shared_memory(Demand(workers=1 << 20, batch_bytes=1 << 30))
    assert found.verdict is Verdict.FAIL
    assert "--shm-size" in found.remedy
    assert found.numbers["need"] == 4 << 50


def test_the_disk_is_measured_and_nothing_is_left(demand: Demand, tmp_path: Path) -> None:
    for look in (storage.speed, storage.room, storage.clock):
        found = look(demand)
        assert found.verdict is not Verdict.FAIL, found
        assert str(tmp_path) in found.says or look is storage.clock
    assert storage.speed(demand).numbers["bytes_per_second"] > 0
    assert list(tmp_path.iterdir()) == []


def test_disks_without_room_or_rights(demand: Demand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    big = Demand(runs_dir=tmp_path, checkpoint_bytes=1 << 60)
    found = storage.room(big)
    assert found.verdict is Verdict.FAIL
    assert "checkpoints take" in found.says
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        found = storage.speed(demand)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert found.verdict is Verdict.FAIL
    assert "file too large" in found.says
    assert list(tmp_path.iterdir()) == []


def test_a_clock_that_is_not_the_disks(demand: Demand, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    for ahead, verdict in ((0, Verdict.OK), (10, Verdict.WARN), (-10, Verdict.WARN), (3600, Verdict.FAIL)):
        monkeypatch.setattr(storage.time, "time", lambda ahead=ahead: real() + ahead)
        assert storage.clock(demand).verdict is verdict


def test_a_port_is_found_and_its_lack_told(demand: Demand, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.port(demand).verdict is Verdict.OK

    def none() -> int:
        raise OSError(99, "Cannot assign requested address")

    monkeypatch.setattr(machine, "free_port", none)
    assert "cannot assign requested address" in machine.port(demand).says


def test_a_driver_without_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert devices._none(None, None).verdict is Verdict.OK
    assert "build for CUDA" in devices._none("580.1", None).remedy
    assert "finds no device" in devices._none("580.1", "13.0").says
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices._none("580.1", "13.0").verdict is Verdict.OK


def test_wandb_is_offline_without_a_login() -> None:
    found = tracking.wandb()
    assert found.verdict is Verdict.INFO
    assert found.numbers["mode"] == "offline"


def test_a_recipe_says_what_it_needs() -> None:
    settings = recipe.load("lenet5_digits", "launch.devices=1", "data.workers=3", "train.ema=0.9").settings
    found = demand_of(settings, "lenet5_digits")
    momentum = 1 if settings["optimizer"]["name"] == "sgd" else 2
    assert found.checkpoint_bytes == 60_850 * 4 * (2 + momentum)
    assert (found.workers, found.checkpoints) == (3, 4)
    assert found.batch_bytes == settings["batch"]["global"] * 32 * 32


def test_all_reduce_is_measured_and_its_processes_end() -> None:
    before = set(processes())
    found = exchange.all_reduce()
    assert found.verdict in (Verdict.OK, Verdict.WARN), found
    assert found.numbers["processes"] == 2
    assert [row["bytes"] for row in found.numbers["sizes"]] == list(exchange.SIZES)
    assert all(row["seconds"] > 0 for row in found.numbers["sizes"])
    assert not [pid for pid, (parent, _) in processes().items() if parent == os.getpid() and pid not in before]


@pytest.mark.parametrize(("fault", "told"), [
    ("raise RuntimeError('no interface to be had')", "no interface to be had"),
    ("import time; time.sleep(60)", "no answer within"),
])  # fmt: skip
def test_processes_that_fail_or_hang_are_told_and_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str, told: str
) -> None:
    (tmp_path / "broken.py").write_text(fault)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(exchange, "__name__", "broken")
    monkeypatch.setattr(exchange, "LIMIT", 1.0)
    found = exchange.all_reduce()
    assert found.verdict is Verdict.FAIL
    assert told in found.says
    assert found.remedy
    assert not [pid for pid, (parent, _) in processes().items() if parent == os.getpid() and "broken" in _command(pid)]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_ctrl_c_leaves_no_process_and_no_file(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    doctor = subprocess.Popen(
        [sys.executable, "-m", "dltk", "doctor", "--json"], cwd=tmp_path, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    children = lambda: [pid for pid, (parent, _) in processes().items() if parent == doctor.pid]  # noqa: E731
    wait_until(lambda: [pid for pid in children() if "exchange" in _command(pid)], "the measurement", 60, doctor.kill)
    started = children()
    doctor.send_signal(signal.SIGINT)
    out, _ = doctor.communicate(timeout=20)
    assert doctor.returncode == 130
    assert out == ""
    wait_until(lambda: not set(started) & set(processes()), "the processes to be gone", 5)
    assert list(tmp_path.iterdir()) == []


def test_the_command_as_json(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "dltk", "doctor", "--json", "--recipe", "mlp_digits"],
        cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    print(f"dltk doctor: {time.monotonic() - began:.1f} s")
    answer = json.loads(done.stdout)
    failed = [row["check"] for row in answer["checks"] if row["verdict"] == "FAIL"]
    assert (done.returncode, answer["ok"]) == ((1, False) if failed else (0, True))
    assert {"check", "verdict", "says", "remedy", "numbers"} == answer["checks"][0].keys()
    assert all(row["remedy"] for row in answer["checks"] if row["verdict"] in ("WARN", "FAIL"))
    assert "all-reduce" in {row["check"] for row in answer["checks"]}
    assert list(tmp_path.iterdir()) == []
