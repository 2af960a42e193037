"""Runs of the same settings are one group, its seeds are replicates; in what groups differ."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from dltk.compare.seen import Seen
from dltk.errors import LaunchError
from dltk.recipe import harmless

SEED = "train.seed"
ABSENT = "–"  # of a setting that a run does not have
_NAMED = 3  # settings that make a group's name at most
_LONG = 40  # characters of it
_SHORT = {"model": "model.architecture", "recipe": "name", "seed": SEED}  # what people call some settings


@dataclass
class Group:
    """Runs that are compared as one setting.

    Args:
        name: what they are called.
        by: the settings by which they were put together, where it was said by which.
        runs: of different seeds, or of other settings that were not asked for.
        varying: settings that can change the result, are not the seed, and differ inside the group.
    """

    name: str
    by: dict[str, Any]
    runs: list[Seen]
    varying: list[str] = field(default_factory=list)

    def replicates(self) -> dict[str, Seen]:
        """The runs by what a run of another group must share to be its pair: the seed, and what else varies inside."""
        keys = [SEED, *self.varying]
        return {json.dumps([run.parent, *(run.settings.get(key) for key in keys)]): run for run in self.runs}


@dataclass(frozen=True)
class Setting:
    """A setting that differs between runs.

    Args:
        key: dotted.
        values: of each group, the distinct ones as text.
        harmless: it cannot change the result.
    """

    key: str
    values: list[list[str]]
    harmless: bool


def grouped(runs: Sequence[Seen], by: Sequence[str] = ()) -> tuple[list[Group], list[str]]:
    """The groups, in the order of their first runs, and notes on runs that were left out.

    Args:
        runs: which.
        by: settings by whose values they are put together; none: all that can change the result, but for the seed. A
            fork is then by itself, for its recipe does not tell all of it.

    Raises:
        LaunchError: no run has such a setting.
    """
    keys = [_known(key, runs) for key in by]
    found: dict[str, Group] = {}
    for run in runs:
        value = {key: run.settings.get(key) for key in keys}
        label = json.dumps(list(value.values()), sort_keys=True) if keys else f"{run.hash()} {run.parent or ''}"
        found.setdefault(label, Group("", value, [])).runs.append(run)
    groups, notes = list(found.values()), []
    for group in groups:
        group.varying = [key for key in differing(group.runs) if key not in (*keys, SEED) and not harmless(key)]
        notes += _once(group)
    _name(groups)
    return groups, notes


def differing(runs: Sequence[Seen]) -> list[str]:
    """Settings whose values are not the same in all runs, in the order of the recipes."""
    first = runs[0].settings
    found: dict[str, None] = {}
    for run in runs[1:]:
        if run.settings == first:
            continue
        for key in (*first, *(key for key in run.settings if key not in first)):
            if _apart(first.get(key), run.settings.get(key)):
                found[key] = None
    order = {key: number for number, key in enumerate(first)}
    return sorted(found, key=lambda key: order.get(key, len(order)))


def differences(groups: Sequence[Group]) -> list[Setting]:
    """In which settings the runs differ, those that can change the result first; the seed and names are no difference.

    Settings that differ inside groups only are among them.
    """
    every = [run for group in groups for run in group.runs]
    found = []
    for key in differing(every):
        if key in (SEED, "name", "run", "runs_dir"):
            continue
        values = [list(dict.fromkeys(text_of(run.settings.get(key)) for run in group.runs)) for group in groups]
        found.append(Setting(key, values, harmless(key)))
    return sorted(found, key=lambda one: one.harmless)


def text_of(value: Any) -> str:
    """A setting's value as a person would write it."""
    if value is None:
        return ABSENT
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def nearest(name: str, known: Sequence[str]) -> str:
    """A remedy that names what is meant, or what there is."""
    close = get_close_matches(name, known, 1, 0.5)
    if close:
        return f"Did you mean '{close[0]}'?"
    shown = ", ".join(sorted(known)[:12])
    return f"There are: {shown}{' …' if len(known) > 12 else ''}." if known else ""


def _known(key: str, runs: Sequence[Seen]) -> str:
    key = _SHORT.get(key, key)
    known = dict.fromkeys(name for run in runs for name in run.settings)
    if key not in known:
        raise LaunchError("", "--by", f"no run has a setting '{key}'", nearest(key, list(known)))
    return key


def _apart(a: Any, b: Any) -> bool:
    return a != b or type(a) is not type(b)


def _once(group: Group) -> list[str]:
    """Leave all but one of the runs that are the same training; notes on those left out."""
    kept: dict[str, Seen] = {}
    notes = []
    keys = [SEED, *group.varying]
    for run in group.runs:
        label = json.dumps([run.settings.get(key) for key in keys] + [run.parent])
        other = kept.setdefault(label, run)
        if other is run:
            continue
        better, worse = (run, other) if _rank(run) > _rank(other) else (other, run)
        kept[label] = better
        notes.append(f"{worse.name} is left out: {better.name} has the same settings and the same seed {run.seed}.")
    group.runs = list(kept.values())
    return notes


def _rank(run: Seen) -> tuple[bool, int, str]:
    """Which of two equal runs counts: a finished one, the longer, the later."""
    return run.status == "done", run.step, run.created or ""


# Names


def _name(groups: Sequence[Group]) -> None:
    """Give each group the shortest name that tells it from the others."""
    for group in groups:
        if group.by:
            group.name = ", ".join(f"{_last(key)}={text_of(value)}" for key, value in group.by.items())
        else:
            group.name = group.runs[0].recipe
    by_name: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        by_name[group.name].append(group)
    for name, same in by_name.items():
        if len(same) == 1:
            continue
        keys = _telling(same)
        for group in same:
            said = ", ".join(f"{_last(key)}={text_of(group.runs[0].settings.get(key))}" for key in keys)
            fits = keys and len(keys) <= _NAMED and len(said) <= _LONG
            alone = len(same) == len(groups)  # then the recipe's name tells nothing
            group.name = (said if alone else f"{name} {said}") if fits else group.runs[0].name
    _number(groups)


def _telling(groups: Sequence[Group]) -> list[str]:
    """Settings in which groups differ and their own runs do not."""
    every = differing([group.runs[0] for group in groups])
    inside = {key for group in groups for key in group.varying}
    return [key for key in every if key != SEED and key not in inside and not harmless(key)]


def _last(key: str) -> str:
    section, _, last = key.rpartition(".")
    return section.rpartition(".")[2] if section and last == "name" else last


def _number(groups: Sequence[Group]) -> None:
    """Tell groups apart that would still be called the same."""
    seen: dict[str, int] = defaultdict(int)
    for group in groups:
        seen[group.name] += 1
        if seen[group.name] > 1:
            group.name = f"{group.name} ({seen[group.name]})"


def by_name(groups: Sequence[Group], name: str) -> int:
    """The place of a group.

    Raises:
        LaunchError: there is none of this name.
    """
    names = [group.name for group in groups]
    for at, group in enumerate(groups):
        if (
            name == group.name
            or name in [run.name for run in group.runs]
            or name in [run.path.name for run in group.runs]
        ):
            return at
    raise LaunchError("", "--baseline", f"there is no group '{name}'", nearest(name, names))
