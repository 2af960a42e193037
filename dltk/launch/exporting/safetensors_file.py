"""Weights as a safetensors file: tensors by the network's own names, which `init` in a recipe takes."""

from pathlib import Path

import safetensors.torch
import torch

from dltk.launch.exporting.network import Network, Written, answers
from dltk.tasks.task import Task


def written(task: Task, network: Network) -> Written:
    """The file of a task's network; read back, it must give the very same numbers."""
    own = {name: value.detach().cpu().contiguous().clone() for name, value in task.model.state_dict().items()}

    def read(path: Path) -> tuple[float, float]:
        again = network.again()
        with torch.no_grad():
            for parameter in again.model.parameters():
                parameter.zero_()  # so that what the file lacks shows
        again.model.load_state_dict(safetensors.torch.load_file(path))
        found = [(value, again.model.state_dict()[name]) for name, value in own.items()]
        samples = network.samples(task)
        if samples is not None:
            found.append((answers(task, samples), answers(again, samples)))
        return max((_difference(one, other) for one, other in found), default=0.0), 0.0

    about = {"tensors": {name: list(value.shape) for name, value in own.items()}}
    return Written(safetensors.torch.save(own), read, about)


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    """The greatest of two tensors' differences; 0 where they are equal to the bit, whatever they hold."""
    if torch.equal(one, other) or one.numel() == 0:
        return 0.0
    return float((one.double() - other.double()).abs().max())
