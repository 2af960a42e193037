"""The article's figure 1a: how a hidden layer of two units bends the plane until a line tells the classes apart."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from torch import Tensor, nn

from dltk.assemble import build_data, load
from dltk.cli.figures import figure
from dltk.errors import LaunchError

if TYPE_CHECKING:
    from dltk.run.folder import RunFolder

LINES = 31  # of the grid, in each direction
COLORS = ("#c0392b", "#2563a8")
TINTS = ("#f7ddd8", "#dbe7f5")

# Shapes: n points.


def draw_warp(folder: "RunFolder", checkpoint: str = "best") -> Figure:
    """Input plane and hidden plane side by side: the same grid, the same samples, the border between the classes.

    Raises:
        LaunchError: the network does not go from two numbers through two hidden units to two classes.
    """
    task: Any = load(folder, checkpoint)
    output = _output_layer(folder, task)
    data = build_data(folder.recipe).part("train")
    samples = torch.stack([data[i]["image"] for i in range(len(data))])  # (n, 1, 1, 2)
    targets = np.array([data[i]["target"] for i in range(len(data))])  # (n,)
    points = task.pixels(samples).flatten(1).numpy()  # (n, 2), as the network reads them
    sheet = figure(9, 4.5)
    left, right = sheet.subplots(1, 2)
    with torch.inference_mode():
        _input_plane(left, task, output, points, targets)
        _hidden_plane(right, task, output, points, targets)
    return sheet


def _output_layer(folder: "RunFolder", task: Any) -> nn.Linear:
    linear = [module for module in task.model.modules() if isinstance(module, nn.Linear)]
    shape = getattr(task.model, "input_shape", None)
    if not linear or shape != (1, 1, 2) or linear[-1].in_features != 2 or linear[-1].out_features != 2:
        name = folder.recipe["model"]["architecture"]
        raise LaunchError(
            folder.path, name, "does not go from two inputs through two hidden units to two classes",
            "Draw a run of the recipe 'warp'.",
        )  # fmt: skip
    return linear[-1]


def _hidden(task: Any, output: nn.Linear, points: np.ndarray) -> np.ndarray:
    """Points (n, 2) of the input plane to what the hidden units make of them (n, 2)."""
    caught: list[Tensor] = []
    handle = output.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
    try:
        task.model(torch.as_tensor(points, dtype=torch.float32).view(-1, 1, 1, 2))
    finally:
        handle.remove()
    return caught[0].numpy()


def _margin(task: Any, points: np.ndarray) -> np.ndarray:
    """Score of class 1 less that of class 0 (n,)."""
    scores = task.model(torch.as_tensor(points, dtype=torch.float32).view(-1, 1, 1, 2)).numpy()  # (n, 2)
    return scores[:, 1] - scores[:, 0]


def _grid() -> list[np.ndarray]:
    """The lines of a regular grid over [-1, 1]², each as points (200, 2)."""
    along = np.linspace(-1, 1, 200)
    upright = [np.stack([np.full_like(along, x), along], 1) for x in np.linspace(-1, 1, LINES)]
    return upright + [line[:, ::-1].copy() for line in upright]


def _input_plane(axes: Any, task: Any, output: nn.Linear, points: np.ndarray, targets: np.ndarray) -> None:
    side = np.linspace(-1, 1, 301)
    x, y = np.meshgrid(side, side)
    margin = _margin(task, np.stack([x.ravel(), y.ravel()], 1)).reshape(x.shape)
    axes.contourf(x, y, margin, levels=[-np.inf, 0, np.inf], colors=TINTS, zorder=0)
    axes.contour(x, y, margin, levels=[0], colors="#333333", linewidths=1.2, linestyles="--", zorder=2)
    for line in _grid():
        axes.plot(*line.T, color="#7a7a7a", linewidth=0.5, zorder=1)
    _samples(axes, points, targets)
    axes.set(xlim=(-1, 1), ylim=(-1, 1), title="input", xlabel="$x_1$", ylabel="$x_2$", aspect="equal")


def _hidden_plane(axes: Any, task: Any, output: nn.Linear, points: np.ndarray, targets: np.ndarray) -> None:
    lines = [_hidden(task, output, line) for line in _grid()]
    every = np.concatenate(lines)
    middle, half = (every.min(0) + every.max(0)) / 2, 0.54 * (every.max(0) - every.min(0)).max()
    low, high = middle - half, middle + half
    weight = (output.weight[1] - output.weight[0]).numpy()  # (2,)
    bias = 0.0 if output.bias is None else float(output.bias[1] - output.bias[0])
    x, y = np.meshgrid(np.linspace(low[0], high[0], 301), np.linspace(low[1], high[1], 301))
    margin = weight[0] * x + weight[1] * y + bias
    axes.contourf(x, y, margin, levels=[-np.inf, 0, np.inf], colors=TINTS, zorder=0)
    axes.contour(x, y, margin, levels=[0], colors="#333333", linewidths=1.2, linestyles="--", zorder=2)
    for line in lines:
        axes.plot(*line.T, color="#7a7a7a", linewidth=0.5, zorder=1)
    _samples(axes, _hidden(task, output, points), targets)
    axes.set(
        xlim=(low[0], high[0]), ylim=(low[1], high[1]), title="hidden units", xlabel="$y_1$", ylabel="$y_2$",
        aspect="equal",
    )  # fmt: skip


def _samples(axes: Any, points: np.ndarray, targets: np.ndarray) -> None:
    axes.scatter(*points.T, c=targets, cmap=ListedColormap(COLORS), s=11, linewidths=0, zorder=3)
    axes.tick_params(length=2, labelsize=8)
