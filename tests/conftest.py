"""The surroundings of every test: no job, no account, no device and no home folder of the person who runs them."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.commands import Server

# A job, a launcher or a login around pytest would change what is tested.
OUTER = ("SLURM_", "SBATCH_", "TORCHELASTIC_", "OMPI_", "PMI_", "PMIX_", "RAY_", "WANDB_", "DLTK_")
RANKS = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "GROUP_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
    "NODE_RANK",
)

# Two noisy cores make a deadline a matter of luck. In CI the examples are the same in every run.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)

home = pytest.StashKey[tempfile.TemporaryDirectory]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where prepared sets lie, for the long tests that train on them."""
    parser.addoption("--data-dir", help="folder of the sets that recipes name, as made by dltk data prepare")


def pytest_configure(config: pytest.Config) -> None:
    """Before any test module, and so before torch, is imported; child processes inherit it."""
    settings.load_profile("ci" if os.environ.get("CI") else "here")
    for name in list(os.environ):
        if name.startswith(OUTER) or name in RANKS:
            del os.environ[name]
    folder = config.stash[home] = tempfile.TemporaryDirectory(prefix="dltk-tests-")
    for name, below in {"HOME": "", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache"}.items():
        os.environ[name] = str(Path(folder.name, below))
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "MPLCONFIGDIR"):
        os.environ[name] = folder.name
    os.environ["NETRC"] = str(Path(folder.name, "no-netrc"))
    os.environ["MPLBACKEND"] = "agg"
    # One thread: sums come out the same on any number of cores, and ranks do not fight for them.
    os.environ["OMP_NUM_THREADS"] = "1"
    markers = config.option.markexpr
    if "gpu" not in markers or "not gpu" in markers:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file of tests is run by one process, for it shares runs; those that share groups of processes are, too."""
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return str(Path(file).parent) if "strategies" in Path(file).parts else file

    return Together(config, log)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The home folder goes with the session."""
    config.stash[home].cleanup()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Starts commands, for all tests of a session."""
    server = Server(tmp_path_factory.mktemp("said"))
    yield server
    server.close()
