"""A package with planted faults on the path, and the checks of a small recipe with a small budget."""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from dltk import recipe
from dltk.launch.debugging import Budget, Context, Finding, Verdict, debug

SMALL = Budget(batches=4, rate_steps=20, one_batch_steps=150, steps=40, memorise_steps=600, held_out=180, timed_steps=8)

Findings = dict[str, Finding]
Run = Callable[..., Findings]


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "planted_faults").mkdir()
    (folder / "planted_faults" / "__init__.py").write_text("")
    shutil.copyfile(Path(__file__).with_name("planted.py"), folder / "planted_faults" / "parts.py")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def small_recipe(**sections: Any) -> dict[str, Any]:
    """A sound recipe, with sections replaced or added."""
    return {
        "model": {"architecture": "planted_faults.parts:Sound"},
        "task": {"name": "classification"},
        "data": {"name": "planted_faults.parts:Data"},
        "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
        "batch": {"global": 32},
        "train": {"epochs": 4},
        "launch": {"accelerator": "cpu"},
    } | sections


@pytest.fixture
def checks(package: Path) -> Iterator[Run]:
    """Run the checks on sources of a recipe."""

    def run(*sources: str | Mapping[str, Any], budget: Budget = SMALL) -> Findings:
        return dict(debug(Context(recipe.load(*sources).settings, budget=budget)))

    yield run
    torch.use_deterministic_algorithms(False)


def fails(findings: Findings) -> list[str]:
    return [name for name, finding in findings.items() if finding.verdict is Verdict.FAIL]
