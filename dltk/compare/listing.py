"""Runs as a list: state, progress, result, and any setting or metric of each by its key; filters and order.

It reads no log but its end, so that a thousand runs are listed at once.
"""

import fnmatch
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from dltk.compare.foreign import WandbRun
from dltk.errors import LaunchError
from dltk.run.folder import RunFolder
from dltk.run.ledger import clock_seconds

ABOUT = ("created", "parent")  # keys that `run.json` has
OWN = ("run", "recipe", "status", "step", "steps", "left", *ABOUT)  # keys that every run has
_CONDITION = re.compile(r"(?P<key>[^<>=!]+)(?P<sign><=|>=|!=|=|<|>)(?P<value>.*)")


@dataclass(frozen=True)
class Listed:
    """A run, and what it says of itself in brief.

    Args:
        run: the folder.
        outline: `run`, `path`, `recipe`, `status`, `step`, `metrics`; of one that trains also `steps` in all and
            seconds `left`, where it tells.
    """

    run: RunFolder | WandbRun
    outline: dict[str, Any]

    def value(self, key: str) -> Any:
        """What stands under a key: its own, a metric's or a setting's; None where there is nothing."""
        if key in ABOUT:
            return self.run.about.get(key)
        if key in OWN:
            return self.outline.get(key)
        if key in self.outline["metrics"]:
            return self.outline["metrics"][key]
        return self.settings().get(key)

    def settings(self) -> dict[str, Any]:
        """Its settings by dotted key; none where the frozen recipe is damaged, which is no reason to list nothing."""
        from dltk.compare.settings import settings_of

        if isinstance(self.run, WandbRun):
            return self.run.settings
        try:
            return settings_of(self.run)
        except LaunchError:
            return {}


def outline(run: RunFolder | WandbRun) -> dict[str, Any]:
    """A run in brief."""
    if isinstance(run, WandbRun):
        recipe, _, name = run.name.partition("/")
        about = {"run": name, "path": str(run.path), "recipe": recipe, "status": run.status, "step": run.step}
        return {**about, "metrics": {name: value.value for name, value in run.final.items()}}
    last, summary = run.metrics.last() or {}, run.summary() or {}
    metrics = {key: value for key, value in last.items() if "/" in key}
    step = last.get("step", summary.get("step", 0))
    status = run.status
    return {
        "run": run.path.name,
        "path": str(run.path),
        "recipe": run.path.absolute().parent.name,
        "status": status,
        "step": step,
        "metrics": summary.get("metrics") or metrics,
        **(_progress(run, step, last.get("time")) if status == "running" else {}),
    }


def listed(runs: Iterable[RunFolder | WandbRun]) -> list[Listed]:
    """Runs in brief."""
    return [Listed(run, outline(run)) for run in runs]


def kept(runs: Sequence[Listed], conditions: Sequence[str]) -> list[Listed]:
    """The runs that fulfil all conditions, such as `status=done`, `optimizer.lr<0.1`, `recipe=lenet*`.

    Raises:
        LaunchError: a condition is none, or its key is no run's.
    """
    for text in conditions:
        found = _CONDITION.fullmatch(text)
        if found is None:
            what = "is no condition"
            raise LaunchError("", f"--where '{text}'", what, "Write KEY=VALUE; != < > <= >= are there too.")
        key = found["key"].strip()
        require_key(key, runs, "--where")
        holds = _test(found["sign"], found["value"].strip())
        runs = [one for one in runs if holds(one.value(key))]
    return list(runs)


def ordered(runs: Sequence[Listed], key: str) -> list[Listed]:
    """The runs by a key, the least first; with a minus before it the greatest; those without it last.

    Raises:
        LaunchError: no run has it.
    """
    down, name = key.startswith("-"), key.removeprefix("-")
    require_key(name, runs, "--sort")
    values = [(one, one.value(name)) for one in runs]
    known = [pair for pair in values if pair[1] is not None]
    known.sort(key=lambda pair: _rank(pair[1]), reverse=down)
    return [one for one, _ in known] + [one for one, value in values if value is None]


def require_key(key: str, runs: Sequence[Listed], option: str) -> None:
    """See that a key is one that some run has.

    Raises:
        LaunchError: it is not, and there are runs.
    """
    if key in OWN or not runs or any(one.value(key) is not None for one in runs):
        return
    known = dict.fromkeys(name for one in runs for name in (*OWN, *one.outline["metrics"], *one.settings()))
    if key in known:
        return  # a setting that is not set
    close = get_close_matches(key, known, 1, 0.5)
    remedy = (
        f"Did you mean '{close[0]}'?" if close else "`dltk runs RUN --json` and `dltk show RUN` list what there is."
    )
    raise LaunchError("", option, f"no run has '{key}'", remedy)


def _rank(value: Any) -> tuple[bool, Any]:
    """Numbers before texts."""
    number = isinstance(value, int | float)
    return (not number, value if number else str(value))


def _test(sign: str, text: str) -> Callable[[Any], bool]:
    """Whether a value stands so to a text; as numbers where both are, else a pattern."""
    number = _number(text)

    def same(value: Any) -> bool:
        if isinstance(value, int | float) and not isinstance(value, bool) and number is not None:
            return value == number
        said = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        return fnmatch.fnmatchcase(said, text)

    if sign in ("=", "!="):
        return lambda value: same(value) == (sign == "=")
    if number is None:
        raise LaunchError("", f"--where '…{sign}{text}'", f"'{text}' is no number", "Compare texts by = and !=.")
    order: dict[str, Callable[[float], bool]] = {
        "<": lambda value: value < number,
        ">": lambda value: value > number,
        "<=": lambda value: value <= number,
        ">=": lambda value: value >= number,
    }
    return lambda value: isinstance(value, int | float) and order[sign](value)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _progress(run: RunFolder, step: Any, logged: Any) -> dict[str, Any]:
    """Steps of a whole training, and seconds left at the pace of its attempt."""
    steps = run.steps
    if steps is None or not isinstance(step, int):
        return {}
    attempts = run.ledger.attempts()
    first = attempts[-1].get("first_step") if attempts else None
    began = clock_seconds(attempts[-1]["start"]) if attempts else None
    if not isinstance(first, int) or began is None or step <= first or not isinstance(logged, int | float):
        return {"steps": steps}
    left = (steps - step) * (logged - began) / (step - first) - (time.time() - logged)
    return {"steps": steps, "left": max(0.0, round(left, 1))}
