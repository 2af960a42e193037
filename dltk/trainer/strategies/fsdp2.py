"""Fully sharded data parallel: each process keeps a part of every parameter, gradient and moment (torch's FSDP2).

Zhao et al., "PyTorch FSDP: Experiences on scaling fully sharded data parallel", VLDB 16 (2023).
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch.distributed as dist
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from dltk.tasks.shards import Shards
from dltk.trainer.strategies.redirected import redirected

LEAST = 0.01  # share of the network's parameters from which a layer is gathered by itself


class Rows(Shards):
    """Each process has some of the rows of each parameter."""

    def part(self, parameter: Tensor) -> Tensor:
        """This process's rows."""
        inner = parameter.detach()
        return inner.to_local() if isinstance(inner, DTensor) else inner

    def cut(self, parameter: Tensor, whole: Tensor) -> Tensor:
        """This process's rows of a tensor."""
        return self.laid(parameter, whole).to_local() if isinstance(parameter, DTensor) else whole

    def join(self, parameter: Tensor, part: Tensor) -> Tensor:
        """All rows, in the first process's host memory; nothing that counts on the others."""
        if not isinstance(parameter, DTensor):
            return part
        laid = DTensor.from_local(
            part,
            parameter.device_mesh,
            parameter.placements,
            run_check=False,
            shape=parameter.shape,
            stride=parameter.stride(),
        )
        whole = laid.full_tensor()
        return whole.cpu() if dist.get_rank() == 0 else part

    def gradients(self, parameters: Iterable[nn.Parameter]) -> list[Tensor]:
        """This process's rows of the gradients."""
        return [self.part(gradient) for gradient in super().gradients(parameters)]

    def norm(self, parts: list[Tensor]) -> Tensor:
        """The root of the sum of all processes' squares."""
        return norm_of_all(parts)

    @contextlib.contextmanager
    def whole(self, model: nn.Module) -> Iterator[None]:
        """Gather, and keep of what was written the rows that are this process's."""
        sharded = [module for module in model.modules() if isinstance(module, FSDPModule)]
        before = dict(model.named_parameters())
        for module in sharded:
            module.unshard()
        written = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        yield
        written |= {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        for module in sharded:
            module.reshard()
        for name, parameter in before.items():
            self.part(parameter).copy_(self.cut(parameter, written[name]))

    def laid(self, parameter: DTensor, whole: Tensor) -> DTensor:
        """A tensor laid out as a parameter is; nothing is sent, every process takes its rows of what it has."""
        return distribute_tensor(
            whole.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
        )


def norm_of_all(parts: list[Tensor]) -> Tensor:
    """The Euclidean norm of what all processes have parts of."""
    assert parts, "no parameter has a gradient"
    squares = nn.utils.get_total_norm(parts).square()
    dist.all_reduce(squares)
    return squares.sqrt()


class FullySharded(DDPStrategy):
    """FSDP2 over the task, so that within a step every parameter is whole wherever it is used.

    Args:
        backend: of the processes' group: gloo or nccl.
    """

    label = "fsdp2"

    def __init__(self, backend: str) -> None:
        self.shards: Rows = Rows()
        super().__init__(process_group_backend=backend)

    def model_to_device(self) -> None:
        """Leave the network to the sharding, which moves one layer after another."""

    def configure_ddp(self) -> None:
        """Shard the large layers, then the rest together."""
        task: Any = self.lightning_module
        mesh = init_device_mesh(self.root_device.type, (self.world_size,))
        for layer in gathered_alone(task.model) if task.same_calls else ():
            fully_shard(layer, mesh=mesh)
        fully_shard(task, mesh=mesh)
        task.to(self.root_device)  # what is no parameter of a layer

    # Steps: through the task's own call, whose hooks gather

    def training_step(self, *arguments: Any, **more: Any) -> Any:
        """One micro-batch."""
        task: Any = self.lightning_module
        with self.precision_plugin.train_step_context():
            return redirected(task, task, task.training_step, *arguments, **more)

    def validation_step(self, *arguments: Any, **more: Any) -> Any:
        """One batch; nothing stays gathered after it, for the weights may be exchanged for their average."""
        task: Any = self.lightning_module
        with self.precision_plugin.val_step_context():
            measured = redirected(task, task, task.validation_step, *arguments, **more)
        task.reshard()
        return measured

    # Saving and going on

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The whole weights on the first process, one tensor after another."""
        task = self.lightning_module
        assert task is not None
        state = task.state_dict()
        for name, value in state.items():
            state[name] = self._whole(value)
        return state

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The optimiser's whole state on the first process, as the optimiser of one process would have it."""
        inner: Any = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        state = inner.state_dict()
        whole = {
            number: {name: self._whole(value) for name, value in values.items()}
            for number, values in state["state"].items()
        }
        return {**state, "state": whole}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's rows of every moment."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            mine = {
                number: {name: self._moment(parameters[number], value) for name, value in values.items()}
                for number, values in state["state"].items()
            }
            optimizer.load_state_dict({**state, "state": mine})

    def _whole(self, value: Any) -> Any:
        """A value with all its rows on the first process, and nothing on the others; all must call it."""
        if not isinstance(value, DTensor):
            return value
        whole = value.full_tensor()
        return whole.cpu() if self.is_global_zero else None

    def _moment(self, parameter: Tensor, value: Any) -> Any:
        if isinstance(parameter, DTensor) and isinstance(value, Tensor) and value.shape == parameter.shape:
            return self.shards.laid(parameter, value)
        return value


def gathered_alone(network: nn.Module) -> list[nn.Module]:
    """Large layers that are only used by being called: those in sequences, whose parameters are nobody else's.

    Others may read a layer's weights without calling it, and would find a part of them.
    """
    everywhere = sum(parameter.numel() for parameter in network.parameters())
    found = [
        layer
        for sequence in network.modules()
        if isinstance(sequence, nn.Sequential)
        for layer in sequence
        if not list(layer.children()) and sum(p.numel() for p in layer.parameters()) >= LEAST * everywhere > 0
    ]
    return list(dict.fromkeys(found))
