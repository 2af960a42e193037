import time
from pathlib import Path

import pytest

from tests.cli.conftest import Said, Trained, start_cold

SLOW = ("torch", "lightning", "matplotlib", "sklearn", "pandas", "wandb")
PROBE = f"""
import sys, time
began = time.perf_counter()
from dltk.cli import run
code = run(sys.argv[1:])
print("took", time.perf_counter() - began, [name for name in {SLOW} if name in sys.modules], code, file=sys.stderr)
"""


def probe(*arguments: object, cwd: Path) -> Said:
    return start_cold(*arguments, cwd=cwd, python=("-c", PROBE))


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "--json"], ["train", "--help"], ["--version"]])
def test_help_and_list_import_nothing_slow(arguments: list[str], tmp_path: Path) -> None:
    began = time.perf_counter()
    said = probe(*arguments, cwd=tmp_path)
    print(f"dltk {' '.join(arguments)}: {time.perf_counter() - began:.2f} s with the interpreter; {said.err.strip()}")
    assert said.out
    assert said.err.strip().endswith("[] 0")


def test_runs_and_compare_import_nothing_slow(trained: Trained) -> None:
    for where in (trained.runs, trained.path):
        said = probe("runs", where, "--json", cwd=trained.runs.parent)
        assert said.err.strip().endswith("[] 0")
    said = probe("compare", trained.path, cwd=trained.runs.parent)
    assert said.err.strip().endswith("[] 0")


def test_show_and_validate_need_no_lightning(tmp_path: Path) -> None:
    for arguments in (["show", "lenet5"], ["validate", "linear_digits", "--data"]):
        said = probe(*arguments, cwd=tmp_path)
        print(f"dltk {' '.join(arguments)}: {said.err.strip()}")
        assert said.err.strip().endswith("['torch'] 0")
