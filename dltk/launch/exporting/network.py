"""The network that is exported, made-up samples for it, and a file of it that is not published yet."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dltk.assemble import build_task
from dltk.errors import LaunchError
from dltk.recipe.network import image_shape
from dltk.tasks.classification import Classification
from dltk.tasks.task import Task
from dltk.tasks.translation import Translation
from dltk.weights import load_weights

EXAMPLES = 3  # made-up samples that both are asked
TOKENS = 7  # of a made-up sentence
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Written:
    """A file that is not published yet.

    Args:
        data: its bytes.
        read: of the written file, the greatest difference of its answers to the network's, and how much is allowed.
        about: what its JSON says of this kind of file.
    """

    data: bytes
    read: Callable[[Path], tuple[float, float]]
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Network:
    """What a kind of file needs to know of the network: how it is made again, and made-up samples for it."""

    settings: Settings
    state: Mapping[str, Any]

    def again(self) -> Task:
        """The same task once more, with the checkpoint's weights."""
        return restored(self.settings, self.state)

    def samples(self, task: Task) -> tuple[Tensor, ...] | None:
        """Made-up samples that `answers` takes; None where the task is not one of ours."""
        drawn = torch.Generator().manual_seed(0)
        if isinstance(task, Classification):
            shape = image_shape_of(task, self.settings)
            return (torch.randint(0, 256, (EXAMPLES, *shape), generator=drawn, dtype=torch.uint8),)
        if isinstance(task, Translation):
            sides = (self.settings["model"][f"{side}_vocab_size"] for side in ("source", "target"))
            return tuple(torch.randint(4, size, (EXAMPLES, TOKENS), generator=drawn) for size in sides)
        return None


def answers(task: Task, samples: tuple[Tensor, ...]) -> Tensor:
    """Made-up samples to the network's scores, (b, k) of images or (b, t, v) of sentences."""
    with torch.inference_mode():
        return task(*samples) if isinstance(task, Classification) else task.model(*samples)


def image_shape_of(task: Task, settings: Settings) -> tuple[int, int, int]:
    """Channels, rows and columns of the images that a network was trained on.

    Raises:
        LaunchError: neither the network nor the recipe says them.
    """
    said = image_shape(settings) or (None, None, None)
    c, h, w = (own or other for own, other in zip(getattr(task.model, "input_shape", None) or said, said, strict=True))
    if c is None or h is None or w is None:
        raise LaunchError("", "data.image_size", "is not known, so there is no sample to try", "Say it in the recipe.")
    return c, h, w


def restored(settings: Settings, state: Mapping[str, Any]) -> Task:
    """A recipe's task with a checkpoint's weights, in place of which its running average stands where it keeps one."""
    task = build_task(settings, restored=True)
    load_weights(task, state)
    return task.eval()
