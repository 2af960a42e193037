"""A training step of AlexNet on the CPU: the toolkit's network, task and optimiser beside a straightforward module.

Both are the network of 2012 with the same first weights, and read the same bytes. The plain one is what one would write
without a toolkit: torch's own response normalisation and optimiser, in 32 bits, its maps one after the other in memory.
They take turns step by step, so that the machine's speed drifts for all alike; a ratio is the median over rounds of the
ratio within a round.
"""

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltk import recipe
from dltk.assemble import build_task
from dltk.layers.first_weights import he
from dltk.models.alexnet import AlexNet
from dltk.tasks.task import Task
from dltk.trainer.utilisation import ModelFlops, matrix_rate

BATCH, ROUNDS = 64, 5
GOALS = {"32 bits": 1.4, "32 bits, channels last": 1.4, "16 bits, channels last": 2.5}

Step = Callable[[dict[str, Tensor]], Tensor]  # trains on a batch; returns its mean loss


class Plain(nn.Module):
    """AlexNet by torch's own layers, under the names that ours have.

    Args:
        net: ours, which gives sizes and weights.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        ours = net.norm1
        self.norm = nn.LocalResponseNorm(ours.size, alpha=ours.size * ours.alpha, beta=ours.beta, k=ours.k)
        self.pool = nn.MaxPool2d(3, 2)
        for name, layer in net.named_children():
            if isinstance(layer, nn.Conv2d):
                settings = {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups}
                self.add_module(name, nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, **settings))
            elif isinstance(layer, nn.Linear):
                self.add_module(name, nn.Linear(layer.in_features, layer.out_features))
        self.load_state_dict(net.state_dict())

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, c, h, w) to class scores (b, k)."""
        y = self.pool(self.norm(F.relu(self.conv1(images))))
        y = self.pool(self.norm(F.relu(self.conv2(y))))
        y = F.relu(self.conv3(y))
        y = F.relu(self.conv4(y))
        y = self.pool(F.relu(self.conv5(y))).flatten(1)
        y = F.dropout(F.relu(self.fc6(y)), training=self.training)
        y = F.dropout(F.relu(self.fc7(y)), training=self.training)
        return self.fc8(y)


def plain_step(task: Task, settings: Any) -> tuple[nn.Module, Step]:
    """The plain network with a task's weights, and its step."""
    net = Plain(task.model)
    optimizer = torch.optim.SGD(
        net.parameters(), **{key: settings["optimizer"][key] for key in ("lr", "momentum", "weight_decay")}
    )
    mean, std = (torch.tensor(settings["task"][key]).view(-1, 1, 1) for key in ("mean", "std"))

    def step(batch: dict[str, Tensor]) -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(net((batch["image"] / 255 - mean) / std), batch["target"])
        loss.backward()
        optimizer.step()
        return loss

    return net, step


def our_step(task: Task, half: bool = False) -> Step:
    """The task's step."""
    assert task.procedure.optimizer is not None
    optimizer = task.procedure.optimizer(task.model)

    def step(batch: dict[str, Tensor]) -> Tensor:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            measures = task.measure(batch)
        loss = measures["loss"] / measures["weight"]
        loss.backward()
        optimizer.step()
        return loss

    return step


def batches(settings: Any, count: int) -> Iterator[dict[str, Tensor]]:
    """Batches that can be learnt from: a class is a coarse pattern of colours, seen under noise."""
    generator = torch.Generator().manual_seed(0)
    classes, shape = settings["model"]["num_classes"], settings["model"]["image"]
    patterns = torch.randint(50, 200, (classes, shape[0], 4, 4), generator=generator).float()
    for _ in range(count):
        target = torch.randint(classes, (BATCH,), generator=generator)
        clean = F.interpolate(patterns[target], shape[1:])
        noisy = clean + 20 * torch.randn(clean.shape, generator=generator)
        yield {"image": noisy.clamp(0, 255).byte(), "target": target, "weight": torch.ones(BATCH)}


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    yield
    torch.set_num_threads(before)


def weights(net: nn.Module) -> Tensor:
    """All of a network's, in one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


class WideScores(AlexNet):
    """With scores as wide as all else: twenty steps are too few to get them there."""

    def initialise(self, name: str, parameter: nn.Parameter, generator: torch.Generator | None) -> None:
        """As the network does by `he`, but for the scores."""
        if name == "fc8.weight":
            he(parameter, generator)
        else:
            super().initialise(name, parameter, generator)


NARROW = [
    f"model.architecture={__name__}:WideScores",
    "task.name=classification",
    "model.num_classes=8",
    "model.image=[3, 64, 64]",
    "data.image_size=64",
    "model.kernel=5",
    "model.stride=2",
    "model.maps=[16, 32, 48, 48, 32]",
    "model.hidden_sizes=[64, 64]",
    "model.first_weights=he",
    "model.alpha=0.05",
    "task.std=[1.0]",
    "optimizer.lr=0.003",
]


@pytest.mark.parametrize("channels_last", [False, True])
def test_both_learn_the_same(channels_last: bool) -> None:
    settings = recipe.load("alexnet_imagenet2012", *NARROW, f"train.channels_last={channels_last}".lower()).settings
    task = build_task(settings)
    first = weights(task.model)
    net, theirs = plain_step(task, settings)
    ours = our_step(task)
    losses = []
    for number, batch in enumerate(batches(settings, 20)):
        for step in (theirs, ours):
            torch.manual_seed(number)  # the same units are dropped
            losses.append(step(batch).item())
    assert losses[-1] < 0.95 * losses[0]
    apart = (weights(task.model) - weights(net)).norm()
    assert apart < 1e-4 * weights(net).norm()
    assert apart < 1e-2 * (weights(net) - first).norm(), "they have hardly moved"


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_speed_of_a_step() -> None:
    settings = {
        last: recipe.load("alexnet_imagenet2012", f"train.channels_last={last}".lower()).settings
        for last in (False, True)
    }
    (batch,) = batches(settings[False], 1)
    with threads(cores()):
        tasks = {last: build_task(each) for last, each in settings.items()}
        flops = flops_of(tasks[False], batch)
        rates = {each: matrix_rate(torch.device("cpu"), each) for each in (torch.float32, torch.bfloat16)}
        steps = {
            "plain": plain_step(tasks[False], settings[False])[1],
            "32 bits": our_step(tasks[False]),
            "32 bits, channels last": our_step(tasks[True]),
        }
        quicker = rates[torch.bfloat16] > 1.5 * rates[torch.float32]
        if quicker:
            steps["16 bits, channels last"] = our_step(build_task(settings[True]), half=True)
        took = in_turn(steps, batch)
    print(f"\n{torch.backends.cpu.get_cpu_capability()}, {flops / 1e9:.0f} GFLOP a step", end="")
    for type_, rate in rates.items():
        print(f"\nmatrix products in {type_}: {rate / 1e9:.0f} GFLOP/s", end="")
    if not quicker:
        print("\nthis processor does not multiply 16 bits faster than 32: not measured in 16 bits", end="")
    ratios = {}
    for name, seconds in took.items():
        rate = rates[torch.bfloat16 if name.startswith("16") else torch.float32]
        middle = statistics.median(seconds)
        ratios[name] = statistics.median(a / b for a, b in zip(took["plain"], seconds, strict=True))
        share = flops / middle / rate
        print(f"\n{name:24} {BATCH / middle:6.1f} images/s  {ratios[name]:.2f} ×  {share:.0%} of the rate", end="")
    print()
    assert {name: ratio for name, ratio in ratios.items() if ratio < GOALS.get(name, 0)} == {}


def flops_of(task: Task, batch: dict[str, Tensor]) -> int:
    """Those of a forward and a backward pass."""
    with ModelFlops() as counting:
        loss = task.measure(batch)["loss"]
        counting.begin_backward()
        loss.backward()
    return counting.total


def in_turn(steps: dict[str, Step], batch: dict[str, Tensor]) -> dict[str, list[float]]:
    """Seconds of each step in each round, but for a first round."""
    took: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(ROUNDS + 1):
        for name, step in steps.items():
            began = time.perf_counter()
            step(batch)
            if number:
                took[name].append(time.perf_counter() - began)
    return took
