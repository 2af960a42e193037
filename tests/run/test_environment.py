"""What is told about the machine, and what is not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dltk.run import environment
from dltk.run.environment import describe, write


def test_only_allowed_variables_get_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n" * 5000)
    for name in ("WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "SLURM_JWT", "HF_TOKEN", "SOME_PASSWORD"):
        monkeypatch.setenv(name, "s3cr3t-value")
    monkeypatch.setattr(sys, "argv", ["dltk", "s3cr3t-value"])
    facts = describe({"attempt": 1})
    text = json.dumps(facts)
    assert "s3cr3t" not in text
    assert facts["job"]["SLURM_JOB_ID"] == "17"
    assert len(facts["job"]["SLURM_JOB_NODELIST"]) == 200
    assert facts["attempt"] == 1
    assert facts["packages"]["torch"]
    assert facts["cpus"] > 0


def test_describing_does_not_import_torch() -> None:
    code = "import sys; from dltk.run.environment import describe; describe(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "net.py").write_text("width = 1\n")
    name = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
    for words in (["init", "-q"], ["add", "."], [*name, "commit", "-qm", "first"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(environment, "_sources", lambda: {"working folder": folder})
    return folder


def test_uncommitted_changes_are_kept_beside(tmp_path: Path, repository: Path) -> None:
    write(tmp_path, {})
    facts = json.loads((tmp_path / "environment.json").read_text())
    assert len(facts["git"]["working folder"]["commit"]) == 40
    assert facts["git"]["working folder"]["dirty"] is False
    assert not (tmp_path / "environment.diff").exists()
    write(tmp_path, {})
    assert not (tmp_path / "environment-2.json").exists()  # nothing has changed
    (repository / "net.py").write_text("width = 2\n")
    write(tmp_path, {})
    assert json.loads((tmp_path / "environment-2.json").read_text())["git"]["working folder"]["dirty"] is True
    assert "+width = 2" in (tmp_path / "environment-2.diff").read_text()
    assert "width =" not in (tmp_path / "environment-2.json").read_text()
    (repository / "net.py").write_text("width = 3\n")  # changed again, still uncommitted
    write(tmp_path, {})
    assert "+width = 3" in (tmp_path / "environment-3.diff").read_text()


def test_the_diff_is_bounded(tmp_path: Path, repository: Path) -> None:
    (repository / "net.py").write_text("x = 0\n" * 400_000)
    write(tmp_path, {})
    diff = (tmp_path / "environment.diff").read_bytes()
    assert len(diff) < (1 << 20) + 200
    assert b"cut here" in diff[-200:]


def test_a_repository_runs_nothing(tmp_path: Path, repository: Path) -> None:
    touched = tmp_path / "touched"
    script = tmp_path / "evil"
    script.write_text(f"#!/bin/sh\ntouch {touched}\n")
    script.chmod(0o755)
    (repository / ".gitattributes").write_text("*.py diff=evil\n")
    for key in ("core.fsmonitor", "diff.external", "diff.evil.textconv", "diff.evil.command"):
        subprocess.run(["git", "config", key, str(script)], cwd=repository, check=True)
    (repository / "net.py").write_text("width = 3\n")
    write(tmp_path, {})
    assert (tmp_path / "environment.diff").exists()
    assert not touched.exists()


def test_without_git_it_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert describe()["git"] == {}
