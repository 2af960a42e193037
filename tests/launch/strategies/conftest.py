"""One recipe, trained under every strategy by processes that live through all tests of a session."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from dltk.errors import ExitCode
from dltk.launch import here
from dltk.run.folder import RunFolder
from tests.launch.strategies.pool import Pool

STRATEGIES = ("ddp", "fsdp2", "deepspeed-1", "deepspeed-2", "deepspeed-3")
OPTIMIZERS = {
    "sgd": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.001},
    "adam": {"name": "adam", "lr": 0.003},
}
# Sizes that no number of processes divides; shares of a batch that differ; clipping, constraint and average at work.
RECIPE: dict[str, Any] = {
    "name": "one",
    "model": {
        **{"architecture": "mlp", "num_classes": 10, "image": [1, 8, 8], "hidden_sizes": [23, 17]},
        **{"dropout": 0.0, "max_norm": 1.5},
    },
    "data": {"name": "digits", "image_size": 8},
    "batch": {"global": 30, "accumulate": 2},
    "train": {"steps": 20, "clip_norm": 0.5, "ema": 0.9, "validate_every": 10},
    "checkpoint": {"every_steps": 3, "keep_last": 20},
    "log": {"every_steps": 1, "wandb": "disabled"},
    "launch": {"accelerator": "cpu", "devices": 1},
}

Train = Callable[..., RunFolder]


@pytest.fixture(scope="package")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """The processes."""
    assert importlib.util.find_spec("deepspeed"), "DeepSpeed is missing: install the extra deepspeed"
    pool = Pool(tmp_path_factory.mktemp("pool"))
    yield pool
    pool.close()


@pytest.fixture(scope="package")
def train(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Train]:
    """Trains the recipe under a strategy and gives its run, the same one where it is asked for again."""
    folder = tmp_path_factory.mktemp("strategies")
    patch = pytest.MonkeyPatch()
    patch.setattr(here, "run_processes", pool.run_processes)
    patch.setenv("OMP_NUM_THREADS", "1")
    known: dict[Any, RunFolder] = {}

    def train(
        strategy: str, world: int, recipe: str | Mapping[str, Any], *settings: str, fork: str | None = None
    ) -> RunFolder:
        """The recipe with one of the optimisers, or another (mapping, or file), or a fork of a run (RUN@STEP)."""
        key = (strategy, world, str(recipe), settings, fork)
        if key not in known:
            place = [f"runs_dir={folder}", f"launch.strategy={strategy}", f"launch.devices={world}"]
            own = {**RECIPE, "optimizer": OPTIMIZERS[recipe]} if recipe in tuple(OPTIMIZERS) else recipe
            sources = [*(["run=null"] if fork else [own]), *place, *settings]
            run, changed = here.open_run(sources, fork=fork)
            assert here.attempt(run, changed) is ExitCode.DONE
            known[key] = run
        return known[key]

    yield train
    patch.undo()


def curve(run: RunFolder, metric: str) -> dict[int, Any]:
    """One metric by step."""
    return {line["step"]: line[metric] for line in run.metrics.read() if metric in line}


def state(run: RunFolder, step: int) -> dict[str, Any]:
    """What the checkpoint of a step holds of weights, average and optimiser."""
    saved = run.checkpoints.load(run.checkpoints.at(step))
    return {
        "weights": saved["state_dict"],
        "average": saved["callbacks"].get("Average"),
        "optimizer": saved["optimizer_states"],
        "recorder": saved["callbacks"]["Recorder"],
        "task": saved["task"],
    }
