"""DeepSpeed's ZeRO: optimiser state (stage 1), gradients (2) and weights (3) in parts on the processes.

Rajbhandari et al., "ZeRO: Memory optimizations toward training trillion parameter models", SC 2020.

Stage 3 gathers a layer's weights when it is called. Where the batch decides how often that is (a sentence's length),
processes would wait for one another for ever: there the whole task is what DeepSpeed calls a leaf, whose weights are
gathered once for a pass.

DeepSpeed moves the weights and sends the gradients. Loss, precision, clipping and checkpoints stay dltk's: the weights
have 32 bits at every stage, and an optimiser's state is gathered and cut here, for DeepSpeed's own files are pickles.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import deepcopy
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.optim import SGD, Adadelta, Adam, AdamW, Optimizer, RMSprop

from dltk.errors import LaunchError
from dltk.optim import StepMomentum
from dltk.tasks.shards import Shards
from dltk.trainer.strategies.fsdp2 import norm_of_all
from dltk.trainer.strategies.redirected import redirected

ELEMENTWISE = (SGD, StepMomentum, Adam, AdamW, RMSprop, Adadelta)  # each number's step needs no other number


class Piece(NamedTuple):
    """What this process updates of one parameter."""

    flat: Tensor  # its part of all parameters of a group, to which the optimiser's state belongs
    offset: int  # where the piece begins in it
    start: int  # where it begins in the parameter, laid out in a row
    length: int  # may be 0

    def of(self, flat: Tensor) -> Tensor:
        """The piece of a tensor like `flat`."""
        return flat.narrow(0, self.offset, self.length)

    def from_whole(self, whole: Tensor) -> Tensor:
        """The piece of a tensor of the parameter's shape."""
        return whole.reshape(-1).narrow(0, self.start, self.length)


class Owned(Shards):
    """Stages 1 and 2: weights whole on each process, summed gradients where they are needed.

    Args:
        optimizer: DeepSpeed's.
    """

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def gradients(self, parameters: Iterable[nn.Parameter]) -> list[Tensor]:
        """This process's parts of all gradients."""
        groups = self.optimizer.averaged_gradients.values()
        return [gradient for group in groups if group is not None for gradient in group]

    def norm(self, parts: list[Tensor]) -> Tensor:
        """The root of the sum of all processes' squares."""
        return norm_of_all(parts)

    @contextlib.contextmanager
    def whole(self, model: nn.Module) -> Iterator[None]:
        """They are whole, and what is written goes on into the copies that the optimiser moves."""
        yield
        for parameter in model.parameters():
            if parameter.requires_grad:
                piece = self.piece(parameter)
                piece.of(piece.flat.detach()).copy_(piece.from_whole(parameter.detach()))

    def piece(self, parameter: nn.Parameter) -> Piece:
        """What this process updates of a parameter."""
        flats = self.optimizer.single_partition_of_fp32_groups
        mapping = parameter._hp_mapping  # type: ignore[attr-defined]
        if mapping is None:
            group = next(i for i, many in enumerate(self.optimizer.bit16_groups) if any(p is parameter for p in many))
            return Piece(flats[group], 0, 0, 0)
        there, here = mapping.lp_fragment_address, mapping.hp_fragment_address
        return Piece(flats[mapping.param_group_index], here.start, there.start, there.numel)

    def shape(self, parameter: nn.Parameter) -> torch.Size:
        """Of the whole parameter."""
        return parameter.shape


class Pieces(Owned):
    """Stage 3: the weights lie in parts too."""

    def part(self, parameter: Tensor) -> Tensor:
        """This process's numbers in a row, without what nobody wrote behind the parameter's end."""
        return self._room(parameter)[: self._length(parameter)]

    def cut(self, parameter: Tensor, whole: Tensor) -> Tensor:
        """This process's numbers of a tensor."""
        here = whole.reshape(-1)[self._start(parameter) :][: self._length(parameter)]
        return here.to(self._room(parameter).device, copy=True)

    def join(self, parameter: Tensor, part: Tensor) -> Tensor:
        """All numbers, in the first process's host memory; nothing that counts on the others."""
        return gathered(part, self._start(parameter), self.shape(parameter))

    @contextlib.contextmanager
    def whole(self, model: nn.Module) -> Iterator[None]:
        """Gather them; what is written goes back into the parts, and into those that the optimiser moves."""
        import deepspeed

        with deepspeed.zero.GatheredParameters(list(model.parameters()), modifier_rank=0):
            yield
        for parameter in model.parameters():
            if parameter.requires_grad:
                piece = self.piece(parameter)
                piece.of(piece.flat.detach()).copy_(self.part(parameter))

    def size(self, parameter: Tensor) -> int:
        """Numbers in the whole parameter."""
        return int(parameter.ds_numel)  # type: ignore[attr-defined]

    def piece(self, parameter: nn.Parameter) -> Piece:
        """What this process updates of a parameter."""
        inner = self.optimizer
        group, offset, _ = inner.grad_position[inner.get_param_id(parameter)]
        flat = inner.fp32_partitioned_groups_flat[group]
        return Piece(flat, int(offset), self._start(parameter), self._length(parameter))

    def shape(self, parameter: Tensor) -> torch.Size:
        """Of the whole parameter."""
        return torch.Size(parameter.ds_shape)  # type: ignore[attr-defined]

    def _room(self, parameter: Tensor) -> Tensor:
        """As many numbers on every process; the last ones may lie behind the parameter's end."""
        return parameter.ds_tensor.detach()  # type: ignore[attr-defined]

    def _start(self, parameter: Tensor) -> int:
        return min(dist.get_rank() * self._room(parameter).numel(), self.size(parameter))

    def _length(self, parameter: Tensor) -> int:
        return min(self._room(parameter).numel(), self.size(parameter) - self._start(parameter))


def gathered(piece: Tensor, start: int, shape: torch.Size) -> Tensor:
    """A whole tensor in the first process's host memory, from each process's piece of it; all must call it."""
    whole = torch.zeros(shape.numel(), dtype=piece.dtype, device=piece.device)
    whole[start : start + piece.numel()] = piece
    dist.reduce(whole, 0)
    return whole.view(shape).cpu() if dist.get_rank() == 0 else piece


class ZeroRedundancy(DDPStrategy):
    """ZeRO of a stage.

    Args:
        stage: 1, 2 or 3.
        configure: the number of the network's parameters to DeepSpeed's configuration.
        backend: of the processes' group: gloo or nccl.
    """

    def __init__(self, stage: int, configure: Callable[[int], dict[str, Any]], backend: str) -> None:
        self.stage, self.configure = stage, configure
        self.label = f"deepspeed-{stage}"
        self.shards: Any = Shards()  # until DeepSpeed has the network
        self._engine: Any = None
        self._sends = True  # whether the next backward pass ends a step
        self._at_once = False  # whether all weights are gathered for a pass, not those of a layer for its call
        self._linear = nn.functional.linear
        super().__init__(process_group_backend=backend)

    def setup_distributed(self) -> None:
        """Join the other processes, and let DeepSpeed use the same group."""
        super().setup_distributed()
        deepspeed = imported(self.root_device.type)
        deepspeed.init_distributed(self._process_group_backend, dist_init_required=False)

    def configure_ddp(self) -> None:
        """Wait for the optimiser, which DeepSpeed wants together with the network."""

    def setup_optimizers(self, trainer: Trainer) -> None:
        """Give network and optimiser to DeepSpeed."""
        import deepspeed

        task: Any = self.lightning_module
        self._at_once = self.stage == 3 and not task.same_calls
        if self._at_once:
            deepspeed.utils.set_z3_leaf_module(task, True)
        super().setup_optimizers(trainer)
        optimizer = one_elementwise(self.optimizers, self.label)
        self._members = [list(group["params"]) for group in optimizer.param_groups]
        moved = [parameter for parameter in task.parameters() if parameter.requires_grad]
        config = self.configure(sum(parameter.numel() for parameter in task.parameters()))
        engine, inner, _, _ = deepspeed.initialize(
            model=task, optimizer=optimizer, model_parameters=moved, config=config, dist_init_required=False
        )
        self.model = self._engine = engine
        self.shards = Pieces(inner) if self.stage == 3 else Owned(inner)

    # Steps

    def training_step(self, *arguments: Any, **more: Any) -> Any:
        """One micro-batch."""
        return self._called("training_step", self.precision_plugin.train_step_context, *arguments, **more)

    def validation_step(self, *arguments: Any, **more: Any) -> Any:
        """One batch; nothing stays gathered after it, for the weights may be exchanged for their average."""
        measured = self._called("validation_step", self.precision_plugin.val_step_context, *arguments, **more)
        if self.stage == 3:
            self._engine.optimizer.empty_partition_cache()
        return measured

    def _called(self, step: str, context: Any, *arguments: Any, **more: Any) -> Any:
        task: Any = self.lightning_module
        # A leaf's gradients are sent when that of its own input is there. Autograd computes those of what came last
        # first, so that of a number which comes before all else, and changes nothing, is there after the weights'.
        first = torch.zeros((), device=self.root_device, requires_grad=self._at_once and step == "training_step")

        def call(first: Tensor, *given: Any, **named: Any) -> Any:
            with context():  # inside: DeepSpeed leaves the precision around it
                made = getattr(task, step)(*given, **named)
                return made + 0.0 * first if first.requires_grad else made

        return redirected(self._engine, task, call, first, *arguments, **more)

    @contextlib.contextmanager
    def block_backward_sync(self) -> Iterator[None]:
        """Around all but a step's last backward pass."""
        self._sends = False
        try:
            yield
        finally:
            self._sends = True

    def backward(self, closure_loss: Tensor, optimizer: Optimizer | None, *arguments: Any, **more: Any) -> Tensor:
        """Compute the gradients; the step's last pass also sums them over the processes."""
        task: Any = self.lightning_module
        loss: Any = self.precision_plugin.pre_backward(closure_loss, task)
        self._engine.set_gradient_accumulation_boundary(self._sends)
        self._engine.backward(loss, scale_wrt_gas=False)
        return self.precision_plugin.post_backward(loss, task)

    def optimizer_step(self, optimizer: Optimizer, closure: Any, model: Any = None, **more: Any) -> Any:
        """Compute the gradients, let the task look at them, and step."""
        task: Any = self.lightning_module
        result = closure()
        self.precision_plugin._after_closure(task, optimizer)
        self._engine.step()
        return result

    # Saving and going on

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The whole weights on the first process, one tensor after another."""
        task: Any = self.lightning_module
        state = task.state_dict()
        if self.stage == 3:
            for name, parameter in task.named_parameters():
                state[name] = self.shards.join(parameter, self.shards.part(parameter))
        return state

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The optimiser's whole state on the first process, as the optimiser of one process would have it."""
        inner: Any = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        state: dict[int, Any] = {}
        for number, parameter in enumerate(self._parameters()):
            piece, shape = self.shards.piece(parameter), self.shards.shape(parameter)
            # A number of the group's, as the count of steps, becomes one of each parameter's: a copy, for it is moved.
            whole = {
                name: gathered(piece.of(value), piece.start, shape) if _is_like(value, piece.flat) else deepcopy(value)
                for name, value in inner.state.get(piece.flat, {}).items()
            }
            if whole:
                state[number] = whole
        return {"state": state, "param_groups": self._numbered(inner.param_groups)}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take this process's pieces of every moment."""
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            for number, parameter in enumerate(self._parameters()):
                piece, shape = self.shards.piece(parameter), self.shards.shape(parameter)
                for name, value in saved["state"].get(number, {}).items():
                    kept = optimizer.state[piece.flat]
                    if isinstance(value, Tensor) and value.shape == shape:
                        if name not in kept:
                            kept[name] = torch.zeros_like(piece.flat.detach())
                        piece.of(kept[name]).copy_(piece.from_whole(value))
                    else:
                        kept[name] = deepcopy(value)
            for group, options in zip(optimizer.param_groups, saved["param_groups"], strict=True):
                group.update({name: value for name, value in options.items() if name != "params"})

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for members in self._members for parameter in members]

    def _numbered(self, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The groups' options, with the numbers of their parameters."""
        found, number = [], 0
        for group, members in zip(groups, self._members, strict=True):
            numbers = list(range(number, number + len(members)))
            found.append({**{name: value for name, value in group.items() if name != "params"}, "params": numbers})
            number += len(members)
        return found

    def teardown(self) -> None:
        """Take DeepSpeed's hooks away, and the product of its own that stage 3 gives torch for good."""
        nn.functional.linear = self._linear
        if self._engine is not None:
            self._engine.destroy()
            self.model, self._engine = self.lightning_module, None
        super().teardown()


def _is_like(value: Any, flat: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == flat.shape


def one_elementwise(optimizers: list[Optimizer], label: str) -> Optimizer:
    """The optimiser, where ZeRO can cut its state anywhere.

    Raises:
        LaunchError: it cannot.
    """
    known = ", ".join(kind.__name__ for kind in ELEMENTWISE)
    for optimizer in optimizers:
        if type(optimizer) not in ELEMENTWISE:
            what = f"{type(optimizer).__name__} cannot be cut into parts by {label}"
            raise LaunchError("", "optimizer.name", what, f"Choose one of {known}, or launch.strategy=fsdp2.")
    if len(optimizers) != 1:
        remedy = "Choose launch.strategy=ddp."
        raise LaunchError("", "launch.strategy", f"{label} takes one optimiser, the task has {len(optimizers)}", remedy)
    return optimizers[0]


def imported(device: str) -> Any:
    """DeepSpeed, told which kind of device it serves, and to be quiet."""
    os.environ["DS_ACCELERATOR"] = device
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # its logger keeps what it finds here
            import deepspeed
    finally:
        logging.disable(before)
    deepspeed.utils.logging.logger.setLevel(logging.WARNING)
    # On a CPU it would compile a sum over shared memory, which takes a compiler and minutes; gloo does it as well.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed
