"""The script that makes the environment: what it refuses, what it takes as ready, how it fails."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dltk import bootstrap
from dltk.bootstrap import Refusal

ROOT = Path(__file__).parent.parent


def program(path: Path, *lines: str) -> Path:
    """A shell script in a file."""
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def ready(tmp_path, monkeypatch):
    """A folder that looks like an environment that was made a moment ago."""
    (tmp_path / "bin").mkdir()
    bootstrap.python_of(tmp_path).symlink_to(sys.executable)
    bootstrap.stamp_of(tmp_path).write_text(json.dumps(bootstrap.wanted(["test"])))
    return tmp_path


@pytest.mark.parametrize(
    ("system", "machine", "line"),
    [
        ("Windows", "AMD64", "system: Windows is not supported. Use Linux, a Mac with Apple silicon, or WSL 2."),
        (
            "Darwin",
            "x86_64",
            "system: torch has no current build for Intel Macs. Use Linux or a Mac with Apple silicon.",
        ),
    ],
)
def test_refused_systems_get_one_line(system, machine, line):
    with pytest.raises(Refusal) as caught:
        bootstrap.check_system(system, machine)
    assert str(caught.value) == line


@pytest.mark.parametrize(("system", "machine"), [("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")])
def test_other_systems_pass(system, machine):
    bootstrap.check_system(system, machine)


def test_a_python_that_does_not_run_is_passed_over(tmp_path, monkeypatch):
    program(tmp_path / "python3.13", "exit 127")
    program(tmp_path / "python3.12", "echo 3 10")
    good = program(tmp_path / "python3.11", "echo 3 11")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert bootstrap.newer_python() == str(good)


def test_no_newer_python_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refusal, match=r"no newer one is on the PATH\. Install Python 3\.11 or newer"):
        bootstrap.newer_python()


def test_missing_venv_module_names_debians_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(Refusal, match=r"sudo apt install python3\.\d+-venv"):
        bootstrap.check_venv()


def test_device_is_read_from_the_driver(tmp_path, monkeypatch):
    program(tmp_path / "nvidia-smi", "echo 'NVIDIA H100, 580.10'", "echo 'NVIDIA H100, 580.10'")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert bootstrap.nvidia_device() == "2 x NVIDIA H100, driver 580.10"


def test_full_disk_is_said_with_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(bootstrap, "free_gb", lambda folder: 3.0)
    bootstrap.check_disk(tmp_path / "venv", "CPU")
    with pytest.raises(Refusal, match=r"disk: 3\.0 GB free at \S+, 10 GB needed\. Make room, or"):
        bootstrap.check_disk(tmp_path / "venv", "CUDA")


def test_ready_environment_is_left_alone(ready, monkeypatch, capsys):
    monkeypatch.setattr(bootstrap, "install", lambda *given: pytest.fail("it installed"))
    bootstrap.prepare(ready, ["test"])
    bootstrap.prepare(ready, [])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "change", [{"pyproject": "other"}, {"python": "3.11.0"}, {"checkout": "elsewhere"}, {"extras": []}]
)
def test_environment_of_something_else_is_not_ready(ready, change):
    stamp = bootstrap.read_stamp(ready)
    want = bootstrap.wanted(["test"])
    assert bootstrap.is_ready(stamp, want)
    assert not bootstrap.is_ready(stamp | change, want)


def test_environment_without_its_python_is_not_ready(ready):
    bootstrap.python_of(ready).unlink()
    assert bootstrap.read_stamp(ready) == {}


def test_later_extra_keeps_the_earlier_one(ready, monkeypatch):
    asked = []
    monkeypatch.setattr(bootstrap, "install", lambda venv, extras, device: asked.append(extras))
    monkeypatch.setattr(bootstrap, "check_device", lambda venv, device: None)
    bootstrap.prepare(ready, ["s3"])
    assert asked == [["s3", "test"]]
    assert json.loads(bootstrap.stamp_of(ready).read_text())["extras"] == ["s3", "test"]


def test_folder_of_something_else_is_kept(tmp_path):
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(Refusal, match="this folder holds something else"):
        bootstrap.make_venv(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "dear"


def test_failed_installation_shows_the_end_of_the_log_and_leaves_no_stamp(ready, capsys, monkeypatch):
    bootstrap.python_of(ready).unlink()
    version = "{} {}".format(*sys.version_info[:2])
    failure = "*) echo no matching distribution found; exit 1;;"
    program(bootstrap.python_of(ready), 'case "$*" in', f"*version_info*) echo {version};;", failure, "esac")
    monkeypatch.setattr(bootstrap, "check_disk", lambda venv, build: None)
    monkeypatch.setattr(bootstrap, "has_torch", lambda venv: True)
    with pytest.raises(Refusal, match=r"installing dltk: it failed; the whole log is \S+install\.log"):
        bootstrap.prepare(ready, ["test", "ray"])
    assert "no matching distribution found" in capsys.readouterr().out
    assert not bootstrap.stamp_of(ready).exists()


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["echo ' + torch==2.14.1+cpu'", "echo ' + torchvision==0.29.1+cpu'"], True),
        (["echo ' + torch==2.14.1'"], False),  # the CUDA build, from another index
        (["echo 'error: no such host' >&2", "exit 2"], False),
        (["exec sleep 60"], False),
    ],
)
def test_cpu_build_is_trusted_only_when_named(tmp_path, monkeypatch, lines, found):
    uv = program(tmp_path / "uv", *lines)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(bootstrap, "PROBE_SECONDS", 1)
    bootstrap.log_of(tmp_path).write_text("earlier: + torch==2.14.1+cpu\n")
    command = bootstrap.cpu_build(tmp_path)
    assert bool(command) is found
    if found:
        assert command[0] == str(uv)
        assert "--torch-backend=cpu" in command
        assert "--dry-run" not in command


def test_refusal_is_one_line_and_exit_2(tmp_path):
    (tmp_path / "something").write_text("")
    answer = subprocess.run(
        [sys.executable, "-I", str(ROOT / "dltk" / "bootstrap.py"), "--venv", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 1
    assert answer.stderr.startswith("dltk: ")
