"""The run folder `runs/<recipe>/<run id>/`: the one class that knows which file stands where."""

import fnmatch
import itertools
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dltk.errors import ExitCode, LaunchError
from dltk.run.atomic import Lines, from_json, read_object, refusing, replace_file, sync_folder, to_json, write_beside
from dltk.run.lease import Lease, holder, require
from dltk.run.ledger import Ledger, clock_text
from dltk.run.metrics_log import MetricsLog

if TYPE_CHECKING:
    from dltk.run.checkpoint import Checkpoints

FORMAT = 1
Status = Literal["new", "running", "done", "crashed", "preempted", "interrupted", "lost", "imported"]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=,-]{0,119}")  # of a recipe or a run, so of a folder
NAME_RULE = "Use letters, digits and . _ + = , - only; begin with a letter or digit."
_ENDS: dict[int | None, Status] = {ExitCode.PREEMPTED: "preempted", ExitCode.INTERRUPTED: "interrupted"}
_DEPTH = 4  # folders below runs_dir in which runs are looked for


class RunFolder:
    """One logical training on the disk, over any number of attempts. Make one with `create` or `open`.

    Files: `run.json` (format, name, parent), `recipe.yaml`, `environment.json`, `data.json` (index, steps, classes),
    `metrics.jsonl`, `summary.json`, `ledger.jsonl`, `jobs.jsonl`, `LEASE`, `STOP`, and the folders `checkpoints`,
    `predictions`, `wandb`, `jobs` (scripts and code that were submitted) and `cache` (may be deleted).
    """

    def __init__(self, path: Path, token: str = "") -> None:
        self.path = path
        self._token = token  # of the launcher's lease, in a process that it started
        self._lease: Lease | None = None
        self._longest_save = 0.0  # seconds, that this process knows of

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @classmethod
    def create(
        cls,
        runs_dir: Path | str,
        recipe_name: str,
        recipe: dict[str, Any],
        *,
        run: str | None = None,
        text: str | None = None,
        parent: str | None = None,
        imported: dict[str, Any] | None = None,
    ) -> "RunFolder":
        """Makes `runs_dir/<recipe_name>/<run>`, whole from its first moment.

        Args:
            runs_dir: the folder of all runs; made when missing.
            recipe_name: name of the recipe.
            recipe: the resolved settings, plain Python; frozen into `recipe.yaml`.
            run: name of the run; by default the time and four random digits.
            text: the frozen YAML, where the caller has it; must load to `recipe`.
            parent: the run (and step) from which this one was forked.
            imported: where weights come from that no training of ours made.

        Raises:
            LaunchError: the name is taken or not a name, or the disk refuses.
        """
        for key, name in (("recipe", recipe_name), ("run", run)):
            if name is not None and not NAME.fullmatch(name):
                raise LaunchError("", key, f"{name!r} is not a name", NAME_RULE)
        folder = Path(runs_dir) / recipe_name
        with refusing(folder, "cannot make the run folder"):
            folder.mkdir(parents=True, exist_ok=True)
        about = {"format": FORMAT, "recipe": recipe_name, "created": clock_text(time.time()), "parent": parent}
        about |= {"imported": imported} if imported else {}
        while True:
            name = run or f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
            if _publish(folder / name, about | {"run": name}, text if text is not None else _frozen(recipe)):
                return cls(folder / name)
            if run:
                raise LaunchError(
                    folder / name, "run", f"there is a run named {run!r} already", "Open it to go on, or name another."
                )

    @classmethod
    def open(cls, path: Path | str, token: str = "") -> "RunFolder":
        """Opens an existing run. Raises LaunchError when it is none, or was written by a newer dltk.

        Args:
            path: the folder.
            token: of the lease under which this process writes, where its launcher holds it.
        """
        path = Path(path)
        if not (path / "recipe.yaml").is_file():
            what = "no such folder" if not path.exists() else "not a run folder (it has no recipe.yaml)"
            raise LaunchError(path, "", what, "`dltk runs` lists the runs.")
        known = read_object(path / "run.json") or {}
        number = known.get("format", FORMAT)
        if not isinstance(number, int) or number > FORMAT:
            raise LaunchError(
                path / "run.json", "format", f"{number!r} is newer than this dltk, which reads {FORMAT}", "Update dltk."
            )
        return cls(path, token)

    @property
    def name(self) -> str:
        """`<recipe>/<run id>`."""
        return f"{self.path.absolute().parent.name}/{self.path.absolute().name}"

    @cached_property
    def about(self) -> dict[str, Any]:
        """What `run.json` says: format, recipe, run, created, parent, imported."""
        return read_object(self.path / "run.json") or {}

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """The frozen settings as plain Python."""
        import yaml

        path, remedy = self.path / "recipe.yaml", "A frozen recipe is never edited; bring the original back."
        try:
            # Frozen texts quote what YAML 1.1 would misread. libyaml's parser, where there is one, is far quicker.
            settings = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(path.read_text()).get_single_data()
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            what = f"cannot be read: {' '.join(str(error).split())}"
            raise LaunchError(path, "", what, remedy) from error
        if not isinstance(settings, dict):
            raise LaunchError(path, "", "holds no settings", remedy)
        return settings

    @cached_property
    def metrics(self) -> MetricsLog:
        """`metrics.jsonl`."""
        return MetricsLog(self.path / "metrics.jsonl")

    @cached_property
    def ledger(self) -> Ledger:
        """`ledger.jsonl`."""
        return Ledger(self.path / "ledger.jsonl")

    @cached_property
    def checkpoints(self) -> "Checkpoints":
        """`checkpoints/`; only this imports torch, and only when one is written or loaded."""
        from dltk.run.checkpoint import Checkpoints

        return Checkpoints(self.path / "checkpoints")

    def lease(self, note: Callable[[str], None] | None = None) -> Lease:
        """Takes the run for this process until the `with` block ends; see `Lease`."""
        self._lease = lease = Lease(self.path / "LEASE", note).acquire()
        if lease.previous:
            self.ledger.last_heartbeat = lease.previous["heartbeat"]
        return lease

    @property
    def token(self) -> str:
        """Of the lease under which this process writes; empty where it does not train."""
        return self._lease.token if self._lease else self._token

    def require_lease(self) -> None:
        """Asked before a training writes. Raises LeaseLost when another process has taken the run over since."""
        if self.token:
            require(self.path / "LEASE", self.token)

    @property
    def status(self) -> Status:
        """Where the run stands, from lease, ledger and summary."""
        held = holder(self.path / "LEASE")
        if held and held["alive"]:
            return "running"
        attempts = self.ledger.attempts()
        if not attempts:
            return "imported" if "imported" in self.about else "new"
        last = attempts[-1]
        if last["end"] is None or str(last["reason"]).startswith("unknown"):
            return "lost"
        if last["exit_code"] == ExitCode.DONE and (self.summary() or {}).get("status") == "done":
            return "done"
        return _ENDS.get(last["exit_code"], "crashed")

    @property
    def index(self) -> str | None:
        """A hash of the data's keys, as the first attempt met them; None where none has begun."""
        found = (read_object(self.path / "data.json") or self.summary() or {}).get("index")
        return found if isinstance(found, str) else None

    @property
    def steps(self) -> int | None:
        """Steps of the whole training, as the last attempt was to make them; None where that is not known."""
        found = (read_object(self.path / "data.json") or {}).get("steps")
        return found if isinstance(found, int) else None

    @property
    def classes(self) -> list[str]:
        """Names of the data's classes by number; none where they have none."""
        found = (read_object(self.path / "data.json") or {}).get("classes")
        return [str(name) for name in found] if isinstance(found, list) else []

    def keep_index(self, index: str, steps: int, classes: Sequence[str] = ()) -> None:
        """Writes `data.json`, once and whenever the training has become longer; the first index stays."""
        if self.index is None or self.steps != steps:
            named = {"classes": list(classes)} if classes else {}
            about = {"index": self.index or index, "steps": steps, **named}
            replace_file(self.path / "data.json", to_json(about) + "\n")

    def summary(self) -> dict[str, Any] | None:
        """What `write_summary` wrote last, or None."""
        return read_object(self.path / "summary.json")

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Replaces `summary.json` atomically."""
        replace_file(self.path / "summary.json", to_json(summary, indent=1) + "\n")

    def request_stop(self, who: str, why: str, requeue: bool) -> None:
        """Asks the training to save and leave at its next batch; `requeue`: whether it should be started again."""
        record = {"who": who, "why": why, "requeue": requeue, "time": clock_text(time.time())}
        replace_file(self.path / "STOP", to_json(record) + "\n")

    def stop_request(self) -> dict[str, Any] | None:
        """The request with who, why, requeue; None when there is none. Costs one failed open, so ask at every batch."""
        try:
            text = (self.path / "STOP").read_bytes()
        except OSError:
            return None
        # Made by hand (`touch STOP`), it stops and does not come back.
        said = from_json(text) or {"why": text[:200].decode(errors="replace").strip()}
        return {"who": "unknown", "why": "", "requeue": False} | said

    def clear_stop(self) -> None:
        """Takes an answered request away."""
        with refusing(self.path / "STOP", "cannot remove"):
            (self.path / "STOP").unlink(missing_ok=True)

    def note_job(self, on: str, job: str, script: str, seconds: Mapping[str, float]) -> None:
        """Keeps as what the run was submitted, and how long that took by phase (seconds), in `jobs.jsonl`."""
        line = {"on": on, "id": job, "script": script, "time": clock_text(time.time()), "seconds": dict(seconds)}
        Lines(self.path / "jobs.jsonl").append(to_json(line))

    def jobs(self) -> list[dict[str, Any]]:
        """As what the run was submitted, oldest first: `on` (slurm, ray, here), `id`, `script`, `time`, `seconds`."""
        return list(Lines(self.path / "jobs.jsonl").objects())

    def new_job(self) -> Path:
        """A folder for the next job's script and code, `jobs/<number>`, which is not there yet."""
        jobs = self.path.absolute() / "jobs"
        return next(path for path in (jobs / str(number) for number in itertools.count(1)) if not path.exists())

    def write_environment(self, extra: dict[str, Any] | None = None) -> None:
        """Writes `environment.json` (and `environment.diff`), or, where a later attempt's differ, numbered ones."""
        from dltk.run import environment

        environment.write(self.path, extra or {})

    def keep_versions(self, job: Path) -> None:
        """Keeps, in a job's folder, with which packages its recipe was checked."""
        from dltk.run import environment

        replace_file(job / "packages.json", to_json(environment.versions(), indent=1) + "\n")

    def other_versions(self) -> list[str]:
        """The packages of this process that differ from those that the last job's recipe was checked with, in words."""
        from dltk.run import environment

        jobs, here = self.jobs(), environment.versions()
        checked = read_object(Path(jobs[-1]["script"]).parent / "packages.json") if jobs else None
        both = [(name, here.get(name, "missing"), version) for name, version in (checked or {}).items()]
        return [f"{name} {mine} (not {other})" for name, mine, other in both if mine != other]

    def note_seconds(self, seconds: Mapping[str, float]) -> None:
        """Adds to how long the current attempt's phases took, until its first step was done."""
        from dltk.run import environment

        def summed(known: dict[str, Any]) -> dict[str, Any]:
            before = known.get("seconds") or {}
            return {"seconds": {**before, **{name: before.get(name, 0.0) + more for name, more in seconds.items()}}}

        environment.add(self.path, summed)

    def note_save(self, seconds: float) -> None:
        """Keeps how long saving a checkpoint took, where nothing longer is known of this environment."""
        if seconds > self._longest_save:
            from dltk.run import environment

            self._longest_save, longest = seconds, round(seconds, 3)
            environment.add(self.path, lambda known: {"longest_save": max(longest, known.get("longest_save") or 0.0)})

    @property
    def longest_save(self) -> float | None:
        """Seconds that saving a checkpoint has taken at most, from the decision to its publication; None: unknown."""
        from dltk.run import environment

        found = [(read_object(path) or {}).get("longest_save") for path in environment.files(self.path)]
        return max((seconds for seconds in found if isinstance(seconds, int | float)), default=None)

    def predictions_path(self, split: str, protocol: str, suffix: str = ".jsonl") -> Path:
        """Where an evaluation keeps its per-sample results: `predictions/<split>-<protocol><suffix>`."""
        for key, name in (("split", split), ("protocol", protocol)):
            assert NAME.fullmatch(name), f"{key} {name!r} cannot be a part of a file's name"
        folder = self.path / "predictions"
        with refusing(folder, "cannot write"):
            folder.mkdir(exist_ok=True)
        return folder / f"{split}-{protocol}{suffix}"


def find_runs(runs_dir: Path | str, pattern: str = "*", problems: list[str] | None = None) -> list[RunFolder]:
    """The runs below a folder, by name; other folders are passed over.

    Args:
        runs_dir: the folder of all runs; may be missing.
        pattern: like `lenet5*`, matched with `<recipe>/<run>`, the recipe or the run.
        problems: gets one line for each run that cannot be opened (written by a newer dltk).
    """
    found = []
    for path in _run_folders(Path(runs_dir), _DEPTH):
        names = (f"{path.parent.name}/{path.name}", path.parent.name, path.name)
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            continue
        try:
            found.append(RunFolder.open(path))
        except LaunchError as error:
            if problems is not None:
                problems.append(str(error))
    return sorted(found, key=lambda run: run.path)


def _run_folders(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = [Path(entry) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for path in entries:
        if path.name.startswith("."):
            continue
        if (path / "run.json").is_file() and (path / "recipe.yaml").is_file():
            yield path
        elif depth > 1:
            yield from _run_folders(path, depth - 1)


def _frozen(recipe: dict[str, Any]) -> str:
    import yaml

    # Quotes whatever any YAML version would read as something else, so it loads back exactly.
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)


def _publish(path: Path, about: dict[str, Any], recipe: str) -> bool:
    """Fills a hidden folder and renames it to `path`; False when the name is taken."""
    hidden = path.with_name(f".creating-{path.name}-{os.getpid()}-{secrets.token_hex(2)}")
    with refusing(path, "cannot make the run folder"):
        hidden.mkdir()
        try:
            for name, text in (("recipe.yaml", recipe), ("run.json", to_json(about, indent=1) + "\n")):
                os.replace(write_beside(hidden / name, text.encode()), hidden / name)
            try:
                os.rename(hidden, path)  # fails on a folder that holds anything, and on a file
            except OSError:
                if os.path.lexists(path):
                    return False
                raise
            sync_folder(path.parent)
            return True
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
