"""A comparison as text for others: Markdown and LaTeX with the best in bold, CSV with a line for each run."""

import csv
import io
import re
from collections.abc import Iterator, Sequence

from dltk.cli.compared import cell_text, difference_notes, footnotes, heading, hours_text, interval_text, p_text
from dltk.compare.comparison import Comparison
from dltk.compare.groups import ABSENT
from dltk.compare.seen import Seen

_SPECIAL = re.compile(r"[&%$#_{}~^\\]")
_WORDS = {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
_SIGNS = {"±": r"$\pm$", "–": "--", "×": r"$\times$", "…": r"\dots{}", "·": r"$\cdot$"}


def markdown(found: Comparison) -> str:
    """Tables of results and differences."""
    head, rows = _results(found)
    lines = ["| " + " | ".join(map(_cell, head)) + " |", "|" + "---|" * len(head)]
    lines += [
        "| " + " | ".join(f"**{_cell(text)}**" if bold else _cell(text) for text, bold in row) + " |" for row in rows
    ]
    lines += ["", *(f"{_cell(line)}  " for line in footnotes(found))]
    if found.differences and found.primary is not None:
        heads, compared = _differences(found)
        lines += ["", "| " + " | ".join(map(_cell, heads)) + " |", "|" + "---|" * len(heads)]
        lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in compared]
        lines += ["", *(f"{_cell(line)}  " for line in difference_notes(found))]
    return "\n".join(lines) + "\n"


def latex(found: Comparison) -> str:
    """The table of results, for the packages that every installation has."""
    head, rows = _results(found)
    lines = [
        r"\begin{tabular}{l" + "r" * (len(head) - 1) + "}",
        r"\hline",
        " & ".join(map(_tex, head)) + r" \\",
        r"\hline",
    ]
    lines += [
        " & ".join(rf"\textbf{{{_tex(text)}}}" if bold else _tex(text) for text, bold in row) + r" \\" for row in rows
    ]
    lines += [r"\hline", r"\end{tabular}", *(f"% {line}" for line in footnotes(found))]
    return "\n".join(lines) + "\n"


def comma_separated(found: Comparison) -> str:
    """A line for each run: group, state, the settings that differ, every quantity with its step, cost."""
    keys = [one.key for one in found.settings]
    head = ["group", "run", "path", "status", "seed", "step", *keys]
    for quantity in found.quantities:
        name = f"{quantity.metric} ({quantity.where})"
        head += [name, f"step of {name}"]
    head += ["device_hours", "hours", "attempts", "samples_per_second", "mfu"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for group in found.groups:
        writer.writerows([group.name, *_run(run, keys, found)] for run in group.runs)
    return text.getvalue()


def _run(run: Seen, keys: Sequence[str], found: Comparison) -> Iterator[object]:
    yield from (run.name, run.path, run.status, run.seed, run.step)
    yield from (run.settings.get(key) for key in keys)
    for quantity in found.quantities:
        value = quantity.of_run(run)
        yield from (None, None) if value is None else (value.value, value.step)
    yield from (run.device_hours, run.hours, len(run.attempts))
    yield from (run.rates.get("time/samples_per_second"), run.rates.get("time/mfu"))


def _results(found: Comparison) -> tuple[list[str], list[list[tuple[str, bool]]]]:
    """Heads, and rows of cells that are bold or not."""
    head = ["", "seeds", *(f"{heading(quantity)} ({quantity.where})" for quantity in found.quantities), "device time"]
    rows = []
    for at, group in enumerate(found.groups):
        cells = zip(found.cells[at], found.bold[at], strict=True)
        row = [(group.name, False), (str(len(group.runs)), False)]
        row += [(cell_text(one, len(group.runs)), bold) for one, bold in cells]
        rows.append([*row, (hours_text(found.costs[at].device_hours), False)])
    return head, rows


def _differences(found: Comparison) -> tuple[list[str], list[list[str]]]:
    assert found.primary is not None
    base = found.groups[found.baseline].name
    head = [found.primary.metric, f"less {base}", "95 % interval", "p", "p (Holm)", "by", "verdict"]
    rows = []
    for one in found.differences:
        shown = one.samples if one.by == "sample" else one.seeds
        numbers = [ABSENT, ABSENT] if shown is None else [f"{shown.mean:+.4g}", interval_text(shown)]
        rows.append([one.group, *numbers, p_text(one.p), p_text(one.adjusted), one.by, one.verdict])
    return head, rows


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("\n", " ")


def _tex(text: str) -> str:
    plain = _SPECIAL.sub(lambda sign: _WORDS.get(sign[0], f"\\{sign[0]}"), text)
    return "".join(_SIGNS.get(sign, sign) for sign in plain)
