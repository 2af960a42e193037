"""A classifier's network as an ONNX file: bytes of pictures in, scores out, the normalisation of pixels inside."""

import contextlib
import logging
import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dltk.errors import LaunchError
from dltk.launch.exporting.network import Network, Written, answers
from dltk.recipe.check import first_line
from dltk.tasks.classification import Classification
from dltk.tasks.task import Task

NEEDED = ("onnx", "onnxscript", "onnxruntime")
MOST = 2**31 - 2**20  # bytes: a file of ONNX is one message of protobuf, which ends at two gigabytes
TRIED = (1, 3)  # sizes of batches that the file is asked
ROUNDING = 1e-4  # of the greatest score: other kernels sum in another order


class Scores(nn.Module):
    """A classifier from bytes to scores.

    Args:
        task: gives the network, and how pixels become what it reads.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, task: Classification) -> None:
        super().__init__()
        self.model = task.model
        self.register_buffer("scale", task.scale)
        self.register_buffer("shift", task.shift)

    def forward(self, images: Tensor) -> Tensor:
        """Images (b, c, h, w), bytes, to class scores (b, k)."""
        return self.model(torch.addcmul(self.shift, images.to(self.scale.dtype), self.scale))


def written(task: Task, network: Network) -> Written:
    """The file of a classifier's network.

    Raises:
        LaunchError: the packages are missing, or the network cannot be exported.
    """
    _require_packages()
    if not isinstance(task, Classification):
        what = f"{type(task).__name__} writes its answer word by word, which is no single network"
        raise LaunchError("", "onnx", what, "Export it as NAME.safetensors.")
    size = sum(value.numel() * value.element_size() for value in task.model.state_dict().values())
    if size > MOST:
        what = f"holds at most {MOST / 1e9:.1f} GB in one file, the network has {size / 1e9:.1f} GB"
        raise LaunchError("", "onnx", what, "Export it as NAME.safetensors.")
    samples = network.samples(task)
    assert samples is not None
    wanted = answers(task, samples)

    def read(path: Path) -> tuple[float, float]:
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        found = [torch.as_tensor(session.run(["scores"], {"images": samples[0][:n].numpy()})[0]) for n in TRIED]
        differences = [(one - wanted[: len(one)]).abs().max() for one in found]
        return float(torch.stack(differences).max()), ROUNDING * float(wanted.abs().max())

    about = {
        "inputs": {"images": {"dtype": "uint8", "shape": ["batch", *samples[0].shape[1:]]}},
        "outputs": {"scores": {"dtype": "float32", "shape": ["batch", wanted.shape[1]]}},
    }
    return Written(_exported(task, samples[0]), read, about)


def _require_packages() -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        what = f"{'is' if len(missing) == 1 else 'are'} not installed"
        raise LaunchError("", ", ".join(missing), what, "Install the extra: dltk[onnx].")


def _exported(task: Classification, images: Tensor) -> bytes:
    """The file's bytes; the batch may have any size."""
    try:
        with _quiet(), torch.no_grad():
            sizes = ({0: torch.export.Dim("batch")},)
            program = torch.export.export(Scores(task).eval(), (images,), dynamic_shapes=sizes)
            _say_divisors_as_factors(program)
            names: dict[str, Any] = {"input_names": ["images"], "output_names": ["scores"]}
            made: Any = torch.onnx.export(program, (), dynamo=True, verbose=False, **names)
            return made.model_proto.SerializeToString()
    except Exception as error:  # the exporter raises whatever a network provokes
        what = f"{type(task.model).__name__} cannot be exported: {first_line(error)}"
        raise LaunchError("", "onnx", what, "Export it as NAME.safetensors.") from error


def _say_divisors_as_factors(program: torch.export.ExportedProgram) -> None:
    """Write average pooling with a divisor of its own as one with the window's size, times a factor.

    ONNX has no such divisor, and torch 2.14.1 passes over it without a word.
    """
    for part in program.graph_module.modules():  # what runs without autocast is a graph of its own
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.find_nodes(op="call_function", target=torch.ops.aten.avg_pool2d.default):
                _say_divisor_as_factor(part.graph, node)
            part.recompile()


def _say_divisor_as_factor(graph: torch.fx.Graph, node: Any) -> None:
    given: list[Any] = [*node.args]
    given += [None, None, [], 0, False, True, None][len(given) :]
    maps, window, stride, padding, ceil, _, divisor = given
    if divisor is None or ceil or node.kwargs:
        return
    area = window[0] * window[-1] if len(window) > 1 else window[0] ** 2
    with graph.inserting_before(node):
        pooled = graph.call_function(node.target, (maps, window, stride, padding, False, True))
        scaled = graph.call_function(torch.ops.aten.mul.Tensor, (pooled, area / divisor))
    for new in (pooled, scaled):
        new.meta.update(node.meta)
    node.replace_all_uses_with(scaled)
    graph.erase_node(node)


@contextlib.contextmanager
def _quiet() -> Any:
    """Without the exporter's remarks, which are for its own developers."""
    with warnings.catch_warnings(), open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
