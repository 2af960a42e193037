"""A comparison for people: settings, results, differences, curves, cost and claims, as tables of the terminal."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.text import Text

from dltk.cli import terminal
from dltk.cli.plot import spark
from dltk.compare.comparison import Comparison
from dltk.compare.curves import Aligned, common_end
from dltk.compare.differences import Compared
from dltk.compare.groups import ABSENT, Group, Setting
from dltk.compare.results import Cell, Quantity
from dltk.run.claim import rounded
from dltk.run.statistics import Difference

FEW = 3  # groups that stand side by side; more stand below one another
VALUES = 6  # of a setting, shown of many groups
SPARK = 22  # characters of a small plot
LONGEST = 18  # characters of a group's name beside one
MARK = "*"  # of what selected the weights that it is of


def show(found: Comparison) -> None:
    """Print it."""
    _show_groups(found)
    for line in found.notes:
        terminal.say(f"Note: {line}")
    _show_settings(found)
    _show_results(found)
    _show_differences(found)
    for metric, lines in found.curves.items():
        _show_curves(metric, lines, found.axis)
    _show_cost(found)
    for group, claim in zip(found.groups, found.claims, strict=True):
        if claim is not None:
            terminal.say(f"Claim of {group.name}: {claim.line}")


def cell_text(one: Cell, runs: int) -> str:
    """A mean and half its interval, as a table shows it."""
    few = f" ({len(one.values)} of {runs} runs)" if 0 < len(one.values) < runs else ""
    if not one.values:
        return ABSENT
    if one.mean is None:
        return f"not finite{few}"
    spread = "" if one.half is None else f" ± {rounded(one.half, one.half)}"
    return f"{rounded(one.mean, one.half)}{spread}{few}"


def heading(quantity: Quantity) -> str:
    """A metric's name, marked where it chose the weights that it is of."""
    return f"{quantity.metric}{MARK if quantity.selecting else ''}"


def footnotes(found: Comparison) -> Iterator[str]:
    """What the results' numbers are."""
    cells = [one for row in found.cells for one in row]
    if any(one.half is not None for one in cells):
        yield "± is half the 95 % interval of the mean over the runs (Student's t)."
    if any(bold for row in found.bold for bold in row):
        yield "Bold: the best, and what is not shown to be worse."
    if any(quantity.selecting for quantity in found.quantities):
        yield f"{MARK} chose the checkpoint that it is of, so it is better than on data that chose nothing."
    yield from _steps(found)
    yield from _sampling(found)


def _steps(found: Comparison) -> Iterator[str]:
    """Which checkpoints the reported numbers are of."""
    said: dict[str, list[str]] = {}
    for at, quantity in enumerate(found.quantities):
        if quantity.of != "reported":
            continue
        steps = [step for row in found.cells for step in row[at].steps.values() if step is not None]
        runs = [run for group in found.groups for run in group.runs if quantity.of_run(run)]
        by = sorted({run.monitor for run in runs if run.monitor})
        chosen = f", chosen by {', '.join(by)}" if quantity.checkpoint == "best" and by else ""
        span = f"step {steps[0]:,}" if len(set(steps)) == 1 else f"steps {min(steps):,} to {max(steps):,}"
        what = f"{quantity.checkpoint} checkpoint ({span}{chosen})" if steps else f"{quantity.checkpoint} checkpoint"
        said.setdefault(f"of the {what}, {quantity.protocol}.", []).append(quantity.metric)
    for what, metrics in said.items():
        yield f"{', '.join(metrics)}: {what}"


def _sampling(found: Comparison) -> Iterator[str]:
    """What the size of the test part leaves open."""
    if found.primary is None or found.primary not in found.quantities:
        return
    one = found.cells[found.baseline][found.quantities.index(found.primary)]
    if one.sampling is not None and one.mean is not None:
        low, high = one.sampling
        yield (
            f"{one.samples:,} samples tell a {found.primary.metric} of {rounded(one.mean, one.half)} to within "
            f"[{low:.3g}, {high:.3g}], whatever the seeds (Clopper-Pearson)."
        )


def _show_groups(found: Comparison) -> None:
    runs = sum(len(group.runs) for group in found.groups)
    terminal.say(f"{runs} run{'s'[: runs != 1]} in {len(found.groups)} group{'s'[: len(found.groups) != 1]}")
    rows = [(group.name, len(group.runs), _seeds(group), _states(group), _reached(group)) for group in found.groups]
    terminal.show(terminal.table(["group", ">runs", "seeds", "status", ">step"], rows))


def _seeds(group: Group) -> str:
    seeds = list(dict.fromkeys(str(run.seed) for run in group.runs))
    return ", ".join(seeds) if len(seeds) <= 8 else f"{', '.join(seeds[:6])} … {seeds[-1]}"


def _states(group: Group) -> str:
    states = Counter(run.status for run in group.runs)
    return ", ".join(f"{count} {state}" if len(group.runs) > 1 else state for state, count in states.items())


def _reached(group: Group) -> str:
    steps = sorted({run.step for run in group.runs})
    return f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,}–{steps[-1]:,}"


# Settings


def _show_settings(found: Comparison) -> None:
    telling = [one for one in found.settings if not one.harmless]
    if len(found.groups) > 1 and not telling:
        terminal.say("No setting that can change the result differs, but for the seed.")
    if telling and len(found.groups) <= FEW:
        rows = [(one.key, *(values_text(values) for values in one.values)) for one in telling]
        terminal.show(terminal.table(["differs", *(group.name for group in found.groups)], rows))
    elif telling:
        rows = [(one.key, values_text(_distinct(one))) for one in telling]
        terminal.show(terminal.table(["differs", "values"], rows))
    rest = harmless(found)
    if rest:
        terminal.say(f"Also different, without effect on the result: {', '.join(rest)}")


def harmless(found: Comparison) -> list[str]:
    """Settings that differ and cannot change the result; a claim's parts as one."""
    keys = (one.key for one in found.settings if one.harmless)
    return list(dict.fromkeys("claim" if key.startswith("claim.") else key for key in keys))


def _distinct(one: Setting) -> list[str]:
    return list(dict.fromkeys(value for values in one.values for value in values))


def values_text(values: Sequence[str]) -> str:
    """The values of a setting, the first of many."""
    more = f" … {len(values) - VALUES} more" if len(values) > VALUES else ""
    return " · ".join(values[:VALUES]) + more


# Results


def _show_results(found: Comparison) -> None:
    if not found.quantities:
        terminal.say("Nothing has been measured yet.")
        return
    counts = [len(group.runs) for group in found.groups]
    cells = [
        [Text(cell_text(one, count), style="bold" if bold else "") for one, bold in zip(row, bolds, strict=True)]
        for row, bolds, count in zip(found.cells, found.bold, counts, strict=True)
    ]
    if len(found.groups) <= FEW:
        rows = [
            (heading(quantity), quantity.where, *(row[at] for row in cells))
            for at, quantity in enumerate(found.quantities)
        ]
        terminal.show(terminal.table(["|result", "of", *(f">{group.name}" for group in found.groups)], rows))
    else:
        lines = [(group.name, *row) for group, row in zip(found.groups, cells, strict=True)]
        heads = [f">{heading(quantity)}\n{quantity.where}" for quantity in found.quantities]
        terminal.show(terminal.table(["result", *heads], lines))
    for line in footnotes(found):
        terminal.say(line)


# Differences


def _show_differences(found: Comparison) -> None:
    if found.primary is None or not found.differences:
        return
    base = found.groups[found.baseline].name
    title = f"{found.primary.metric} ({found.primary.where}), less that of {base}"
    heads = ["group", ">difference", ">95 % interval", ">p", ">Holm", "|by", "verdict"]
    rows: list[Sequence[object]] = []
    for one in found.differences:
        rows += difference_rows(one)
    terminal.say()
    terminal.show(terminal.table(heads, rows, title))
    for line in difference_notes(found):
        terminal.say(line)


def difference_notes(found: Comparison) -> Iterator[str]:
    """How the differences were tested, and what they could have shown."""
    yield from (f"{one.group}: {one.why}." for one in found.differences if one.why)
    tests = dict.fromkeys(text for one in found.differences for text in _tests(one))
    if tests:
        yield f"By {'; by '.join(tests)}."
    if any(one.by == "sample" for one in found.differences):
        yield "By sample alone the verdict is on these networks; other seeds may say otherwise."
    if sum(one.p is not None for one in found.differences) > 1:
        yield "Holm: p adjusted for so many comparisons; the verdict goes by it, at 5 %."
    seen = {one.group: least for one in found.differences if (least := one.detectable) is not None}
    if seen:
        said = ", ".join(f"{name} {least:.2g}" for name, least in list(seen.items())[:FEW])
        more = f" … {len(seen) - FEW} more" if len(seen) > FEW else ""
        among = ", so adjusted" if sum(one.p is not None for one in found.differences) > 1 else ""
        yield f"The smallest difference that these runs would show four times in five{among}: {said}{more}."


def _tests(one: Compared) -> Iterator[str]:
    if one.seeds is not None and one.seeds.p is not None:
        yield f"seed: {one.seeds.test}"
    if one.samples is not None:
        yield f"sample: {one.samples.test}, {one.count:,} samples"


def difference_rows(one: Compared) -> Iterator[tuple[object, ...]]:
    """A row for each way in which the difference was looked at; the verdict stands at the one that it goes by."""
    ways = [(way, found) for way, found in (("seed", one.seeds), ("sample", one.samples)) if found is not None]
    told = {way for way, found in ways if found.p is not None} or {way for way, _ in ways[:1]}
    name: object = one.group
    for way, found in ways:
        if way not in told:
            continue
        mine = way == one.by
        adjusted = p_text(one.adjusted) if mine else ""
        verdict = Text(one.verdict, style="bold") if mine else Text("" if one.by else one.verdict)
        yield (name, f"{found.mean:+.4g}", interval_text(found), p_text(found.p), adjusted, way, verdict)
        name = ""
    if not ways:
        yield (name, ABSENT, ABSENT, ABSENT, "", "", one.verdict)


def interval_text(found: Difference) -> str:
    """`[-1.2, 0.3]`."""
    return ABSENT if found.low is None or found.high is None else f"[{found.low:+.3g}, {found.high:+.3g}]"


def p_text(p: float | None) -> str:
    """A p in two digits, small ones as a bound."""
    if p is None:
        return ABSENT
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


# Curves


def _show_curves(metric: str, lines: Sequence[Aligned], axis: str) -> None:
    """Small plots of one metric on common scales, and its values where the shortest curve ends."""
    lines = [line for line in lines if any(map(math.isfinite, line.mean))]
    if not lines:
        return
    low, high = min(_least(line) for line in lines), max(_most(line) for line in lines)
    end = common_end(lines)
    rows = []
    for line in lines:
        known = line.mean[[math.isfinite(value) for value in line.mean]]
        at_end = line.where(end) if end is not None else None
        rows.append(
            (_short(line.group), spark(line.mean.tolist(), low, high, SPARK), terminal.number(float(known[0])),
             terminal.number(float(known[-1])), terminal.number(at_end))
        )  # fmt: skip
    ends = f"{axis} {_place(float(lines[0].at[0]), axis)} to {_place(float(lines[0].at[-1]), axis)}"
    terminal.say()
    last = f">at {axis} {_place(end, axis)}" if end is not None else ">at the common end"
    terminal.show(terminal.table([f"|{metric}", f"|{ends}", ">first", ">last", last], rows))


def _place(value: float, axis: str) -> str:
    return f"{value:,.0f}" if axis in ("step", "samples") else f"{value:.3g}"


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _least(line: Aligned) -> float:
    return min(value for value in line.mean.tolist() if math.isfinite(value))


def _most(line: Aligned) -> float:
    return max(value for value in line.mean.tolist() if math.isfinite(value))


# Cost


def _show_cost(found: Comparison) -> None:
    rows = [
        (
            group.name,
            hours_text(one.device_hours),
            hours_text(one.hours),
            one.attempts or ABSENT,
            terminal.number(one.rates.get("time/samples_per_second")),
            ABSENT if "time/mfu" not in one.rates else f"{100 * one.rates['time/mfu']:.3g} %",
        )
        for group, one in zip(found.groups, found.costs, strict=True)
    ]
    heads = ["cost", ">device time", ">time a run", ">attempts", ">samples/s", ">MFU"]
    terminal.show(terminal.table(heads, rows))


def hours_text(hours: float | None) -> str:
    """Hours as a length of time."""
    return ABSENT if hours is None else terminal.seconds_text(3600 * hours)
