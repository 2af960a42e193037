"""The filters of a network's first layer: in colour where it reads red, green and blue, else in grey.

Those of a network of sequences are pictures of a frame's numbers, down, over frames; those of a network of videos are
rows of pictures, frame after frame.
"""

import math
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor, nn

from dltk.cli.figures import figure
from dltk.cli.layers import image_shape, trace
from dltk.cli.tiles import Picture, tiled
from dltk.errors import LaunchError
from dltk.recipe import network
from dltk.run.folder import RunFolder

# Shapes: n filters, c channels, h rows, w columns.

MOST = 256  # filters drawn unless asked otherwise
BLACK = (0.0, 0.0, 0.0)
WIDTH, SMALL, LARGE = 6.5, 0.3, 0.9  # inches: of the sheet, and of a filter


@dataclass(frozen=True)
class Bank:
    """The filters of one layer."""

    layer: str
    weights: Tensor  # (n, c, h, w)
    coloured: bool = True  # three channels are red, green and blue


def first_filters(folder: RunFolder, task: Any) -> Bank:
    """The filters of the first layer that an image reaches.

    Raises:
        LaunchError: it has none that look at pixels.
    """
    model = task.model
    shape = image_shape(model, network.image_shape(folder.recipe))
    first = next((layer for layer in trace(model, shape) if layer.parameters), None)
    module = model.get_submodule(first.name) if first is not None else None
    weights = getattr(module, "weight", None)
    if isinstance(module, nn.Linear) and shape is not None and module.in_features == math.prod(shape):
        weights = module.weight.view(-1, *shape)
    if isinstance(module, nn.Conv1d):
        weights = module.weight[:, None]
    if isinstance(module, nn.Conv3d):
        weights = module.weight.transpose(1, 2).flatten(1, 2)
    if weights is None or weights.dim() != 4:
        name = folder.recipe["model"]["architecture"]
        what = f"its first layer ({first.name if first else 'none'}) has no filters that look at pixels"
        raise LaunchError(folder.path, name, what, "Draw a run of a network that begins with a convolution.")
    assert first is not None
    return Bank(first.name, weights.detach().float().cpu(), not isinstance(module, nn.Conv3d))


def draw_filters(bank: Bank, most: int | None, name: str) -> tuple[Figure, int]:
    """The sheet, and how many filters are on it. Each has its own scale: 0 is grey, its largest weight black or white.

    Args:
        bank: the filters.
        most: how many are drawn at most; by default 256.
        name: the network's.
    """
    weights = bank.weights[: most or MOST]
    n, c, h, w = weights.shape
    largest = weights.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)  # (n, 1, 1, 1)
    levels = (0.5 + 0.5 * weights / largest).numpy()  # (n, c, h, w), 0 to 1
    whole = c == 1 or (c == 3 and bank.coloured)  # each filter is one picture
    pictures: list[Picture] = list(levels.transpose(0, 2, 3, 1) if whole else levels.reshape(-1, h, w))
    across = _across(n) if whole else c * max(1, _across(n) // c)
    lines = -(-len(pictures) // across)
    cell = min(LARGE, max(SMALL, WIDTH / across))
    sheet = figure(max(WIDTH, across * cell), lines * cell * h / w + 0.5)
    axes = sheet.add_subplot()
    axes.imshow(tiled(pictures, across, BLACK), interpolation="nearest")
    axes.set_axis_off()
    count = f"{n}" if n == len(bank.weights) else f"{n} of {len(bank.weights)}"
    channels = "" if c == 1 else f" × {c}"
    axes.set_title(f"{name}, {bank.layer}: {count} filters of {h} × {w}{channels}", fontsize=9, parse_math=False)
    return sheet, n


def _across(count: int) -> int:
    """How many of a line: broader than high, with the fewest empty places at the end."""
    root = math.sqrt(count)
    return min(range(math.ceil(root), math.ceil(2 * root) + 1), key=lambda across: (-count % across, across))
