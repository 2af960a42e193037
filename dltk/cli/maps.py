"""What each layer of a network makes of one image: the maps behind its nonlinearity. Needs torch only.

The network is left as it is. While an image passes, every function of torch that reads something made from it is noted
(`torch.overrides`), and hooks tell which module is at work. So a rectifier is found whether it is a module of its own,
one that all layers share, or a method of a tensor, and its maps carry the name of the layer that it follows.

The trunk are those steps that everything passes on its way from the image to the scores. In a network with branches
(GoogLeNet's modules, residual blocks) they are the ends of the blocks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# Shapes: c maps, h rows, w columns, k classes, n units.

# Functions of torch by name, with what they are called in print.
NONLINEARITIES = {
    **{"relu": "ReLU", "hardtanh": "ReLU6", "relu6": "ReLU6", "leaky_relu": "leaky ReLU", "prelu": "PReLU"},
    **{"rrelu": "RReLU", "threshold": "threshold", "clamp": "clamp", "clamp_min": "clamp", "elu": "ELU"},
    **{"selu": "SELU", "celu": "CELU", "gelu": "GELU", "silu": "SiLU", "mish": "Mish", "hardswish": "hard swish"},
    **{
        "tanh": "tanh",
        "sigmoid": "logistic",
        "hardsigmoid": "hard logistic",
        "softplus": "softplus",
        "softsign": "softsign",
    },
}
POOLINGS = {
    **{"max_pool2d": "max pooling", "max_pool2d_with_indices": "max pooling", "adaptive_max_pool2d": "max pooling"},
    **{"avg_pool2d": "average pooling", "adaptive_avg_pool2d": "average pooling", "lp_pool2d": "power pooling"},
    **{"fractional_max_pool2d": "max pooling"},
}


@dataclass(frozen=True)
class Activity:
    """What one layer gives for an image."""

    layer: str  # name of its module
    kind: str  # nonlinearity or pooling; empty where nothing but a linear function is known
    values: Tensor  # maps (c, h, w), or units (n,)


def activities(model: nn.Module, image: Tensor, *, branches: bool = False) -> tuple[list[Activity], Tensor]:
    """What the layers of a network give, in the order of their work, and the class scores (k,).

    Layers behind their nonlinearity, and poolings between them; a layer without a nonlinearity as it is. The last
    layer gives the scores and is not among them.

    Args:
        model: on the image's device; is evaluated, not changed.
        image: (c, h, w), as the network reads it.
        branches: also what lies inside the blocks of a network that branches.
    """
    trace = _Trace(model)
    output = trace.run(image[None])
    last = trace.node_of(output)
    shown = [node for node in trace.nodes if _is_row(node, last, trace.squashed)]
    trunk = _trunk(trace.nodes, last)
    if not branches and any(node in trunk for node in shown):
        shown = [node for node in shown if node in trunk]
    name = type(model).__name__
    found = [Activity(node.layer or name, node.kind, _laid_out(node.values)) for node in shown]
    return found, output[0].flatten().float()


@dataclass(eq=False)
class _Node:
    """One step: a function that read what came from the image, and gave a tensor."""

    function: str
    reads: tuple["_Node", ...]
    layer: str  # the last module with weights on the way here; where ways meet, the block that they meet in
    inside: bool  # that module is still at work
    shape: tuple[int, ...]
    ends: bool = False  # it is what the layer gives
    values: Tensor | None = None  # a copy, of what may be shown

    @property
    def kind(self) -> str:
        return NONLINEARITIES.get(self.function) or POOLINGS.get(self.function, "")


@dataclass
class _Frame:
    """A module at work."""

    name: str
    is_layer: bool  # it has weights (or constants), and no parts that have
    is_function: bool  # it has neither weights nor parts
    squashed: _Node | None = None  # the nonlinearity met inside


class _Trace(TorchFunctionMode):
    """The steps of one pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.nodes: list[_Node] = []
        self.squashed: set[str] = set()  # layers that a nonlinearity follows
        self._names = {module: name for name, module in model.named_modules()}
        self._frames: list[_Frame] = []
        # Held, so that no two tensors of the pass have the same id.
        self._known: dict[int, tuple[Tensor, _Node]] = {}

    def run(self, images: Tensor) -> Tensor:
        """Images (1, c, h, w) through the network, to scores (1, k)."""
        self._note(images, _Node("image", (), "", False, tuple(images.shape)))
        handles = []
        for module in self._names:
            handles.append(module.register_forward_pre_hook(self._enter))
            handles.append(module.register_forward_hook(self._leave))
        try:
            with torch.no_grad(), self:
                # Not model(images): a compiled network would run as one piece.
                output = _first(self.model.eval().forward(images))
        finally:
            for handle in handles:
                handle.remove()
        assert output is not None, "the network gives no tensor"
        return output

    def node_of(self, tensor: Tensor) -> _Node | None:
        """The step that made a tensor; None where it does not come from the image."""
        found = self._known.get(id(tensor))
        return found[1] if found else None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """A function of torch is called."""
        output = func(*args, **(kwargs or {}))
        made = _first(output)
        reads = self._nodes((args, kwargs)) if made is not None else []
        if made is not None and reads:
            self._step(getattr(func, "__name__", "").rstrip("_"), reads, made)
        return output

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        """A module begins."""
        own, every = (len([*module.parameters(all), *module.buffers(all)]) for all in (False, True))
        is_layer = 0 < own == every and "Norm" not in type(module).__name__
        is_function = not own and not any(True for _ in module.children())
        self._frames.append(_Frame(self._names[module], is_layer, is_function))

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """A module ends. What autograd's own functions give is known only now."""
        frame, made = self._frames.pop(), _first(output)
        if made is None:
            return
        node = self.node_of(made)
        if node is None:
            reads = self._nodes(inputs)
            if not reads:
                return
            node = self._step(type(module).__name__, reads, made)
        if frame.is_layer:
            node.layer, node.ends, node.values = frame.name, True, made.detach().clone()
        if frame.is_function and frame.squashed not in (None, node):
            # 1.7159 tanh(2a/3): the whole function is the nonlinearity.
            node.function, node.values = frame.squashed.function, made.detach().clone()
            frame.squashed.function = ""

    def _step(self, function: str, reads: Sequence[_Node], made: Tensor) -> _Node:
        at_work = next((frame.name for frame in reversed(self._frames) if frame.is_layer), None)
        before = list(dict.fromkeys(node.layer for node in reads))
        block = self._frames[-1].name if self._frames and len(before) > 1 else ""
        layer = at_work if at_work is not None else block or max(reads, key=self.nodes.index).layer
        node = _Node(function, tuple(reads), layer, at_work is not None, tuple(made.shape), ends=bool(block))
        if node.kind or node.ends:
            node.values = made.detach().clone()  # the next function may work in place
        if function in NONLINEARITIES:
            self.squashed.add(layer)
            if self._frames:
                self._frames[-1].squashed = node
        self._note(made, node)
        return node

    def _note(self, tensor: Tensor, node: _Node) -> None:
        self.nodes.append(node)
        self._known[id(tensor)] = (tensor, node)

    def _nodes(self, value: Any) -> list[_Node]:
        """The steps whose tensors stand in a value."""
        return [node for tensor in _tensors(value) if (node := self.node_of(tensor))]


def _is_row(node: _Node, last: _Node | None, squashed: set[str]) -> bool:
    """Whether a step gives what is shown of a layer."""
    if node.values is None or len(node.shape) not in (2, 4):
        return False
    if not _has_places(node.shape) and last is not None and node.layer == last.layer:
        return False  # the scores
    if node.function in NONLINEARITIES:
        return True
    if node.function in POOLINGS:
        return _has_places(node.shape) and not node.inside and node.shape != node.reads[0].shape
    return node.ends and node.layer not in squashed


def _trunk(nodes: Sequence[_Node], last: _Node | None) -> set[_Node]:
    """The steps that every way from the image to the scores passes: as many ways lead through them as there are."""
    to = {nodes[0]: 1}
    for node in nodes[1:]:
        to[node] = sum(to.get(read, 0) for read in node.reads)
    onward = {last: 1} if last is not None else {}
    for node in reversed(nodes):
        for read in node.reads:
            onward[read] = onward.get(read, 0) + onward.get(node, 0)
    total = to.get(last, 0) if last is not None else 0
    return {node for node in nodes if total and to[node] * onward.get(node, 0) == total}


def _has_places(shape: Sequence[int]) -> bool:
    """Whether a tensor (1, c, h, w) holds maps, not units."""
    return len(shape) == 4 and min(shape[2:]) > 1


def _laid_out(values: Tensor | None) -> Tensor:
    """Values (1, …) as maps (c, h, w), or as units (n,)."""
    assert values is not None, "a step that is shown has its values"
    return values[0].float() if _has_places(values.shape) else values[0].float().flatten()


def _first(output: Any) -> Tensor | None:
    return next(_tensors(output), None)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
