"""A network as a table of layers. Needs torch only."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from dltk import catalogue
from dltk.errors import RecipeError
from dltk.recipe import complaint, constructor_of
from dltk.recipe.network import without_values

SMALL = 20_000_000  # parameters
LENGTHS = ({"s": 5, "t": 7}, {"s": 6, "t": 9})  # steps of a source and of a sequence, in two passes


@dataclass
class Layer:
    """One module of a network that computes something of its own."""

    name: str
    kind: str
    parameters: int  # trainable, its own
    paper: str = ""  # what the paper calls it, from the comment beside it
    output: list[int | str] | None = None  # shape without the batch, lengths by letters; None where it is not reached
    calls: int | str = 0


def make_model(architecture: str, settings: Mapping[str, Any]) -> nn.Module:
    """The network with its first weights, or on the meta device where they would need much memory.

    Raises:
        RecipeError: a setting is missing or impossible.
    """
    row = catalogue.MODELS.get(architecture)
    chosen = {"architecture": architecture, **settings}
    # Some arithmetic on the meta device imports torch's compiler, for seconds: small networks are made for real.
    small = row is not None and row.parameters < SMALL
    try:
        constructor = constructor_of("model", chosen)
        with torch.device("cpu" if small else "meta"):
            return constructor() if small else without_values(constructor)
    except (TypeError, ValueError) as error:
        fault = complaint("model", chosen, error)
        what = re.sub(r"^\w+\.__init__\(\) ", "", fault.what)
        remedy = fault.remedy or f"`dltk show {architecture} --settings model` lists the settings."
        raise RecipeError("", architecture, what, remedy) from None


def count(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def trace(model: nn.Module, image: Sequence[int] | None) -> list[Layer]:
    """The layers in the order in which a sample passes them; those of training alone behind, then the rest.

    Of a sequence, steps are `t`, those of the text that it translates `s`. A full layer whose weights are read without
    calling it, as torch's quick recurrent functions do, has the width of one step.

    Args:
        model: on any device; one on the meta device gets memory here, without values.
        image: channels, rows and columns of an image; None: it reads sequences, or the outputs stay unknown.
    """
    first, *second = _examples(model, image) or [()]
    if any(parameter.is_meta for parameter in model.parameters()) and first:
        # Running there imports the compiler for certain; memory that nobody writes costs nothing.
        model.to_empty(device="cpu")
    order = _traced(model, first)
    for others in [_traced(model, inputs) for inputs in second]:
        for layer, other in zip(order, others, strict=True):
            layer.calls = _length(layer.calls, other.calls)
            if layer.output and other.output:
                layer.output = [_length(*sizes) for sizes in zip(layer.output, other.output, strict=True)]
    return order


def _examples(model: nn.Module, image: Sequence[int] | None) -> list[tuple[Tensor, ...]]:
    """What a network can be called with: an image, or sequences of one length and of another, or both."""
    names, size = list(inspect.signature(model.forward).parameters), getattr(model, "input_size", None)
    if image is not None:
        # Another's network may drop the axis of a batch of one.
        images = torch.zeros(1 if type(model).__module__.startswith("dltk.") else 2, *image)
        if names[:2] == ["images", "words"]:
            return [(images, torch.ones(len(images), many["t"], dtype=torch.long)) for many in LENGTHS]
        return [(images,)]
    if names[:2] == ["source", "words"]:
        return [tuple(torch.ones(2, many[name], dtype=torch.long) for name in ("s", "t")) for many in LENGTHS]
    if names[:2] == ["frames", "lengths"] and size:
        read = [(torch.zeros(2, many["t"], size), torch.full((2,), many["t"])) for many in LENGTHS]
        targets = [torch.ones(2, many["s"], dtype=torch.long) for many in LENGTHS]
        return [(*one, target) if "target" in names else one for one, target in zip(read, targets, strict=True)]
    if names[0] == "target":  # of labels, before any and after each of which it tells something
        return [(torch.ones(2, many["t"] - 1, dtype=torch.long),) for many in LENGTHS]
    if names[0] == "words":
        return [(torch.ones(2, many["t"], dtype=torch.long),) for many in LENGTHS]
    return [(torch.zeros(2, many["t"], size),) for many in LENGTHS] if names[0] == "inputs" and size else []


def _length(one: int | str, other: int | str) -> int | str:
    """A number that is the same in both passes, else the letter of what decides it."""
    letters = (letter for letter in LENGTHS[0] if (one, other) == tuple(many[letter] for many in LENGTHS))
    return one if one == other else next(letters, "?")


def _traced(model: nn.Module, inputs: tuple[Tensor, ...]) -> list[Layer]:
    """The layers as `trace` gives them, from one call; without inputs in the order in which they were made."""
    labels = paper_names(model)
    found = {
        module: Layer(name, type(module).__name__, parameters, labels.get(name, ""))
        for name, module, parameters in _own(model)
    }
    order: list[Layer] = []
    if inputs:
        order += _passed(model.eval(), found, inputs)
        left = {module: layer for module, layer in found.items() if layer.parameters and not layer.calls}
        order += _passed(model.train(), left, inputs) if left else []
        model.eval()
    rest = {module: layer for module, layer in found.items() if not layer.calls and layer.parameters}
    for module, layer in rest.items():
        if isinstance(module, nn.Linear) and inputs and inputs[0].ndim < 4:
            layer.output = [module.out_features]
    return order + list(rest.values())


def _passed(model: nn.Module, watched: Mapping[nn.Module, Layer], inputs: tuple[Tensor, ...]) -> list[Layer]:
    """Those of the layers that a sample passes, in its order."""
    order: list[Layer] = []

    def reached(module: nn.Module, inputs: Any, output: Any) -> None:
        layer = watched[module]
        if not layer.calls:
            layer.output = _shape(output)
            order.append(layer)
        layer.calls = int(layer.calls) + 1

    handles = [module.register_forward_hook(reached) for module in watched]
    try:
        with torch.no_grad():
            model(*(each.to(next(model.parameters(), each).device) for each in inputs))
    except (RuntimeError, NotImplementedError, ValueError):
        pass  # what does not run without data (a machine that is not fitted yet) keeps unknown outputs
    finally:
        for handle in handles:
            handle.remove()
    return order


def image_shape(model: nn.Module, known: Sequence[int] | None = None) -> tuple[int, ...] | None:
    """Shape of one image: what the network asks for, else what is known of the data."""
    wanted = getattr(model, "input_shape", None)
    if wanted is not None and None not in wanted:
        return tuple(wanted)
    return tuple(known) if known else None


def _own(model: nn.Module) -> Iterator[tuple[str, nn.Module, int]]:
    """Modules with parameters of their own or without children; a parameter that is shared counts once."""
    seen: set[nn.Parameter] = set()
    for name, module in model.named_modules():
        parameters = [p for p in module.parameters(recurse=False) if p.requires_grad and p not in seen]
        seen.update(parameters)
        if parameters or not any(module.children()):
            yield name or type(module).__name__, module, sum(p.numel() for p in parameters)


def _shape(output: Any) -> list[int | str] | None:
    first = output[0] if isinstance(output, tuple | list) and output else output
    if isinstance(first, PackedSequence):
        first, _ = pad_packed_sequence(first, batch_first=True)
    return list(first.shape[1:]) if isinstance(first, Tensor) else None


def paper_names(model: nn.Module) -> dict[str, str]:
    """The paper's names of layers, from the ends of lines: `y = self.s2(y)  # S2 (b, 6, 14, 14)`."""
    try:
        source = inspect.getsource(type(model))
    except (OSError, TypeError):
        return {}
    labels: dict[str, str] = {}
    for line in source.splitlines():
        code, _, remark = line.partition("  # ")
        names = re.findall(r"self\.(\w+)\(", code)
        label = remark.partition("(b")[0].strip(" :,")
        if names and label and label != "each" and not re.search(r"\(.*,", label):  # which would be another shape
            labels.setdefault(names[-1], label)
    return labels
