"""The article's figure 2: what each layer of a network makes of a picture, from the input at the bottom upwards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from dltk.cli.figures import figure
from dltk.cli.maps import POOLINGS, Activity, activities
from dltk.cli.pictures import prepare
from dltk.cli.predict import data_of
from dltk.cli.tiles import Picture, scaled, tiled
from dltk.errors import LaunchError
from dltk.run.folder import RunFolder
from dltk.tasks.classification import Classification

# Shapes: c channels or maps, h rows, w columns, n units, k classes.

# Inches.
WIDTH, LABELS, MARGIN = 11.0, 2.2, 0.15
ROOM = WIDTH - LABELS - MARGIN  # for a row's maps
CELL, INPUT = 0.9, 1.3  # the largest map, and a channel of the input
LINE = 0.24  # of a class
GAP = 0.14  # between rows
LEAST = 0.34  # of a row: two lines of text

ACROSS, UNITS_ACROSS = 16, 64  # maps and units of one line
UNITS = 8  # as many units are drawn of a full layer as 8 times the maps of another
NAME = 30  # letters of a layer's name
POOLED = frozenset(POOLINGS.values())
COLOURS = ((0, "red"), (1, "green"), (2, "blue"))


@dataclass(frozen=True)
class Seen:
    """A picture and what a network makes of it."""

    image: Tensor  # (c, h, w), bytes, as the network saw it
    prepared: Sequence[str]  # what was done to the picture, in words
    activities: Sequence[Activity]
    top: Sequence[Mapping[str, Any]]  # class, score, probability
    classes: int


@dataclass(frozen=True)
class Row:
    """What is drawn of one layer."""

    layer: str
    kind: str
    shape: tuple[int, ...]  # of all that it gives: (c, h, w) or (n,)
    drawn: tuple[int, ...]  # numbers of the maps or units
    values: Picture  # theirs: (drawn, h, w) or (drawn,)


def see(
    folder: RunFolder, task: Any, path: Path, top: int, branches: bool, invert: Literal["auto", "yes", "no"]
) -> Seen:
    """A person's picture through a run's network.

    Args:
        folder: the run.
        task: its task, with weights.
        path: the picture.
        top: classes kept.
        branches: also what lies inside the blocks of a network that branches.
        invert: swap light and dark; auto: as the data need it.

    Raises:
        DataError: the file is no picture.
        LaunchError: the task gives no classes.
    """
    if not isinstance(task, Classification):
        what = f"{type(task).__name__} is no network that gives classes"
        raise LaunchError(folder.path, "features", what, "Choose a run of a classifier.")
    manner, classes, enlarge = data_of(folder, task)
    image, prepared = prepare(path, manner, invert, enlarge)
    found, scores = activities(task.model, task.pixels(image[None])[0], branches=branches)
    probabilities = task.probabilities(scores[None])[0]  # (k,)
    best = scores.topk(min(top, len(scores))).indices.tolist()
    named = [
        {
            "class": classes[k] if k < len(classes) else str(k),
            "score": float(scores[k]),
            "probability": float(probabilities[k]),
        }
        for k in best
    ]
    return Seen(image, prepared, found, named, len(scores))


def chosen(activity: Activity, maps: int) -> Row:
    """The maps that vary most over the picture, or the units furthest from 0, in the order of their numbers.

    Args:
        activity: what a layer gives.
        maps: how many maps; 8 times as many units.
    """
    values = activity.values
    is_map = values.dim() == 3
    strength = values.flatten(1).std(1, correction=0) if is_map else values.abs()  # (c,) or (n,)
    count = min(len(strength), maps if is_map else UNITS * maps)
    numbers = torch.sort(strength.topk(count).indices).values
    return Row(
        activity.layer, activity.kind, tuple(values.shape), tuple(numbers.tolist()), values[numbers].cpu().numpy()
    )


def draw_features(seen: Seen, rows: Sequence[Row], title: str, names: Mapping[str, str]) -> Figure:
    """The sheet. Each map has its own scale, from its least value (black) to its greatest (white).

    Args:
        seen: the picture and its classes.
        rows: the layers.
        title: of the sheet.
        names: what the paper calls the layers.
    """
    heights = [_height(row) for row in rows]
    top = LINE * len(seen.top)
    total = 2 * MARGIN + LINE + sum(max(LEAST, one) + GAP for one in (INPUT, *heights)) + top + 2 * GAP
    sheet = figure(WIDTH, total)
    sheet.set_layout_engine("none")
    _input(sheet, seen.image, y := MARGIN)
    y += INPUT + 2 * GAP
    for row, height in zip(rows, heights, strict=True):
        _row(sheet, row, names.get(row.layer, ""), y + max(0.0, LEAST - height) / 2, height)
        y += max(LEAST, height) + GAP
    _scores(sheet, seen, y + GAP)
    _text(sheet, MARGIN, total - MARGIN, title, va="top", fontsize=9, color="#555555")
    return sheet


def _size(row: Row) -> tuple[int, int, float, float]:
    """Lines of a row, cells of a line, width and height of a cell."""
    if len(row.shape) == 1:
        lines = -(-len(row.drawn) // UNITS_ACROSS)
        return lines, -(-len(row.drawn) // lines), ROOM / UNITS_ACROSS, ROOM / UNITS_ACROSS
    _, h, w = row.shape
    across = min(len(row.drawn), ACROSS)
    unit = min(CELL, ROOM / across) / max(h, w)
    return -(-len(row.drawn) // across), across, unit * w, unit * h


def _height(row: Row) -> float:
    lines, _, _, height = _size(row)
    return lines * height


def _row(sheet: Figure, row: Row, paper: str, y: float, height: float) -> None:
    _, across, width, _ = _size(row)
    if len(row.shape) == 1:
        tiles = [np.full((1, 1), value) for value in scaled(row.values)]
    else:
        tiles = [scaled(values) for values in row.values]
    _picture(sheet, tiled(tiles, across), LABELS, y, across * width, height)
    _label(sheet, y + height / 2, _heading(row, paper), _described(row))


def _heading(row: Row, paper: str) -> str:
    """The layer's name in the paper, or its module's, or both; of a pooling, that it is one."""
    if row.kind in POOLED:
        return row.kind
    if paper.lower() == row.layer.lower():
        return paper
    name = row.layer if len(row.layer) <= NAME else "…" + row.layer[1 - NAME :]
    return f"{name} ({paper})" if paper else name


def _described(row: Row) -> str:
    kind = "" if row.kind in POOLED or not row.kind else f"{row.kind}, "
    drawn, every = len(row.drawn), row.shape[0]
    count = f"{every}" if drawn == every else f"{drawn} of {every}"
    places = f" of {row.shape[1]} × {row.shape[2]}" if len(row.shape) == 3 else ""
    return f"{kind}{count} {'maps' if places else 'units'}{places}"


def _input(sheet: Figure, image: Tensor, y: float) -> None:
    """The picture, and beside it its channels."""
    pixels = image.cpu().numpy().astype(np.float32) / 255  # (c, h, w)
    c, h, w = pixels.shape
    whole = pixels.transpose(1, 2, 0) if c == 3 else pixels[0]
    shown = [whole, *(_tinted(pixels[i], i) for i, _ in COLOURS)] if c == 3 else list(pixels)
    unit = min(INPUT, (ROOM - GAP * (len(shown) - 1)) / len(shown)) / max(h, w)
    for number, one in enumerate(shown):
        _picture(sheet, one, LABELS + number * (unit * w + GAP), y, unit * w, unit * h)
    channels = "red, green, blue" if c == 3 else "grey" if c == 1 else f"{c} channels"
    _label(sheet, y + unit * h / 2, "input", f"{channels}, {h} × {w}")


def _tinted(plane: Picture, colour: int) -> Picture:
    """A grey plane (h, w) in red, green or blue (h, w, 3)."""
    tinted = np.zeros((*plane.shape, 3), np.float32)
    tinted[..., colour] = plane
    return tinted


def _scores(sheet: Figure, seen: Seen, y: float) -> None:
    """A line for each of the top classes: its name over a bar of its probability, its score."""
    height = LINE * len(seen.top)
    axes = sheet.add_axes(_box(sheet, LABELS, y, ROOM, height))
    axes.set(xlim=(0, ROOM), ylim=(len(seen.top), 0))
    axes.set_axis_off()
    longest = 0.66 * ROOM
    for line, one in enumerate(seen.top):
        color = "#8fb3d9" if not line else "#d3e0ee"
        axes.barh(line + 0.5, longest * one["probability"], height=0.86, color=color)
        axes.text(0.06, line + 0.5, one["class"], va="center", fontsize=9, parse_math=False)
        score = f"{one['score']:.2f}"
        axes.text(longest + 1.0, line + 0.5, score, va="center", ha="right", fontsize=9)
        share = f"{100 * one['probability']:.1f} %"
        axes.text(longest + 2.0, line + 0.5, share, va="center", ha="right", fontsize=9, color="#555555")
    _label(sheet, y + height / 2, "scores", f"top {len(seen.top)} of {seen.classes} classes")


def _label(sheet: Figure, y: float, name: str, more: str) -> None:
    """Two lines of text beside a row, about its middle."""
    _text(sheet, LABELS - MARGIN, y + 0.025, name, va="bottom", ha="right", fontsize=9, fontweight="bold")
    _text(sheet, LABELS - MARGIN, y - 0.01, more, va="top", ha="right", fontsize=7.5, color="#555555")


def _picture(sheet: Figure, picture: Picture, x: float, y: float, width: float, height: float) -> None:
    axes = sheet.add_axes(_box(sheet, x, y, width, height))
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, aspect="auto")
    axes.set_axis_off()


def _text(sheet: Figure, x: float, y: float, text: str, **style: Any) -> None:
    width, height = sheet.get_size_inches()
    sheet.text(x / width, y / height, text, parse_math=False, **style)


def _box(sheet: Figure, x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    """Inches from the lower left corner, as the shares that matplotlib takes."""
    whole, tall = sheet.get_size_inches()
    return x / whole, y / tall, width / whole, height / tall
