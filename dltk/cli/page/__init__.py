"""A comparison as one HTML file that needs nothing else: curves to look into, pictures, recipes, attempts.

The curves are drawn by uPlot (MIT licence), which lies beside this file and is put into the page: 50 KB, no dependency
of its own, quick with many points. The page's content policy allows no request to a network, and no script but the two
that it carries. What comes from run folders is escaped; uncommitted changes and command lines stay out.
"""

import base64
import hashlib
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2

from dltk import __version__
from dltk.cli import terminal
from dltk.cli.compared import (
    cell_text,
    difference_notes,
    difference_rows,
    footnotes,
    harmless,
    heading,
    hours_text,
    values_text,
)
from dltk.compare.brief import Curve
from dltk.compare.comparison import Comparison
from dltk.compare.curves import aligned
from dltk.compare.samples import confusions, sentences
from dltk.compare.seen import AXES, Seen
from dltk.run.atomic import read_object
from dltk.run.folder import RunFolder

RUN_LINES = 40  # runs whose own curves are drawn; of more the groups' means
POINTS = 8000  # of one metric's curves over all runs
PICTURES, PICTURE_BYTES, WIDEST = 12, 200_000, 1100  # in a page; bytes and pixels of one
DETAILS = 20  # runs whose recipe, environment and attempts are written out
SENTENCES = 12
TOLD = ("torch", "lightning", "torchvision", "numpy", "wandb", "ray", "deepspeed", "dltk")  # packages named at once
COLOURS = (
    *("#2563a8", "#d9662b", "#2f8f4e", "#b3261e", "#7a4fb5", "#8a5a3b"),
    *("#c2559d", "#5f6b78", "#9a9a1f", "#1f9aa8"),
)


def points(runs: int) -> int:
    """Of one curve, so that a page of so many runs stays small."""
    return max(60, min(400, POINTS // max(1, runs)))


def made(found: Comparison, runs: Sequence[Seen]) -> str:
    """The page.

    Args:
        found: the comparison.
        runs: those that it was made of.
    """
    library, program = _file("uPlot.iife.min.js"), _file("page.js")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    page = environment.from_string(_file("page.html"))
    shown = runs[:DETAILS]
    return page.render(
        title=_title(found, runs),
        version=__version__,
        hashes=[_hash(library), _hash(program)],
        library=library,
        program=program,
        licence=_file("uPlot.LICENSE"),
        library_style=_file("uPlot.min.css"),
        data=json.dumps(_curves(found, runs), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"),
        found=found,
        colours=_colours(found),
        settings=[
            (one.key, [values_text(values) for values in one.values]) for one in found.settings if not one.harmless
        ],
        harmless=harmless(found),
        heads=[(heading(quantity), quantity.where) for quantity in found.quantities],
        results=_results(found),
        footnotes=list(footnotes(found)),
        base=found.groups[found.baseline].name,
        differences=[[str(cell) for cell in row] for one in found.differences for row in difference_rows(one)],
        difference_notes=list(difference_notes(found)),
        costs=list(_costs(found)),
        pictures=list(_pictures(found, shown)),
        sentences=[(run.name, some) for run in shown[:3] if (some := sentences(run, SENTENCES))],
        details=[_details(run) for run in shown],
        left_out=len(runs) - len(shown),
    )


def _title(found: Comparison, runs: Sequence[Seen]) -> str:
    if len(runs) == 1:
        return runs[0].name
    names = list(dict.fromkeys(run.recipe for run in runs))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}: {len(runs)} runs"


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _colours(found: Comparison) -> list[str]:
    return [COLOURS[at % len(COLOURS)] for at in range(len(found.groups))]


# Tables


def _results(found: Comparison) -> list[tuple[str, int, list[tuple[str, bool]]]]:
    """Of each group its name, its runs, and its cells, bold or not."""
    rows = []
    for group, cells, bolds in zip(found.groups, found.cells, found.bold, strict=True):
        count = len(group.runs)
        rows.append(
            (group.name, count, [(cell_text(one, count), bold) for one, bold in zip(cells, bolds, strict=True)])
        )
    return rows


def _costs(found: Comparison) -> Iterator[tuple[str, ...]]:
    for group, one in zip(found.groups, found.costs, strict=True):
        rates = [one.rates.get(f"time/{name}") for name in ("samples_per_second", "mfu", "data_wait")]
        shares = [None if rate is None else f"{100 * rate:.3g} %" for rate in rates[1:]]
        yield (
            group.name, hours_text(one.device_hours), hours_text(one.hours), str(one.attempts or "–"),
            *(terminal.number(value) for value in (rates[0], *shares)),
        )  # fmt: skip


# Curves


def _curves(found: Comparison, runs: Sequence[Seen]) -> dict[str, Any]:
    """What the page's program draws: charts of series, each of places on every axis and values, by their numbers."""
    pool: list[list[float | None]] = []
    places: dict[str, int] = {}

    def put(values: Sequence[float]) -> int:
        numbers = [_number(value) for value in values]
        label = json.dumps(numbers)
        if label not in places:
            places[label] = len(pool)
            pool.append(numbers)
        return places[label]

    charts = {}
    for metric in dict.fromkeys(name for run in runs for name in run.curves):
        lines = _of_runs(found, metric) if len(runs) <= RUN_LINES else _of_groups(found, metric)
        charts[metric] = [
            {
                "name": name,
                "group": group,
                "along": {axis: put(along.tolist()) for axis, along in curve.along.items()},
                "values": put(curve.values.tolist()),
            }
            for name, group, curve in lines
        ]
    groups = [
        {"name": group.name, "colour": colour} for group, colour in zip(found.groups, _colours(found), strict=True)
    ]
    return {"groups": groups, "axes": list(AXES), "axis": found.axis, "pool": pool, "charts": _in_order(charts)}


def _in_order(charts: dict[str, Any]) -> dict[str, Any]:
    """What was validated first, then the training, then where time and memory went, throughput before its parts."""
    order = ("val/", "train/", "time/samples_per_second", "time/mfu", "memory/", "time/")
    rank = {name: next((at for at, begin in enumerate(order) if name.startswith(begin)), len(order)) for name in charts}
    return dict(sorted(charts.items(), key=lambda item: rank[item[0]]))


def _of_runs(found: Comparison, metric: str) -> Iterator[tuple[str, int, Curve]]:
    for at, group in enumerate(found.groups):
        for run in group.runs:
            if metric in run.curves:
                yield run.name, at, run.curves[metric]


def _of_groups(found: Comparison, metric: str) -> Iterator[tuple[str, int, Curve]]:
    numbers = {group.name: at for at, group in enumerate(found.groups)}
    for line in aligned(found.groups, metric, found.axis):
        yield f"{line.group}, mean of {line.runs}", numbers[line.group], Curve({found.axis: line.at}, line.mean)


def _number(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None


# Pictures


def _pictures(found: Comparison, runs: Sequence[Seen]) -> Iterator[tuple[str, str]]:
    """Captions and addresses of data: how classes are confused, and what `draw` and `evaluate` left in the runs."""
    left = PICTURES
    for group in found.groups[: PICTURES // 2]:
        drawn = _confusions(group.runs[0])
        if drawn is not None:
            left -= 1
            yield f"{group.runs[0].name}: which classes are taken for which", drawn
    for run in runs:
        for path in sorted([*run.path.glob("*.png"), *run.path.glob("predictions/*.png")]):
            data = _shrunk(path) if left > 0 else None
            if data is not None:
                left -= 1
                yield f"{run.name}: {path.relative_to(run.path)}", data


def _confusions(run: Seen) -> str | None:
    matrix = confusions(run)
    if matrix is None:
        return None
    from dltk.cli.confusion import confused, draw_confusions

    known = [terminal.plain(name) for name in RunFolder(run.path).classes]
    names = known if len(known) == len(matrix) else [str(number) for number in range(len(matrix))]
    how = f"{run.evaluation.get('split')}, {run.evaluation.get('protocol')}"
    file = io.BytesIO()
    draw_confusions(matrix, names, confused(matrix), f"{run.name}, {how}").savefig(file, format="png", dpi=85)
    return _address("png", file.getvalue())


def _shrunk(path: Path) -> str | None:
    """A picture as an address of data, no larger than a page bears; None where it is none."""
    from PIL import Image

    try:
        if path.stat().st_size <= PICTURE_BYTES:
            with Image.open(path, formats=["PNG"]) as image:
                image.verify()
            return _address("png", path.read_bytes())
        with Image.open(path, formats=["PNG"]) as image:
            image.thumbnail((WIDEST, 2 * WIDEST))
            file = io.BytesIO()
            image.convert("RGB").save(file, "JPEG", quality=80)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return _address("jpeg", file.getvalue()) if file.tell() <= 2 * PICTURE_BYTES else None


def _address(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


# Runs


def _details(run: Seen) -> dict[str, Any]:
    facts = read_object(run.path / "environment.json") or {}
    packages = facts.get("packages")
    packages = packages if isinstance(packages, dict) else {}
    return {
        "run": run,
        "recipe": _text(run.path / "recipe.yaml") or _configuration(run),
        "attempts": [
            (one["attempt"], one["start"] or "–", one["end"] or "–", one["reason"] or "–",
             terminal.number(one["exit_code"]), terminal.number(one.get("world_size")), terminal.number(one["steps"]))
            for one in run.attempts
        ],
        "notes": [note for one in run.attempts for note in one["notes"]],
        "environment": list(_environment(facts, packages)),
        "packages": ", ".join(f"{name} {version}" for name, version in packages.items()),
    }  # fmt: skip


def _configuration(run: Seen) -> str:
    """The settings of another project's run, which has no recipe."""
    import yaml

    return yaml.safe_dump(run.settings, sort_keys=False, allow_unicode=True)


def _environment(facts: dict[str, Any], packages: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("host", "platform", "python", "cpus", "time"):
        if facts.get(key) is not None:
            yield key, str(facts[key])
    devices = facts.get("devices")
    if devices:
        yield "devices", ", ".join(str(one.get("name")) for one in devices if isinstance(one, dict))
    git = facts.get("git")
    for name, said in git.items() if isinstance(git, dict) else ():
        if isinstance(said, dict):
            yield f"commit of {name}", f"{said.get('commit')}{', with changes' if said.get('dirty') else ''}"
    told = [f"{name} {packages[name]}" for name in TOLD if name in packages]
    if told:
        yield "packages", ", ".join(told)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
