"""Networks, tasks, data and transforms with one fault each, and sound ones; copied into a package of its own."""

import random

import numpy as np
import torch
from torch import nn

from dltk.data.digits import Digits
from dltk.tasks.classification import Classification
from dltk.tasks.task import Procedure


class Sound(nn.Module):
    """64 pixels, two layers of rectifiers.

    Args:
        num_classes: outputs.
        fault: what is wrong.
    """

    input_shape = (1, 8, 8)

    def __init__(self, *, num_classes: int = 10, fault: str = "") -> None:
        super().__init__()
        self.fault = fault
        self.first, self.second, self.last = nn.Linear(64, 48), nn.Linear(48, 32), nn.Linear(32, num_classes)
        self.spare = nn.Linear(4, 4) if fault == "unused" else None
        self.gain = nn.Parameter(torch.zeros(48)) if fault == "begins_at_zero" else None
        if fault == "dead":
            nn.init.constant_(self.second.bias, -1000.0)
        if fault == "begins_at_zero":
            nn.init.zeros_(self.last.weight)
        if fault == "loud":
            nn.init.normal_(self.last.weight, std=8.0)
        if fault == "tiny":
            for parameter in self.parameters():
                nn.init.normal_(parameter, std=0.01)
        if fault == "unseeded":
            generator = torch.Generator()
            generator.seed()
            nn.init.normal_(self.last.weight, std=0.1, generator=generator)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (b, 1, 8, 8) to scores (b, k)."""
        y = torch.relu(self.first(images.flatten(1)))
        if self.fault == "blind":
            y = y.detach()
        if self.fault == "nan":
            y = y / (y.sum(0) - y.sum(0))
        if self.fault == "noise":
            y = y * float(np.random.uniform(0.9, 1.1))
        if self.gain is not None:
            y = y + self.gain * y
        y = nn.functional.relu(self.second(y))
        y = self.last(y)
        return y.softmax(1) if self.fault == "softmax_twice" else y


class Detached(Classification):
    """Measures a loss without a gradient."""

    def __init__(self, model: nn.Module, *, procedure: Procedure | None = None) -> None:
        super().__init__(model, procedure=procedure)

    def measure(self, batch):
        """Loss and errors."""
        measures = super().measure(batch)
        return {**measures, "loss": measures["loss"].detach()}


class Data:
    """The digits, with a fault.

    Args:
        split: which part.
        fault: what is wrong.
    """

    in_memory = True

    def __init__(self, split: str, data_dir: str | None = None, *, fault: str = "") -> None:
        self.inner, self.fault = Digits(split), fault
        self.keys, self.classes = self.inner.keys, self.inner.classes
        if fault == "shuffled":
            order = torch.randperm(len(self.inner), generator=torch.Generator().manual_seed(7))
            self.inner.targets = self.inner.targets[order]
        if fault == "many_classes":
            self.classes = [str(k) for k in range(101)]

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, number: int):
        """One sample."""
        sample = self.inner[number]
        if self.fault == "noise":
            sample["image"] = sample["image"] ^ torch.randint(0, 2, sample["image"].shape, dtype=torch.uint8)
        if self.fault == "nan" and number % 50 == 0:
            sample["image"] = torch.full((1, 8, 8), torch.nan)
        return {**sample, "image": sample["image"].float() if self.fault == "nan" else sample["image"]}


class Flip:
    """Turns some pixels over.

    Args:
        source: of the random numbers.
    """

    def __init__(self, *, source: str = "given") -> None:
        self.source = source
        self.kept = np.random.default_rng(0)

    def __call__(self, image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        draw = {
            "given": rng.random,
            "own": np.random.default_rng().random,
            "state": self.kept.random,
            "numpy": np.random.random,
            "python": random.random,
            "torch": lambda: float(torch.rand(())),
        }[self.source]
        return image.roll(int(3 * draw()), dims=-1)
