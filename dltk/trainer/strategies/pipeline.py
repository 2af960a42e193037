"""A network's layers on several devices, one behind the other, through which pieces of a batch pass at the same time.

Sutskever, Vinyals, Le, "Sequence to sequence learning with neural networks", NIPS (2014), section 3.5: each layer of
the LSTM has a GPU of its own, and hands what it has computed on to the next at once. The order of the pieces is that of
Narayanan et al., "PipeDream: generalized pipeline parallelism for DNN training", SOSP (2019), section 3.2: one forward,
one backward, as `torch.distributed.pipelining` has it.

Every process has its own samples, as under every strategy. Those of a group of devices pass through all of them, in
equal pieces; a device gets back what was measured of its own. The groups among themselves are data parallel.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.pipelining import PipelineStage, Schedule1F1B
from torch.optim import Optimizer

from dltk.errors import LaunchError
from dltk.layers import tokens
from dltk.layers.exchange import Group
from dltk.tasks.shards import Shards
from dltk.tasks.task import Batch
from dltk.trainer.config import LaunchConfig
from dltk.trainer.strategies.joined import Joined
from dltk.trainer.strategies.pipeline_plan import objections

# Shapes: b samples of a device, filled up so that each has as many, s source tokens, t target tokens, p a piece's
# samples, n numbers that layers hand on for each token.


class Stages(Shards):
    """Each process of a group has the parameters of its own layers, and of the others nothing.

    Args:
        group: this process's.
        owners: which of the group has a parameter, by the parameter's id.
        network: its parameters are whole yet.
    """

    def __init__(self, group: Group, owners: Mapping[int, int], network: nn.Module) -> None:
        self.group, self._owners = group, owners
        self._shapes = {id(parameter): parameter.shape for parameter in network.parameters()}
        # Only the first process of all saves.
        self._gathers = dist.get_global_rank(group.processes, 0) == 0
        for parameter in network.parameters():
            self._leave_own(parameter)

    def is_own(self, parameter: Tensor) -> bool:
        """Whether this process has it."""
        return self._owners[id(parameter)] == self.group.rank

    def cut(self, parameter: Tensor, whole: Tensor) -> Tensor:
        """All or nothing."""
        return whole.to(parameter.device) if self.is_own(parameter) else torch.empty_like(parameter)

    def join(self, parameter: Tensor, part: Tensor) -> Tensor:
        """The whole, in the first process's host memory; nothing that counts on the others."""
        owner, shape = self._owners[id(parameter)], self._shapes[id(parameter)]
        whole = self.sent(part, owner, shape, part.dtype, parameter.device)
        return part if whole is None else whole.cpu()

    def sent(
        self, own: Tensor | None, owner: int, shape: torch.Size, dtype: torch.dtype, device: torch.device
    ) -> Tensor | None:
        """What one process of the first process's group has, on the first process; None on the others."""
        if not self._gathers or self.group.rank not in (0, owner):
            return None
        if self.group.rank == owner:
            assert own is not None
            if owner == 0:
                return own
            dist.send(own.to(device).contiguous(), group=self.group.processes, group_dst=0)
            return None
        got = torch.empty(shape, dtype=dtype, device=device)
        dist.recv(got, group=self.group.processes, group_src=owner)
        return got

    def size(self, parameter: Tensor) -> int:
        """Numbers in the whole parameter."""
        return self._shapes[id(parameter)].numel()

    def norm(self, parts: list[Tensor]) -> Tensor:
        """The root of the sum of the group's squares."""
        squares = nn.utils.get_total_norm(parts).square()
        dist.all_reduce(squares, group=self.group.processes)
        return squares.sqrt()

    @contextlib.contextmanager
    def whole(self, model: nn.Module) -> Iterator[None]:
        """Let each process send its own, and keep of what was written what is its own."""
        for parameter in model.parameters():
            if not self.is_own(parameter):
                parameter.data = parameter.data.new_empty(self._shapes[id(parameter)])
            dist.broadcast(parameter.data, group=self.group.processes, group_src=self._owners[id(parameter)])
        yield
        for parameter in model.parameters():
            self._leave_own(parameter)

    def _leave_own(self, parameter: nn.Parameter) -> None:
        if not self.is_own(parameter):
            parameter.data = parameter.data.new_empty((0, *parameter.shape[1:]))


class Pipeline(Joined, DDPStrategy):
    """Groups of `launch.pipeline` processes, each of which has some of the layers that a network's stages are.

    Args:
        launch: processes of a group, and into how many pieces each one's samples are cut.
        backend: of the processes' group: gloo or nccl.
    """

    label = "pipeline"
    alike = False  # the devices do not compute as much each
    shards: Stages

    def __init__(self, launch: LaunchConfig, backend: str) -> None:
        super().__init__(process_group_backend=backend)
        self._stages, self._pieces = launch.pipeline, launch.pipeline_pieces
        self._last_pass = True  # of a step
        self._found: list[tuple[nn.Parameter, Tensor]] = []  # gradients of the pass under way
        self._names: list[str] = []  # of what is measured

    def model_to_device(self) -> None:
        """Leave of the network this process's layers, then move them."""
        task: Any = self.lightning_module
        for objection in objections(task.model, self._stages):
            raise AssertionError(objection)  # the recipe was checked
        if not task.pipelines:
            what = f"{self._stages} given, and {type(task).__name__} wants a network that is on one device"
            raise LaunchError("", "launch.pipeline", what, "Set it to 1.")
        # Neighbouring layers are on neighbouring devices, so that what passes between them stays within a machine.
        sizes = (self.world_size // self._stages, self._stages)
        mesh = init_device_mesh(self.root_device.type, sizes, mesh_dim_names=("data", "pipeline"))
        self._replicas = mesh.get_group("data")
        group = Group(mesh.get_group("pipeline"), mesh.get_local_rank("pipeline"), self._stages)
        named = task.model.named_parameters()
        owners = {id(parameter): task.model.stage_of(name, self._stages) for name, parameter in named}
        self.shards = Stages(group, owners, task.model)
        super().model_to_device()
        self._layers = task.model.pipeline_stage(group.rank, self._stages).train()
        # What passes between devices has the parameters' type, whatever autocast makes of it within a layer.
        self._layers.register_forward_hook(lambda _, inputs, outputs: _to_send(outputs, task.dtype))

    def configure_ddp(self) -> None:
        """No process has what another one has of its group, and the groups' gradients are summed below."""

    # Steps

    def training_step(self, batch: Batch, batch_idx: int) -> Any:
        """One micro-batch of each process, forth and back; the gradients are kept for `backward`.

        Lightning sets those of the step before to nothing in between.
        """
        task: Any = self.lightning_module
        own = [
            parameter for parameter in task.parameters() if parameter.requires_grad and self.shards.is_own(parameter)
        ]
        held = [parameter.grad for parameter in own]
        for parameter in own:
            parameter.grad = None
        with self.precision_plugin.train_step_context():
            measures = self._pass(batch)
        self._found = [(parameter, parameter.grad) for parameter in own if parameter.grad is not None]
        for parameter, gradient in zip(own, held, strict=True):
            parameter.grad = gradient
        task.measure = lambda _: measures
        try:
            return task.training_step(batch, batch_idx)
        finally:
            del task.measure

    def backward(self, closure_loss: Tensor, *_: Any, **more: Any) -> Tensor:
        """Take the gradients of the pass; after a step's last one, sum over the groups."""
        task: Any = self.lightning_module
        loss = self.precision_plugin.pre_backward(closure_loss, task)
        for parameter, gradient in self._found:
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        self._found = []
        if self._last_pass and self.world_size > self._stages:
            gradients = self.shards.gradients(task.parameters())
            sums = [dist.all_reduce(gradient, group=self._replicas, async_op=True) for gradient in gradients]
            for sent in sums:
                sent.wait()
        return self.precision_plugin.post_backward(loss, task)

    @contextlib.contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """While it lasts, gradients stay where they are: further passes follow in the step."""
        self._last_pass = False
        yield
        self._last_pass = True

    def validation_step(self, *arguments: Any, **more: Any) -> Any:
        """One batch of this process's own, for which it has all layers."""
        task: Any = self.lightning_module
        with self.shards.whole(task.model):
            return super().validation_step(*arguments, **more)

    def _pass(self, batch: Batch) -> dict[str, Any]:
        """Send the group's samples through the layers and their gradients back; what was measured of one's own.

        The loss is divided by the weight of the global batch, so that the gradients add up to its mean's.
        """
        task: Any = self.lightning_module
        shares = self._gather(batch)
        source, target = (torch.cat([share[name] for share in shares]) for name in ("source", "target"))
        planned = task.weigh(batch["info"])[1]
        measured: list[dict[str, Any]] = []  # of each piece; on the last device only

        def loss(readout: Tensor, place: Tensor) -> Tensor:
            share, piece = divmod(int(place), self._pieces)
            parts = {name: value.chunk(self._pieces)[piece] for name, value in shares[share].items()}
            measured.append(task.measure_readout({**parts, "info": batch["info"]}, readout))
            return measured[-1]["loss"] / planned

        count = len(shares) * self._pieces
        stage = self._stage(len(source) // count, source.shape[1], target.shape[1])
        schedule = Schedule1F1B(stage, count, loss_fn=loss, scale_grads=False)
        lengths = tokens.lengths(source).clamp(min=1)  # of what fills up: none
        inputs = (source, tokens.shifted(target)) if stage.is_first else ()
        places = torch.arange(count, device=self.root_device) if stage.is_last else None
        schedule.step(*inputs, lengths=lengths, target=places, return_outputs=False)
        return self._own_part(measured)

    def _gather(self, batch: Batch) -> list[dict[str, Tensor]]:
        """The samples of all devices of the group, filled up to equal shapes: `source`, `target`, and the weights."""
        source, target = batch["source"], batch["target"]
        group, device = self.shards.group, self.root_device
        own = torch.tensor([[len(source), source.shape[1], target.shape[1]]], device=device)
        shapes = own.new_empty(group.size, 3)
        dist.all_gather_into_tensor(shapes, own, group=group.processes)
        b, s, t = shapes.max(0).values.tolist()
        b = -(-b // self._pieces) * self._pieces
        packed = source.new_full((b, 1 + s + t), tokens.PAD)
        packed[: len(source), 0] = batch["weight"] > 0
        packed[: len(source), 1 : 1 + source.shape[1]] = source
        packed[: len(source), 1 + s : 1 + s + target.shape[1]] = target
        got = packed.new_empty(group.size * b, packed.shape[1])
        dist.all_gather_into_tensor(got, packed, group=group.processes)
        return [{"weight": one[:, 0], "source": one[:, 1 : 1 + s], "target": one[:, 1 + s :]} for one in got.split(b)]

    def _stage(self, p: int, s: int, t: int) -> PipelineStage:
        """This device's layers, for pieces of one shape; said beforehand, so that nothing is tried to find it out."""
        task: Any = self.lightning_module
        rank, n = self.shards.group.rank, self._layers.width
        tokens_in = tuple(torch.empty(p, length, dtype=torch.int64, device="meta") for length in (s, t))
        passed = tuple(
            torch.empty(p, length, n, dtype=task.dtype, device="meta", requires_grad=True) for length in (s, t)
        )
        inputs = tokens_in if rank == 0 else passed
        outputs = passed[1:] if rank == self._stages - 1 else passed
        group = self.shards.group.processes
        return PipelineStage(self._layers, rank, self._stages, self.root_device, inputs, outputs, group=group)

    def _own_part(self, measured: list[dict[str, Any]]) -> dict[str, Any]:
        """What the last device measured of all pieces to the sums of this device's own."""
        group, last = self.shards.group, self._stages - 1
        if not self._names:
            names = [[name for name, value in measured[0].items() if isinstance(value, tuple)] if measured else []]
            dist.broadcast_object_list(names, group=group.processes, group_src=last, device=self.root_device)
            self._names = names[0]
        table = torch.zeros(group.size, 1 + len(self._names), 2, dtype=torch.float64, device=self.root_device)
        for at, measures in enumerate(measured):
            pairs = [(measures["loss"], measures["weight"]), *(measures[name] for name in self._names)]
            for row, pair in zip(table[at // self._pieces], pairs, strict=True):
                row += torch.stack([torch.as_tensor(number).detach().to(row) for number in pair])
        dist.broadcast(table, group=group.processes, group_src=last)
        (loss, weight), *pairs = (tuple(row) for row in table[group.rank])
        return {"loss": loss, "weight": weight, **dict(zip(self._names, pairs, strict=True))}

    # Saving and going on

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The optimiser's whole state on the first process, as the optimiser of one process would have it."""
        inner: Any = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        state = inner.state_dict()
        group = self.shards.group
        held = {
            number: {name: (value.shape, value.dtype) for name, value in values.items() if isinstance(value, Tensor)}
            for number, values in state["state"].items()
        }
        plain = {
            number: {name: value for name, value in values.items() if not isinstance(value, Tensor)}
            for number, values in state["state"].items()
        }
        described: list[Any] = [None] * group.size
        dist.all_gather_object(described, (held, plain), group=group.processes)
        whole: dict[int, dict[str, Any]] = {}
        for owner, (tensors, others) in enumerate(described):
            for number, shapes in tensors.items():
                whole[number] = dict(others[number])
                for name, (shape, dtype) in shapes.items():
                    own = state["state"][number][name] if owner == group.rank else None
                    whole[number][name] = self.shards.sent(own, owner, shape, dtype, self.root_device)
        return {**state, "state": dict(sorted(whole.items()))}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take what is of this process's parameters."""
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            own = {number: of for number, of in state["state"].items() if self.shards.is_own(parameters[number])}
            optimizer.load_state_dict({**state, "state": own})


def _to_send(outputs: Tensor | tuple[Tensor, ...], dtype: torch.dtype) -> Tensor | tuple[Tensor, ...]:
    if isinstance(outputs, Tensor):
        return outputs.to(dtype)  # of the last device, which sends nothing
    return tuple(output.to(dtype).contiguous() for output in outputs)
