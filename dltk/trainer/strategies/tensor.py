"""Tensor parallel beside data parallel: groups of devices share a network's wide layers, and the rest is DDP's.

Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv 1404.5997 (2014): convolutions are
data parallel, for they have few weights and many activations, and full layers are model parallel, for with them it is
the other way round. Every process has its own samples, as under every strategy; a shared layer takes those of its group
together (section 4, scheme a), and each device computes some of its units. Masks of dropout are of a device's own
units, so that none must be the same on two. The groups among themselves are data parallel.

The two GPUs of Krizhevsky, Sutskever, Hinton, NIPS (2012), section 3.2 and figure 2, are such a group whose shared
layers are all that the network has (its `group_plan`). Each device reads its own samples and hands them on before the
first layer, where the paper's GPUs both read all; from there on they meet where the plan says `all`.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Adagrad, Optimizer

from dltk.errors import LaunchError
from dltk.layers.exchange import Group, gather_samples, gather_units, own_samples, own_units, sample_counts
from dltk.layers.response_normalisation import ResponseNormalisation
from dltk.tasks.shards import Shards
from dltk.trainer.config import LaunchConfig
from dltk.trainer.strategies.ddp import DataParallel
from dltk.trainer.strategies.joined import Joined
from dltk.trainer.strategies.tensor_plan import Plan, objections, plan_of
from dltk.trainer.strategies.zero import ELEMENTWISE

CUT = (*ELEMENTWISE, Adagrad)  # optimisers that move the units of a device without knowing the others'


class Units(Shards):
    """Each process of a group has the weights and biases of some units of the shared layers, and all of the others.

    Args:
        group: this process's.
        shared: the parameters of the shared layers, whose first dimension is the units.
    """

    def __init__(self, group: Group, shared: list[nn.Parameter]) -> None:
        self.group, self.shared = group, shared
        self._ids = {id(parameter) for parameter in shared}

    def is_shared(self, parameter: Tensor) -> bool:
        """Whether this process has a part of it only."""
        return id(parameter) in self._ids

    def cut(self, parameter: Tensor, whole: Tensor) -> Tensor:
        """This process's units."""
        mine = whole.chunk(self.group.size)[self.group.rank].clone() if self.is_shared(parameter) else whole
        return mine.to(parameter.device)

    def join(self, parameter: Tensor, part: Tensor) -> Tensor:
        """All units, in the first process's host memory; nothing that counts on the others."""
        if not self.is_shared(parameter):
            return part
        whole = self.joined(part)
        return whole.cpu() if dist.get_rank() == 0 else part

    def joined(self, part: Tensor) -> Tensor:
        """All units, on every process."""
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(self.group.size)]
        dist.all_gather(parts, part.contiguous(), group=self.group.processes)
        return torch.cat(parts)

    def size(self, parameter: Tensor) -> int:
        """Numbers in the whole parameter."""
        return parameter.numel() * (self.group.size if self.is_shared(parameter) else 1)

    def norm(self, parts: list[Tensor]) -> Tensor:
        """The root of the squares of the group's units and of what every process has."""
        shared = {id(parameter.grad) for parameter in self.shared if parameter.grad is not None}
        here, everywhere = ([part for part in parts if (id(part) in shared) is of] for of in (True, False))
        squares = parts[0].new_zeros(())
        if here:
            squares = nn.utils.get_total_norm(here).square()
            dist.all_reduce(squares, group=self.group.processes)
        if everywhere:
            squares = squares + nn.utils.get_total_norm(everywhere).square()
        return squares.sqrt()

    @contextlib.contextmanager
    def whole(self, model: nn.Module) -> Iterator[None]:
        """Gather them, and keep of what was written this process's units."""
        shared = [parameter for parameter in model.parameters() if self.is_shared(parameter)]
        for parameter in shared:
            parameter.data = self.joined(parameter.data)
        yield
        for parameter in shared:
            parameter.data = self.cut(parameter, parameter.data)


class TensorParallel(Joined, DataParallel):
    """DDP whose processes share the layers of one of the network's plans, in groups of `launch.tensor`.

    Args:
        launch: processes of a group, and which plan; the rest is DDP's.
        backend: of the processes' group: gloo or nccl.
    """

    label = "tensor"
    shards: Units

    def __init__(self, launch: LaunchConfig, backend: str) -> None:
        super().__init__(launch, backend)
        self._sharing, self._chosen = launch.tensor, launch.tensor_plan
        self._last_pass = True  # of a step

    def model_to_device(self) -> None:
        """Leave of the shared layers this process's units, then move the network."""
        task: Any = self.lightning_module
        for objection in objections(task.model, self._chosen, self._sharing):
            raise AssertionError(objection)  # the recipe was checked
        plan = plan_of(task.model, self._chosen) or {}
        self._scores: Any = next((task.model.get_submodule(n) for n, reads in plan.items() if reads == "scores"), None)
        if self._scores is not None and not task.splits_scores:
            what = f"{self._sharing} given, and {type(task).__name__} wants whole scores"
            raise LaunchError("", "launch.tensor", what, "Set it to 1.")
        # Processes of a group are neighbours, so that what passes between layers stays within a machine.
        sizes = (self.world_size // self._sharing, self._sharing)
        mesh = init_device_mesh(self.root_device.type, sizes, mesh_dim_names=("data", "tensor"))
        self._replicas = mesh.get_group("data")
        group = Group(mesh.get_group("tensor"), mesh.get_local_rank("tensor"), self._sharing)
        self.shards = share(task.model, plan, group)
        super().model_to_device()

    def configure_ddp(self) -> None:
        """Let DDP see to the parameters that every process has."""
        task: Any = self.lightning_module
        names = [name for name, parameter in task.named_parameters() if self.shards.is_shared(parameter)]
        if any(parameter.requires_grad and not self.shards.is_shared(parameter) for parameter in task.parameters()):
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(task, names)
            super().configure_ddp()  # which refuses a network that leaves it nothing

    def setup_optimizers(self, trainer: Trainer) -> None:
        """Make them.

        Raises:
            LaunchError: one may want whole parameters.
        """
        super().setup_optimizers(trainer)
        for optimizer in self.optimizers:
            if type(optimizer) not in CUT:
                what = f"{type(optimizer).__name__} cannot be cut into parts by launch.tensor {self._sharing}"
                known = ", ".join(kind.__name__ for kind in CUT)
                raise LaunchError("", "optimizer.name", what, f"Choose one of {known}, or launch.tensor=1.")

    @contextlib.contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """While it lasts, gradients stay where they are: further passes follow in the step."""
        self._last_pass = False
        with super().block_backward_sync():
            yield
        self._last_pass = True

    def post_backward(self, closure_loss: Tensor) -> None:
        """Average the shared layers' gradients like DDP the others', in a step's last pass.

        Those of a group's samples are summed already: what is left are the groups.
        """
        super().post_backward(closure_loss)
        if not self._last_pass:
            return
        gradients = self.shards.gradients(self.shards.shared)
        several = self.world_size > self._sharing
        sums = [dist.all_reduce(gradient, group=self._replicas, async_op=True) for gradient in gradients if several]
        for sent in sums:
            sent.wait()
        if gradients:
            torch._foreach_div_(gradients, self.world_size)

    def validation_step(self, *arguments: Any, **more: Any) -> Any:
        """One batch; a task whose scores are shared calls their layer as often as it likes, so it has all of it."""
        task: Any = self.lightning_module
        if self._scores is None:
            return super().validation_step(*arguments, **more)
        with self.shards.whole(task.model):
            self._scores.group = None
            measured = super().validation_step(*arguments, **more)
            self._scores.group = self.shards.group
        return measured

    # Saving and going on

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The optimiser's whole state on the first process, as the optimiser of one process would have it."""
        inner: Any = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        return _mapped(inner, inner.state_dict(), self._whole)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's units of every moment."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            optimizer.load_state_dict(_mapped(optimizer, state, self._mine))

    def _whole(self, parameter: Tensor, value: Any) -> Any:
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            return self.shards.join(parameter, value)
        return value

    def _mine(self, parameter: Tensor, value: Any) -> Any:
        whole = isinstance(value, Tensor) and value.numel() == self.shards.size(parameter) and value.ndim > 0
        return self.shards.cut(parameter, value) if whole and self.shards.is_shared(parameter) else value


def _mapped(optimizer: Optimizer, state: Mapping[str, Any], change: Any) -> dict[str, Any]:
    """An optimiser's state with each value of a parameter's changed."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    changed = {
        number: {name: change(parameters[number], value) for name, value in values.items()}
        for number, values in state["state"].items()
    }
    return {**state, "state": changed}


def share(network: nn.Module, plan: Plan, group: Group) -> Units:
    """Leave of the layers of a network's plan this process's units, and let each take what it reads from the group."""
    shared = []
    for name in plan:
        layer: Any = network.get_submodule(name)
        for parameter in layer.parameters():
            parameter.data = parameter.data.chunk(group.size)[group.rank].clone()
            shared.append(parameter)
        if plan[name] == "scores":
            layer.group = group  # for the loss
        elif isinstance(layer, nn.Linear):
            layer.out_features //= group.size
        elif isinstance(layer, nn.Conv2d):
            layer.out_channels //= group.size
            if plan[name] == "own":
                layer.in_channels, layer.groups = layer.in_channels // group.size, layer.groups // group.size
        elif isinstance(layer, ResponseNormalisation) and plan[name] == "own":
            layer.groups //= group.size
    if "scores" not in plan.values():
        _connect(network, list(plan.items()), group)
    return Units(group, shared)


def _connect(network: nn.Module, plan: list[tuple[str, str]], group: Group) -> None:
    counts: list[int] = []  # samples of each device, in the forward pass under way

    def begin(layer: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        counts[:] = sample_counts(inputs[0], group)
        return gather_samples(inputs[0], list(counts), group)

    def read_all(layer: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        return gather_units(inputs[0], group)

    def keep_own(layer: nn.Module, inputs: Any, outputs: Tensor) -> Tensor:
        return own_units(outputs, group)

    def end(layer: nn.Module, inputs: Any, outputs: Tensor) -> Tensor:
        return own_samples(outputs, list(counts), group)

    for place, (name, reads) in enumerate(plan):
        layer = network.get_submodule(name)
        if place == 0:
            layer.register_forward_pre_hook(begin)
        elif reads == "all":
            layer.register_forward_pre_hook(read_all)
        if not list(layer.parameters()) and reads == "all":
            layer.register_forward_hook(keep_own)
    network.get_submodule(plan[-1][0]).register_forward_hook(end)
