"""All of a comparison at once, for whatever shows it: a terminal, a table, a picture, a page."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dltk.compare.claims import objection, untested
from dltk.compare.curves import Aligned, aligned
from dltk.compare.differences import Compared, compared, ties
from dltk.compare.groups import Group, Setting, by_name, differences, grouped
from dltk.compare.results import Cell, Quantity, cell, common, every, quantities
from dltk.compare.seen import Seen
from dltk.run.claim import Verdict, verdict


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a group took.

    Args:
        device_hours: over all attempts of its runs; None where no ledger tells.
        hours: of training, of one run in the mean.
        rates: medians over the runs of `time/samples_per_second`, `time/mfu`, `time/data_wait`.
        attempts: over its runs.
    """

    device_hours: float | None
    hours: float | None
    rates: dict[str, float]
    attempts: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What differs, what came out, whether it is more than chance, how it went, what it cost.

    Args:
        groups: what is compared; the baseline stands at `baseline`.
        settings: in which they differ.
        notes: one line each.
        quantities: what was measured.
        cells: by group, then by quantity.
        bold: which cells are the best of their quantity, or not shown to be worse.
        primary: the quantity that differences are of; None where no two groups have one in common.
        differences: the other groups beside the baseline.
        axis: of the curves.
        curves: by metric, of the groups that have it.
        costs: by group.
        claims: the verdict on each group's claim; None where it has none.
    """

    groups: list[Group]
    baseline: int
    settings: list[Setting]
    notes: list[str]
    quantities: list[Quantity]
    cells: list[list[Cell]]
    bold: list[list[bool]]
    primary: Quantity | None
    differences: list[Compared]
    axis: str
    curves: dict[str, list[Aligned]]
    costs: list[Cost]
    claims: list[Verdict | None]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of a comparison.

    Args:
        by: settings by which runs are put together.
        metrics: what is compared, and whose curves are drawn; the first one's differences are tested. None: what
            evaluations reported, the monitored metrics, the training's loss.
        baseline: name of the group, or of one of its runs, that the others stand beside; None: the first that has the
            metric.
        axis: of the curves.
    """

    by: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    baseline: str | None = None
    axis: str = "step"


def compare(runs: Sequence[Seen], asked: Asked = Asked()) -> Comparison:
    """Compare runs.

    Raises:
        LaunchError: a setting, a metric or a group that is asked for does not exist.
    """
    groups, notes = grouped(runs, asked.by)
    found = quantities(groups, asked.metrics)
    cells = [[cell(group, quantity) for quantity in found] for group in groups]
    primary = common(groups, [one for one in found if one.metric == asked.metrics[0]] if asked.metrics else found)
    baseline = _first(groups, primary) if asked.baseline is None else by_name(groups, asked.baseline)
    bold = [_bold(groups, quantity, [row[at] for row in cells]) for at, quantity in enumerate(found)]
    drawn = asked.metrics or (*{run.monitor: None for run in runs if run.monitor}, "train/loss")
    drawn = drawn if any(name in run.curves for run in runs for name in drawn) else tuple(one.metric for one in found)
    return Comparison(
        groups=groups,
        baseline=baseline,
        settings=differences(groups),
        notes=[*notes, *_remarks(groups, primary, cells)],
        quantities=found,
        cells=cells,
        bold=[list(row) for row in zip(*bold, strict=True)] if bold else [[] for _ in groups],
        primary=primary,
        differences=compared(groups, primary, baseline) if primary is not None else [],
        axis=asked.axis,
        curves={name: lines for name in drawn if (lines := aligned(groups, name, asked.axis))},
        costs=[cost(group) for group in groups],
        claims=[claimed(group) for group in groups],
    )


def cost(group: Group) -> Cost:
    """What a group's runs took."""
    spent = [run.device_hours for run in group.runs if run.device_hours is not None]
    hours = [run.hours for run in group.runs if run.hours is not None]
    names = dict.fromkeys(name for run in group.runs for name in run.rates)
    return Cost(
        device_hours=sum(spent) if spent else None,
        hours=statistics.fmean(hours) if hours else None,
        rates={name: statistics.median(run.rates[name] for run in group.runs if name in run.rates) for name in names},
        attempts=sum(len(run.attempts) for run in group.runs),
    )


def claimed(group: Group) -> Verdict | None:
    """The verdict of a group's runs on the claim of their recipe; None where it has none."""
    claim = next((run.claim for run in group.runs if run.claim is not None), None)
    if claim is None:
        return None
    if group.varying:
        return untested(claim, f"the runs also differ in {', '.join(group.varying)}")
    reasons = {run.name: objection(run, claim) for run in group.runs}
    fitting = [run for run in group.runs if reasons[run.name] is None]
    if not fitting:
        return untested(claim, next(reason for reason in reasons.values() if reason is not None))
    return verdict([run.evaluation["metrics"][claim.metric] for run in fitting], claim)


def _first(groups: Sequence[Group], primary: Quantity | None) -> int:
    """The first group that has what is compared; the first one where nothing is."""
    have = (at for at, group in enumerate(groups) if primary is not None and cell(group, primary).mean is not None)
    return next(have, 0)


def _bold(groups: Sequence[Group], quantity: Quantity, column: Sequence[Cell]) -> list[bool]:
    """Which groups' cells are the best or tie with it; nothing is best of what merely chose, nor of a rate."""
    if quantity.selecting or quantity.of == "final" or len(groups) < 2:
        return [False] * len(groups)
    return ties(groups, quantity, [one.mean for one in column])


def _remarks(groups: Sequence[Group], primary: Quantity | None, cells: Sequence[Sequence[Cell]]) -> list[str]:
    """What a reader should know before the numbers."""
    remarks = []
    for group in groups:
        if group.varying:
            remarks.append(f"{group.name}: its runs also differ in {', '.join(group.varying)}.")
        going_on = sum(run.status != "done" for run in group.runs)
        if going_on and len(groups) > 1:
            remarks.append(f"{group.name}: {going_on} of its {len(group.runs)} runs not done.")
        forked = [run for run in group.runs if run.parent]
        remarks += [f"{run.name} was forked from {run.parent}: its recipe does not tell all of it." for run in forked]
    if primary is None and len(groups) > 1:
        have = [(group.name, dict.fromkeys(one.metric for one in every(group.runs))) for group in groups[:4]]
        said = "; ".join(f"{name} has {', '.join(list(names)[:6]) or 'none'}" for name, names in have)
        remarks.append(f"No metric is common to two of them: {said}.")
    indexes = {run.index for group in groups for run in group.runs if run.index}
    if len(indexes) > 1:
        remarks.append(f"They were trained on {len(indexes)} different sets of samples, by the hash of their keys.")
    wild = [(group.name, max((one.wild for one in row), default=0)) for group, row in zip(groups, cells, strict=True)]
    remarks += [f"{name}: {count} of its runs ended with a number that is not finite." for name, count in wild if count]
    return remarks


# As plain Python


def plain(found: Comparison) -> dict[str, Any]:
    """The comparison as JSON has it."""
    return {
        "groups": [_group(found, at) for at in range(len(found.groups))],
        "baseline": found.groups[found.baseline].name,
        "settings": [
            {"key": one.key, "harmless": one.harmless, "values": dict(zip(_names(found), one.values, strict=True))}
            for one in found.settings
        ],
        "notes": found.notes,
        "compared": None if found.primary is None else _quantity(found.primary),
        "differences": [asdict(one) for one in found.differences],
        "curves": {
            "axis": found.axis,
            **{name: [_curve(line) for line in lines] for name, lines in found.curves.items()},
        },
    }


def _names(found: Comparison) -> list[str]:
    return [group.name for group in found.groups]


def _group(found: Comparison, at: int) -> dict[str, Any]:
    group, claim = found.groups[at], found.claims[at]
    return {
        "name": group.name,
        "by": group.by,
        "runs": [_run(run) for run in group.runs],
        "results": [
            {**_quantity(quantity), **asdict(one), "best": bold}
            for quantity, one, bold in zip(found.quantities, found.cells[at], found.bold[at], strict=True)
        ],
        "cost": asdict(found.costs[at]),
        "claim": None if claim is None else asdict(claim),
    }


def _run(run: Seen) -> dict[str, Any]:
    return {
        "run": run.name,
        "path": str(run.path),
        "status": run.status,
        "seed": run.seed,
        "step": run.step,
        "attempts": len(run.attempts),
        "digest": run.digest,
    }


def _quantity(quantity: Quantity) -> dict[str, Any]:
    return {**asdict(quantity), "lower_is_better": quantity.lower_is_better}


def _curve(line: Aligned) -> dict[str, Any]:
    def numbers(values: Sequence[float]) -> list[float | None]:
        return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]

    parts = {"at": line.at, "mean": line.mean, "low": line.low, "high": line.high}
    return {"group": line.group, "runs": line.runs, **{name: numbers(part.tolist()) for name, part in parts.items()}}
