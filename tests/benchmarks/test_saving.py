"""How long a checkpoint holds a training up: written in the foreground, and beside the training.

A network of 384 million weights with Adam, as the sequence to sequence network of 2014, whose steps are Adam's alone:
they touch every weight and need no data. Both kinds of saving take turns on the same weights, each into a run folder of
its own; a save waits for no earlier one. What the steps beside a write take longer than others is counted too.
"""

import statistics
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from dltk.run.folder import RunFolder
from dltk.run.host import free_memory
from dltk.trainer.checkpointing import DirectoryIO
from dltk.trainer.config import CheckpointConfig

PARAMETERS = 384_000_000
BYTES = 28  # a parameter: weight, gradient, two moments, and the copy of three of them
SPARE = 1.3  # times that must be free
LAYERS = 24
TURNS = 3  # the first of each allocates


class Training:
    """Weights, gradients that stay as they are, and Adam."""

    def __init__(self, parameters: int) -> None:
        side = parameters // LAYERS
        self.weights = [torch.nn.Parameter(torch.randn(side)) for _ in range(LAYERS)]
        for weight in self.weights:
            weight.grad = torch.full_like(weight, 1e-3)
        self.optimizer = torch.optim.Adam(self.weights, lr=1e-4, fused=True)
        self.steps = 0

    def step(self) -> float:
        began = time.perf_counter()
        self.optimizer.step()
        self.steps += 1
        return time.perf_counter() - began

    def state(self) -> dict[str, Any]:
        state_dict = {f"model.{number}": weight.detach() for number, weight in enumerate(self.weights)}
        return {"state_dict": state_dict, "optimizer_states": [self.optimizer.state_dict()], "step": self.steps}


def save(io: DirectoryIO, training: Training) -> float:
    """Seconds for which a save holds the training up."""
    io.meta = {"step": training.steps}
    state = training.state()
    began = time.perf_counter()
    io.save_checkpoint(state, "ignored")
    return time.perf_counter() - began


def beside(io: DirectoryIO, training: Training) -> tuple[int, float]:
    """Steps made while a write is under way, and their seconds."""
    seconds = []
    while io._writer._thread is not None and io._writer._thread.is_alive():
        seconds.append(training.step())
    io.finish()
    return len(seconds), sum(seconds)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_what_a_checkpoint_holds_up(tmp_path: Path) -> None:
    parameters = min(PARAMETERS, int(free_memory() / (SPARE * BYTES)) // LAYERS * LAYERS)
    training = Training(parameters)
    plain = [training.step() for _ in range(8)][3:]
    kinds = {}
    for name, asynchronous in (("foreground", False), ("beside", True)):
        run = RunFolder.create(tmp_path, "saving", {}, run=name)
        config = CheckpointConfig(asynchronous=asynchronous, keep_last=1, keep_best=0)
        kinds[name] = DirectoryIO(run, config, 1, "single", 1, print)
    held: dict[str, list[float]] = {name: [] for name in kinds}
    longer = []
    for _ in range(TURNS):
        for name, io in kinds.items():
            held[name].append(save(io, training))
            print(f"\n{name} holds a step up by {held[name][-1]:.2f} s", end="", flush=True)
            steps, seconds = beside(io, training)
            if name == "beside":
                longer.append(seconds - steps * statistics.median(plain))
                print(f"; {steps} steps in {seconds:.1f} s until it was written", end="", flush=True)
            plain += [training.step() for _ in range(4)][1:]
    size = 12 * parameters
    print(f"\n{parameters / 1e6:.0f} million parameters, {size / 1e9:.2f} GB a checkpoint, ", end="")
    print(f"a step takes {statistics.median(plain):.2f} s")
    for name, seconds_of in held.items():
        print(f"{name:12} holds a step up by {', '.join(f'{one:.2f}' for one in seconds_of)} s")
    shares = [one / other for one, other in zip(held["beside"], held["foreground"], strict=True)]
    print(f"beside / foreground: {', '.join(f'{share:.3f}' for share in shares)}; median from the second on ", end="")
    print(f"{statistics.median(shares[1:]):.3f}; steps beside a write took {statistics.median(longer):.1f} s longer")
    for io in kinds.values():
        (path,) = io.checkpoints.steps().values()
        assert io.checkpoints.verify(path) is None
        assert io.checkpoints.manifest(path)["files"]["state.pt"]["bytes"] > size
        io.teardown()
