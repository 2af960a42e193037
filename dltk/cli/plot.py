"""A curve drawn with characters."""

import math
from collections.abc import Sequence

# Dots of a Braille character, by column and row.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BARS = "▁▂▃▄▅▆▇█"


def curve(xs: Sequence[float], ys: Sequence[float], *, width: int = 64, height: int = 11) -> list[str]:
    """The lines of a drawing of y over x, y from 0 up, with its scale on the left and x's ends below.

    Args:
        xs: rising.
        ys: not negative.
        width: characters inside the axes.
        height: lines inside the axes.
    """
    top = max(ys) or 1.0
    cells = [[0] * width for _ in range(height)]
    columns, rows = 2 * width, 4 * height
    before = None
    for column in range(columns):
        level = _at(xs, ys, xs[0] + (xs[-1] - xs[0]) * column / (columns - 1)) / top
        row = round((1 - level) * (rows - 1))
        # A jump is drawn as a line from one level to the next.
        for y in range(min(row, row if before is None else before), max(row, row if before is None else before) + 1):
            cells[y // 4][column // 2] |= _DOTS[column % 2][y % 4]
        before = row
    marks = {0: f"{top:.3g}", height // 2: f"{top / 2:.3g}", height - 1: "0"}
    lines = [f"{marks.get(i, ''):>9} ┤" + "".join(chr(0x2800 + cell) for cell in row) for i, row in enumerate(cells)]
    ends = f"{xs[0]:g}", f"{xs[-1]:g}"
    return [*lines, " " * 10 + "└" + "─" * width, " " * 11 + ends[0] + ends[1].rjust(width - len(ends[0]))]


def _at(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """The y of the last point that is not beyond x."""
    from bisect import bisect_right

    return ys[max(0, bisect_right(xs, x) - 1)]


def spark(ys: Sequence[float], low: float, high: float, width: int) -> str:
    """A line of bars of a curve's means, from `low` to `high`; blank where there is no finite number.

    Args:
        ys: at equal distances.
        low: what the lowest bar stands for.
        high: what the highest one stands for.
        width: characters.
    """
    bars = []
    for column in range(width):
        part = ys[column * len(ys) // width : max(column * len(ys) // width + 1, (column + 1) * len(ys) // width)]
        known = [y for y in part if math.isfinite(y)]
        if not known:
            bars.append(" ")
            continue
        share = (sum(known) / len(known) - low) / (high - low) if high > low else 0.0
        bars.append(_BARS[round(share * (len(_BARS) - 1))])
    return "".join(bars)
