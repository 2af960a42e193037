"""`dltk submit --on ray` and `dltk sweep --on ray`, as far as they come without a cluster."""

import time
from pathlib import Path

import pytest

from tests.cli.conftest import Command


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("arguments", "said"), [
    (("--workers", "2", "--address", "http://127.0.0.1:9"), "--address: no Ray cluster at 127.0.0.1:9 (connection"),
    (("--workers", "2", "--address", "127.0.0.1:9"), "--address: no Ray cluster at 127.0.0.1:9 (connection refused)."),
    (("--workers", "2", "--address", "nowhere"), "--address: 'nowhere' is no address of a Ray cluster."),
    (("--workers", "2", "--address", "ray://127.0.0.1:9"), "--address: 'ray://127.0.0.1:9' is no address of a Ray"),
    (("--workers", "5", "--address", "auto"), "--workers: 5 does not divide batch.global=32. Set 4 or 8."),
    (("--address", "auto"), "--workers: is missing."),
    (("--workers", "2", "--chain", "2"), "--chain: does not belong to --on ray."),
])  # fmt: skip
def test_mistakes_are_told_quickly_and_leave_nothing(
    dltk: Command, here: Path, arguments: tuple[str, ...], said: str
) -> None:
    began = time.monotonic()
    found = dltk("submit", "linear_digits", "--on", "ray", *arguments)
    assert found.code == 2
    assert time.monotonic() - began < 20
    assert found.err.startswith(said)
    assert len(found.err.splitlines()) == 1
    assert not (here / "runs").exists()


def test_a_dry_run_shows_what_would_be_sent(dltk: Command, here: Path) -> None:
    arguments = ("--workers", "4", "--min-workers", "2", "--address", "http://head:8265", "--dry-run", "run=dry")
    asked = dltk("submit", "linear_digits", "--on", "ray", *arguments).json
    run = here / "runs" / "linear_digits" / "dry"
    assert f"-m dltk drive {run} --workers 4 --min-workers 2 --cpus 1" in asked["entrypoint"]
    assert asked["runtime_env"]["env_vars"]["PYTHONPATH"] == "."
    assert not run.exists()


def test_a_sweep_wants_a_job_server(dltk: Command, here: Path) -> None:
    (here / "axes.yaml").write_text("train.seed: [0, 1]\n")
    sweep = ("sweep", "linear_digits", "axes.yaml", "--on", "ray")
    assert dltk(*sweep, "--address", "auto").err.startswith("--address: 'auto' is no job server's.")
    assert dltk(*sweep, "--address", "http://127.0.0.1:9").err.startswith("--address: no Ray cluster at 127.0.0.1:9")
    assert dltk(*sweep, "--nodes", "2").err.startswith("--nodes: does not belong to --on ray.")
    assert dltk(*sweep, "--workers", "5").err.startswith("--address: 'auto' is no job server's.")
    said = dltk(*sweep, "--address", "http://127.0.0.1:9", "--workers", "5").err
    assert said.startswith("--workers: 5 does not divide batch.global=32. Set 4 or 8.")
    assert not (here / "runs").exists()
