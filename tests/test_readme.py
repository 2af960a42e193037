"""What the README shows works as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

from dltk.errors import ExitCode

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python with the checkout on its path."""
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=variables, timeout=100
    )


def test_python_lines_run(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    answer = run("-c", code, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    lines = answer.stdout.splitlines()
    (path, error) = next(line for line in lines if line.split(" ")[0].count("/") >= 2).split(" ")
    assert (tmp_path / path / "summary.json").is_file()
    assert 0 <= float(error) <= 100
    assert f"[('{Path(path).name}', 'done')]" in answer.stdout


def test_python_lines_are_few():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 8


def test_shown_mistake_is_the_one_that_is_said(tmp_path):
    command, said = re.search(r"^dltk (validate recipes/\S+ \S+)\n(override .*)$", README, re.MULTILINE).groups()
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    answer = run("-m", "dltk", *command.split(), cwd=tmp_path)
    assert answer.returncode == ExitCode.MISTAKE
    assert answer.stderr.strip() == said


def test_exit_codes_are_those_of_the_program():
    rows = dict(re.findall(r"^\| (\d+) \| (.+) \|$", README, re.MULTILINE))
    assert {int(code) for code in rows} == {int(code) for code in ExitCode}


def test_every_command_shown_exists(tmp_path):
    code = "\n".join(re.findall(r"```\n(.*?)```", README, re.DOTALL) + re.findall(r"`([^`\n]+)`", README))
    shown = set(re.findall(r"^(?:\.venv/bin/)?dltk ([a-z]+)", code, re.MULTILINE))
    assert {"list", "show", "train", "predict", "validate", "runs", "new"} <= shown
    listed = run("-m", "dltk", "--help", cwd=tmp_path).stdout
    assert not [name for name in shown if not re.search(rf"\b{name}\b", listed)]
