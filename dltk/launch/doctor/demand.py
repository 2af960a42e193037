"""What a training will ask of the machine: a recipe's, or that of a usual one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dltk.run.host import usable_cores

AUTO_WORKERS = 8  # of a process, where the recipe leaves their number open
TEXT = 1024  # bytes of a sample that is no picture: tokens weigh next to nothing
COPIES = {"sgd": 1, "rmsprop": 1, "adagrad": 1, "adadelta": 2, "adam": 2, "adamw": 2}  # of the weights, by optimiser


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Sizes of a training on one machine.

    Args:
        of: whose they are, in words.
        runs_dir: where its runs are written.
        workers: data workers of all its processes on this machine.
        batch_bytes: of what a worker makes at once.
        checkpoint_bytes: of one checkpoint; None where it is not known.
        checkpoints: kept at once, with the one being written.
    """

    of: str = "64 pictures of 3 × 256 × 256, 2 workers, as without --recipe"
    runs_dir: Path = Path("runs")
    workers: int = 2
    batch_bytes: int = 64 * 3 * 256 * 256
    checkpoint_bytes: int | None = None
    checkpoints: int = 4


def demand_of(settings: Mapping[str, Any], name: str) -> Demand:
    """What a recipe asks of this machine.

    Args:
        settings: of the checked recipe.
        name: of the recipe.

    Raises:
        LaunchError: it asks for devices that are not here.
    """
    from dltk.launch.here import devices
    from dltk.recipe.network import image_shape

    world = devices(settings["launch"])[1]
    batch, kept, workers = settings["batch"], settings["checkpoint"], settings["data"].get("workers", "auto")
    passes = batch["accumulate"] or (1 if batch["micro"] is None else -(-batch["global"] // (batch["micro"] * world)))
    each = max(1, min(AUTO_WORKERS, usable_cores() // world - 1)) if workers == "auto" else workers
    return Demand(
        of=f"{name}: {world * each} workers",
        runs_dir=Path(settings["runs_dir"]),
        workers=world * each,
        batch_bytes=-(-batch["global"] // (world * passes)) * math.prod(image_shape(settings) or (TEXT,)),
        checkpoint_bytes=_checkpoint_bytes(settings),
        checkpoints=kept["keep_last"] + kept["keep_best"] + 1,
    )


def _checkpoint_bytes(settings: Mapping[str, Any]) -> int:
    """Of the weights in 32 bits, what the optimiser keeps of them, and their running average."""
    import torch

    from dltk.recipe.check import constructor_of
    from dltk.recipe.network import without_values

    with torch.device("meta"):
        model = without_values(constructor_of("model", settings["model"]))
    numbers = sum(parameter.numel() for parameter in model.parameters())
    optimizer = settings["optimizer"]
    moments = COPIES.get(optimizer["name"], 2) if optimizer else 0
    return 4 * numbers * (1 + moments + (settings["train"]["ema"] is not None))
