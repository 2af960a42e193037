"""`metrics.jsonl` by columns: each metric with the lines that have it."""

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from dltk.run.atomic import BEYOND_JSON

AT_ONCE = 1000  # lines; of more the objects would not stay in the processor's cache
_NUMBERS = {int, float, bool}
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """One metric: the lines (m,) that have it, counted from 0, and its values (m,)."""

    lines: NDArray[np.int64]
    values: Array


class Columns:
    """The metrics of a run by name.

    Args:
        count: lines of the log.
        columns: those with numbers.
        texts: the last value of each metric that is text, such as `data/digest`.
    """

    def __init__(self, count: int, columns: dict[str, Column], texts: dict[str, str]) -> None:
        self.count, self.columns, self.texts = count, columns, texts

    def along(self, name: str, lines: NDArray[np.int64]) -> Array:
        """What a metric that stands in every line, such as `step`, is in some of them; NaN where it is missing."""
        column = self.columns.get(name)
        whole = np.full(self.count, np.nan)
        if column is not None:
            whole[column.lines] = column.values
        return whole[lines]


def parse(data: bytes) -> Columns:
    """The columns of a log; lines that are not whole objects, such as a torn last one, are passed over."""
    lines = data.split(b"\n")
    return of_rows(_objects(lines[begin : begin + AT_ONCE]) for begin in range(0, len(lines), AT_ONCE))


def of_rows(chunks: Iterable[Sequence[dict[str, Any]]]) -> Columns:
    """The columns of lines, some at a time."""
    parts: dict[str, list[Column]] = defaultdict(list)
    texts: dict[str, str] = {}
    count = 0
    for rows in chunks:
        _take(rows, count, parts, texts)
        count += len(rows)
    return Columns(count, {name: _joined(some) for name, some in parts.items()}, texts)


def _objects(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    try:
        rows = list(map(orjson.loads, lines))
    except ValueError:
        rows = [*_whole(lines)]
    return rows if set(map(type, rows)) == {dict} else [row for row in rows if isinstance(row, dict)]


def _whole(lines: Sequence[bytes]) -> Iterator[Any]:
    for text in lines:
        with contextlib.suppress(ValueError):
            yield orjson.loads(text)


def _take(rows: Sequence[dict[str, Any]], first: int, parts: dict[str, list[Column]], texts: dict[str, str]) -> None:
    """Add rows, the first of which is line `first`, to the columns; the last value of those that are text."""
    shapes: dict[tuple[str, ...], list[int]] = {}  # keys to the rows that have just these
    for at, row in enumerate(rows):
        shapes.setdefault(tuple(row), []).append(at)
    latest: dict[str, int] = {}
    for names, places in shapes.items():
        lines = np.array(places, np.int64) + first
        for name, cells in zip(names, zip(*[rows[at].values() for at in places], strict=True), strict=True):
            numbers = _numbers(cells)
            if numbers is not None:
                parts[name].append(Column(lines, numbers))
            elif isinstance(cells[-1], str) and places[-1] >= latest.get(name, -1):
                latest[name], texts[name] = places[-1], cells[-1]


def _numbers(cells: Sequence[Any]) -> Array | None:
    """Values of JSON as numbers; None where one of them is none."""
    if isinstance(cells[0], str) and cells[0] not in BEYOND_JSON:
        return None
    if not isinstance(cells[0], str):
        # At once, without a look at each: it refuses lists, objects, and text that is no number, and null becomes NaN.
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            found = np.fromiter(cells, np.float64, len(cells))
            if not np.isnan(found).any():
                return found
    kinds = set(map(type, cells))
    if kinds - _NUMBERS == {str}:
        cells = [BEYOND_JSON.get(cell, cell) if isinstance(cell, str) else cell for cell in cells]
        kinds = set(map(type, cells))
    try:
        return np.array(cells, np.float64) if kinds <= _NUMBERS else None
    except OverflowError:  # a whole number that no float can hold
        return None


def _joined(parts: Sequence[Column]) -> Column:
    if len(parts) == 1:
        return parts[0]
    lines = np.concatenate([part.lines for part in parts])
    order = np.argsort(lines, kind="stable")
    return Column(lines[order], np.concatenate([part.values for part in parts])[order])
