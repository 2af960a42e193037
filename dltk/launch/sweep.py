"""A sweep: one recipe, some settings with several values each, a run for every combination.

What a run is called follows from its values alone, so that a sweep that is started again, or grows by a value, finds
the runs that it has.
"""

import hashlib
import itertools
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dltk import recipe
from dltk.errors import DltkError, ExitCode, LaunchError, RecipeError
from dltk.launch.here import attempt
from dltk.launch.opening import changes, is_run
from dltk.launch.rank import say
from dltk.recipe.yaml12 import flow, read
from dltk.run.folder import NAME, RunFolder
from dltk.trainer.signals import Signals

NOT_SWEPT = ("name", "run", "runs_dir", "log.group")  # a sweep sets them itself
LONGEST = 100  # characters of a run's name
EXAMPLE = "Write it as `optimizer.lr: [0.1, 0.01]`."


@dataclass(frozen=True)
class Axes:
    """Settings with several values each."""

    source: str
    values: Mapping[str, Sequence[Any]]  # dotted key -> its values
    lines: Mapping[str, str]  # dotted key -> file:line

    @classmethod
    def read(cls, path: Path) -> "Axes":
        """From a YAML file of `section.setting: [value, …]`.

        Raises:
            RecipeError: it has no axes, or one that is none.
        """
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(path, "", f"cannot be read: {error}", "Give a YAML file of axes.") from None
        found, lines = read(text, str(path))
        if not isinstance(found, dict) or not found:
            raise RecipeError(path, "", "holds no axes", EXAMPLE)
        for key, values in found.items():
            if key in NOT_SWEPT or key.partition(".")[0] == "site":
                raise RecipeError(lines[key], key, "cannot be an axis", "A sweep names its runs, and has one place.")
            if not isinstance(values, list):
                raise RecipeError(lines[key], key, f"{flow(values)} is no list of values", EXAMPLE)
            if not values:
                raise RecipeError(lines[key], key, "has no value", EXAMPLE)
            twice = [value for number, value in enumerate(values) if value in values[:number]]
            if twice:
                raise RecipeError(lines[key], key, f"{flow(twice[0])} stands twice", "Remove one of them.")
        return cls(str(path), found, lines)

    @property
    def name(self) -> str:
        """The file's, without its ending."""
        return Path(self.source).stem

    def points(self) -> Iterator[dict[str, Any]]:
        """Every combination, the last axis changing fastest."""
        for values in itertools.product(*self.values.values()):
            yield dict(zip(self.values, values, strict=True))


@dataclass(frozen=True)
class Point:
    """One run of a sweep, whose folder may not be there yet."""

    values: Mapping[str, Any]  # dotted key -> value
    wanted: recipe.Recipe
    path: Path

    @property
    def run(self) -> RunFolder | None:
        """Its folder, where it is there."""
        return RunFolder.open(self.path) if is_run(self.path) else None

    @property
    def status(self) -> str:
        """Where it stands; `missing` where there is no folder."""
        run = self.run
        return "missing" if run is None else run.status

    def made(self) -> RunFolder:
        """Its folder with the frozen recipe, made now where it is missing."""
        run = self.run
        if run is not None:
            return run
        settings, name = self.wanted.settings, self.wanted.name
        folder = Path(settings["runs_dir"])
        return RunFolder.create(folder, name, settings, run=self.path.name, text=recipe.freeze(self.wanted))


def expand(axes: Axes, *sources: Any, check_model: bool = True) -> list[Point]:
    """The runs of a sweep; each is checked, and nothing is made.

    Args:
        axes: what varies.
        sources: the recipe, overlays and `key=value`, as `recipe.load` takes them.
        check_model: also make each network on the meta device.

    Raises:
        RecipeError: a setting is wrong; one of an axis with its line.
        LaunchError: a run of this name exists already and has another recipe.
    """
    points = []
    for values in axes.points():
        loaded = _loaded(axes, values, sources, check_model)
        group = loaded["log"]["group"] or f"{loaded.name}-{axes.name}"
        name = run_name(values)
        settings = {**loaded.settings, "run": name, "log": {**loaded["log"], "group": group}}
        path = Path(settings["runs_dir"]) / loaded.name / name
        point = Point(values, recipe.Recipe(loaded.name, settings, loaded.origin, loaded.notes), path)
        run = point.run
        if run is not None:
            changes(run, point.wanted, extend=False)
        points.append(point)
    names = [point.path.name for point in points]
    twice = [name for number, name in enumerate(names) if name in names[:number]]
    if twice:
        raise LaunchError(axes.source, "", f"two of its runs would be called {twice[0]}", "Change one of their values.")
    return points


def _loaded(axes: Axes, values: Mapping[str, Any], sources: Sequence[Any], check_model: bool) -> recipe.Recipe:
    """The recipe of one combination; a mistake in an axis is told with the axis' line."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *sections, last = key.split(".")
        inner = nested
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise RecipeError(axes.lines[key], key, "lies inside another axis", "Choose one of them.")
        inner[last] = value
    try:
        return recipe.load(*sources, nested, check_model=check_model)
    except RecipeError as error:
        near = [key for key in values if error.key == key or error.key.startswith(f"{key}.")]
        if error.where != "settings" and not near:
            raise
        where = axes.lines[near[0]] if near else axes.source
        raise RecipeError(where, error.key, error.what, error.remedy) from None


def run_name(values: Mapping[str, Any]) -> str:
    """What the run of a combination is called: `lr=0.1,seed=3`.

    A key goes by its last part where that is enough. A value that cannot stand in a folder's name is written with `-`
    for what cannot, and with four digits of a hash that tell it from others.
    """
    shorts = [key.rpartition(".")[2] for key in values]
    parts = []
    for key, short in zip(values, shorts, strict=True):
        parts.append(f"{short if shorts.count(short) == 1 else key}={_word(values[key])}")
    name = ",".join(parts)
    if len(name) > LONGEST:
        name = f"{name[: LONGEST - 5]}-{_digits(name)}"
    assert NAME.fullmatch(name), f"{name!r} is no run's name"
    return name


def _word(value: Any) -> str:
    text = value if isinstance(value, str) else flow(value)
    word = re.sub(r"[^A-Za-z0-9._+-]+", "-", text)
    return word if word == text else f"{word.strip('-')}-{_digits(text)}"


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:4]


# A queue on this machine --------------------------------------------------------------------------------------------


def is_missing(point: Point) -> bool:
    """Whether a run of a sweep is to be trained; one that runs is another queue's."""
    return point.status not in ("done", "running")


def train_missing(points: Sequence[Point], tell: Callable[[Point], None]) -> ExitCode:
    """Train what is missing, one run after the other, on this machine; so may a second queue beside this one.

    A run that crashes, or is stopped by name, does not end the row; a signal does.

    Args:
        points: the runs; all folders are made before the first training begins.
        tell: is told of each run before it is trained.

    Returns:
        The signal's code; else that of a crash or of the user's mistake where there was one.
    """
    worst = ExitCode.DONE
    with Signals() as signals:
        runs = [point.made() for point in points]
        for point, run in zip(points, runs, strict=True):
            if not is_missing(point):
                continue
            tell(point)
            code = _attempt(point, run, signals)
            if signals.received is not None:
                return code
            worst = max(worst, code) if code in (ExitCode.CRASHED, ExitCode.MISTAKE) else worst
    return worst


def _attempt(point: Point, run: RunFolder, signals: Signals) -> ExitCode:
    """One attempt; what goes wrong with it is told, and is no reason to leave the others."""
    try:
        return attempt(run, changes(run, point.wanted, extend=False), signals)
    except DltkError as error:
        if not is_missing(point):
            return ExitCode.DONE  # another queue was quicker
        say(str(error))
        return ExitCode.MISTAKE
    except Exception:
        say(traceback.format_exc().rstrip())
        return ExitCode.CRASHED
