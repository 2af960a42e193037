"""What importing costs, and what it must not need."""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

IMPORT_EVERYTHING = """
import importlib, json, pkgutil, sys, traceback

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"ray", "deepspeed", "s3fs", "gcsfs"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import dltk

names = sorted(module.name for module in pkgutil.walk_packages(dltk.__path__, "dltk."))
failures = {}
for name in names:
    if name != "dltk.__main__":
        try:
            importlib.import_module(name)
        except BaseException:
            failures[name] = traceback.format_exc()
print(json.dumps([names, failures]))
"""

HEAVY = (
    "torch",
    "lightning",
    "torchvision",
    "torchmetrics",
    "matplotlib",
    "sklearn",
    "pandas",
    "scipy",
    "wandb",
    "mlxtend",
)


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run Python with the checkout on its path."""
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=variables, timeout=100
    )


def modules() -> list[str]:
    """Every module of the package, by its files."""
    files = (path.relative_to(ROOT) for path in (ROOT / "dltk").rglob("*.py"))
    return sorted(".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in files)


def test_every_module_imports_without_any_extra():
    answer = run("-c", IMPORT_EVERYTHING)
    assert answer.returncode == 0, answer.stderr
    names, failures = json.loads(answer.stdout.splitlines()[-1])
    assert not failures, "\n".join(failures.values())
    # A folder without __init__.py would be passed over silently.
    assert ["dltk", *names] == modules()


@pytest.mark.parametrize(
    "module",
    ["dltk", "dltk.errors", "dltk.catalogue", "dltk.trainer.config", "dltk.recipe", "dltk.run.folder", "dltk.cli"],
)
def test_what_must_be_quick_imports_nothing_heavy(module):
    code = f"import {module}, sys; print([name for name in {HEAVY} if name in sys.modules])"
    answer = run("-c", code)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("command", [["--help"], ["list"], ["runs"]])
def test_quick_commands_import_nothing_heavy(command, tmp_path):
    code = f"""
import atexit, sys
atexit.register(lambda: print("heavy:", [name for name in {HEAVY} if name in sys.modules]))
sys.argv = ["dltk", *{command}]
from dltk.cli import main
sys.exit(main())
"""
    answer = run("-c", code, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[-1] == "heavy: []"


def seconds(*arguments: str) -> float:
    """Median of five starts."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        assert run(*arguments).returncode == 0
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def test_help_costs_little_more_than_python_itself():
    """Half a second on a quiet machine; measured beside a bare start, so that a busy machine does not fail it."""
    bare, help_ = seconds("-c", "import argparse, json, subprocess"), seconds("-m", "dltk", "--help")
    print(f"python {bare:.3f} s, dltk --help {help_:.3f} s")
    assert help_ < max(1.0, 12 * bare)
