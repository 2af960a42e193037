"""A network as a table of layers. Needs torch only."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dltk import catalogue
from dltk.errors import RecipeError
from dltk.recipe import complaint, constructor_of
from dltk.recipe.network import without_values

SMALL = 20_000_000  # parameters


@dataclass
class Layer:
    """One module of a network that computes something of its own."""

    name: str
    kind: str
    parameters: int  # trainable, its own
    paper: str = ""  # what the paper calls it, from the comment beside it
    output: list[int] | None = None  # shape without the batch; None where it is not reached
    calls: int = 0


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
    """The layers in the order in which one image passes them; those of training alone behind, then the rest.

    Args:
        model: on any device; one on the meta device gets memory here, without values.
        image: channels, rows and columns of an image; None: nothing is run, and the outputs stay unknown.
    """
    labels = paper_names(model)
    found = {
        module: Layer(name, type(module).__name__, parameters, labels.get(name, ""))
        for name, module, parameters in _own(model)
    }
    order: list[Layer] = []
    if image is not None:
        if any(parameter.is_meta for parameter in model.parameters()):
            # Running there imports the compiler for certain; memory that nobody writes costs nothing.
            model.to_empty(device="cpu")
        order += _passed(model.eval(), found, image)
        left = {module: layer for module, layer in found.items() if layer.parameters and not layer.calls}
        order += _passed(model.train(), left, image) if left else []
        model.eval()
    return order + [layer for layer in found.values() if not layer.calls and layer.parameters]


def _passed(model: nn.Module, watched: Mapping[nn.Module, Layer], image: Sequence[int]) -> list[Layer]:
    """Those of the layers that one image passes, in its order."""
    order: list[Layer] = []

    def reached(module: nn.Module, inputs: Any, output: Any) -> None:
        layer = watched[module]
        if not layer.calls:
            layer.output = _shape(output)
            order.append(layer)
        layer.calls += 1

    handles = [module.register_forward_hook(reached) for module in watched]
    try:
        with torch.no_grad():
            model(torch.zeros(2, *image, device=next(model.parameters(), torch.empty(0)).device))
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


def _shape(output: Any) -> list[int] | None:
    first = output[0] if isinstance(output, tuple | list) and output else output
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
        if names and label:
            labels.setdefault(names[-1], label)
    return labels
