"""`checkpoints/`: directories with a manifest of sha256, published whole, verified before they are trusted.

`step-00000120/` holds `state.pt` and `manifest.json`. It is written under a hidden name, flushed to the disk and
renamed; `LATEST` names the newest. A kill at any moment leaves every published checkpoint as it was. A damaged one is
named and skipped, never loaded, never deleted. This file holds the toolkit's only call of `torch.load`.
"""

import contextlib
import hashlib
import io
import json
import math
import os
import re
import shutil
import warnings as python_warnings
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, cast

from dltk.errors import LaunchError
from dltk.run.atomic import read_object, refusing, replace_file, sync_folder, to_json, write_whole
from dltk.run.lease import LeaseLost
from dltk.run.tensors import tensor_bytes

FORMAT = 1
_NAME = re.compile(r"step-(\d{8,})")
_MARGIN = 1 << 20  # bytes a checkpoint takes beside its tensors, and a little air


class Checkpoints:
    """The checkpoints of one run; one process writes (the lease's holder), any may read.

    Args:
        path: the folder; made by the first write.
        warn: called with one line for each damaged checkpoint met.
    """

    def __init__(self, path: Path, warn: Callable[[str], None] | None = None) -> None:
        self.path = Path(path)
        self.warnings: list[str] = []  # the same lines
        self.warn = warn
        self._sound: dict[Path, tuple[tuple[str, int, int], ...]] = {}  # verified in this process: see _signature

    def steps(self) -> dict[int, Path]:
        """Every published checkpoint by step, rising, damaged ones too."""
        found = {}
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self.path):
                match = _NAME.fullmatch(entry.name)
                if match and entry.is_dir():
                    found[int(match[1])] = self.path / entry.name
        return dict(sorted(found.items()))

    def write(
        self,
        step: int,
        state: dict[str, Any],
        meta: dict[str, Any] | None = None,
        permit: Callable[[], None] = lambda: None,
    ) -> Path:
        """Saves a state under its step and makes it the latest.

        A sound checkpoint of this step is kept as it is (it only learns new metrics); a damaged one is moved aside.

        Args:
            step: optimiser steps done.
            state: tensors and plain Python types, which load without pickle.
            meta: goes into the manifest: `epoch`, `samples`, `world_size`, `strategy`, `metric` ({name: value}).
            permit: asked when all is written and nothing published yet; raises where the run has gone to another.

        Raises:
            LaunchError: no room, not writable, or something in the state that could not be loaded again. Nothing half
                written stays under a final name, and earlier checkpoints are untouched.
        """
        meta = meta or {}
        target = self.path / f"step-{step:08d}"
        with refusing(target, "cannot write the checkpoint"):
            self.path.mkdir(parents=True, exist_ok=True)
            self._sweep()
            if target.exists() and self._is_sound(target):
                permit()
                self._learn(target, meta.get("metric") or {})
            else:
                self._make(target, step, state, meta, permit)
        replace_file(self.path / "LATEST", target.name + "\n")
        return target

    def newest(self) -> Path | None:
        """The checkpoint of the highest step that verifies; damaged ones on the way are reported and passed over.

        `LATEST` is not asked: a kill between a checkpoint's publication and the pointer's loses nothing this way.
        """
        for path in reversed(self.steps().values()):
            if self._is_sound(path):
                return path
        return None

    def at(self, step: int) -> Path:
        """The sound checkpoint of a step. Raises LaunchError with the steps there are."""
        path = self.steps().get(step)
        if path is None:
            there = ", ".join(map(str, self.steps())) or "none"
            raise LaunchError(self.path, f"step {step}", "no such checkpoint", f"There are: {there}.")
        damage = self.verify(path)
        if damage:
            raise LaunchError(path, "", f"is damaged: {damage}", "Choose another step.")
        return path

    def best(self, metric: str, mode: Literal["min", "max"]) -> Path | None:
        """The sound checkpoint whose manifest has the best value of a metric (of equals the later), or None."""
        return next((path for path in self._by_metric(metric, mode) if self._is_sound(path)), None)

    def prune(
        self, keep_last: int, keep_best: int, metric: str | None = None, mode: Literal["min", "max"] = "min"
    ) -> list[Path]:
        """Deletes checkpoints beyond the newest and the best ones; returns what was deleted.

        Only sound checkpoints count as kept, and only sound ones are deleted: a damaged one stays where it is.

        Args:
            keep_last: newest ones kept, at least one.
            keep_best: best ones by `metric` kept.
            metric: name in the manifests.
            mode: whether the metric should be small or large.
        """
        newest_first = list(reversed(self.steps().values()))
        kept = self._first_sound(newest_first, max(1, keep_last))
        if metric is not None:
            kept |= self._first_sound(self._by_metric(metric, mode), keep_best)
        if not kept:
            return []
        removed = [path for path in newest_first if path not in kept and self._is_sound(path)]
        for path in removed:
            with refusing(path, "cannot delete the checkpoint"):
                hidden = path.with_name(f".removing-{path.name}-{os.getpid()}")
                os.rename(path, hidden)  # so that a kill leaves no half of one under its name
                shutil.rmtree(hidden)
            self._sound.pop(path, None)
        return removed

    def verify(self, path: Path) -> str | None:
        """What is wrong with a checkpoint, or None when every file is as its manifest says."""
        damage = _damage(Path(path))
        if damage is None:
            self._sound[Path(path)] = _signature(Path(path))
        return damage

    def load(self, path: Path) -> dict[str, Any]:
        """The state of a checkpoint, tensors on the CPU. Raises LaunchError when it is damaged or not plain data."""
        damage = self.verify(path)
        if damage:
            raise LaunchError(path, "", f"is damaged: {damage}", "Load another checkpoint; this one is left as it is.")
        return load_file(Path(path) / "state.pt")

    def manifest(self, path: Path) -> dict[str, Any]:
        """What a manifest says: `files`, and what `write` was given about them. Raises LaunchError without one."""
        found = read_object(Path(path) / "manifest.json")
        if found is None:
            raise LaunchError(path, "manifest.json", "is missing or damaged", "Choose another checkpoint.")
        return found

    def _make(
        self, target: Path, step: int, state: dict[str, Any], meta: dict[str, Any], permit: Callable[[], None]
    ) -> None:
        self._check_room(state)
        hidden = self.path / f".writing-{target.name}-{os.getpid()}"
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir()
        try:
            files = {"state.pt": _save(state, hidden / "state.pt")}
            _refuse_unloadable(hidden / "state.pt", target)
            manifest = {"format": FORMAT, "step": step, **meta, "files": files}
            replace_file(hidden / "manifest.json", to_json(manifest, indent=1) + "\n")
            permit()
            self._set_aside(target)
            os.rename(hidden, target)
            sync_folder(self.path)
        except LeaseLost:
            raise
        except LaunchError as error:
            raise LaunchError(target, error.key, error.what, error.remedy) from error
        finally:
            shutil.rmtree(hidden, ignore_errors=True)
        self._sound[target] = _signature(target)

    def _check_room(self, state: dict[str, Any]) -> None:
        need, free = tensor_bytes(state) + _MARGIN, shutil.disk_usage(self.path).free
        if free < need:
            raise LaunchError(
                self.path,
                "",
                f"no room for a checkpoint: it takes {need / 1e6:.1f} MB, {free / 1e6:.1f} MB are free",
                "Free some space and start the same command again: the run goes on.",
            )

    def _set_aside(self, target: Path) -> None:
        """Renames a damaged checkpoint that stands where a good one is to come."""
        number = 1
        while target.exists():
            aside = target.with_name(f"damaged-{target.name}-{number}")
            if not aside.exists():
                os.rename(target, aside)
            number += 1

    def _learn(self, path: Path, metric: dict[str, Any]) -> None:
        manifest = self.manifest(path)
        known = manifest.get("metric") or {}
        if {**known, **metric} != known:
            replace_file(path / "manifest.json", to_json(manifest | {"metric": known | metric}, indent=1) + "\n")

    def _sweep(self) -> None:
        """Removes what killed attempts left half written or half deleted."""
        for entry in os.scandir(self.path):
            if entry.name.startswith((".writing-", ".removing-")) and not entry.name.endswith(f"-{os.getpid()}"):
                shutil.rmtree(entry.path, ignore_errors=True)

    def _is_sound(self, path: Path) -> bool:
        if self._sound.get(path) == _signature(path):
            return True
        damage = self.verify(path)
        if damage is None:
            return True
        line = f"{path}: damaged checkpoint skipped: {damage}. It is left as it is."
        if line not in self.warnings:
            self.warnings.append(line)
            if self.warn:
                self.warn(line)
        return False

    def _first_sound(self, paths: list[Path], count: int) -> set[Path]:
        kept: set[Path] = set()
        for path in paths:
            if len(kept) >= count:
                break
            if self._is_sound(path):
                kept.add(path)
        return kept

    def _by_metric(self, metric: str, mode: Literal["min", "max"]) -> list[Path]:
        """Checkpoints that have a finite value of the metric, best first, the later of equals first.

        A small validation part has many equals, and the later has learnt for longer.
        """
        valued = []
        for step, path in self.steps().items():
            value = ((read_object(path / "manifest.json") or {}).get("metric") or {}).get(metric)
            if isinstance(value, int | float) and math.isfinite(value):
                valued.append((value if mode == "min" else -value, -step, path))
        return [path for _, _, path in sorted(valued)]


def step_of(checkpoint: Path | None) -> int:
    """The step that a checkpoint's name says; 0 without one."""
    return int(checkpoint.name.removeprefix("step-")) if checkpoint else 0


def load_file(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """The plain data in one file saved by torch, tensors on the CPU; nothing in it is executed.

    Args:
        path: the file.
        mapped: leave the tensors' values on the disk until they are looked at.

    Raises LaunchError when the file is missing, damaged, or asks for more than tensors and plain Python types.
    """
    import torch

    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")  # torch's remarks about old formats; what counts is raised
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped or None)
    except FileNotFoundError as error:
        raise LaunchError(path, "", "no such file", "Give a file saved by torch, or a run.") from error
    except Exception as error:  # torch raises whatever the bytes provoke
        what = f"cannot be loaded as plain data: {_why(error)}"
        raise LaunchError(path, "", what, "Only tensors and plain Python types are loaded; nothing was run.") from error
    if not isinstance(state, dict):
        raise LaunchError(path, "", f"holds a {type(state).__name__}, not a dict", "Give a file with a state_dict.")
    return state


def _why(error: Exception) -> str:
    """What torch found wrong, without its advice to load the file all the same."""
    text = str(error).strip()
    wanted = re.search(r"GLOBAL ([\w.]+)", text)
    if wanted:
        return f"it asks for {wanted[1]}, which is code"
    if not text or "weights_only" in text:
        return "it is empty, or was not saved by torch"
    return text.splitlines()[0].split(". ")[0][:200].rstrip(".")


class _HashedFile(io.RawIOBase):
    """A file for torch.save: counts and hashes what passes, and remembers the disk's first refusal.

    Nothing waits in a buffer of ours: a process forked meanwhile (a data worker) would have it too, and write it again.
    """

    def __init__(self, path: Path) -> None:
        self.file = path.open("wb", buffering=0)
        self.hash = hashlib.sha256()
        self.bytes = 0
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if self.error:  # torch goes on to write its zip's end; the refusal is raised after it
            return len(view)
        try:
            write_whole(self.file.fileno(), view)
        except OSError as error:
            self.error = error
            return len(view)
        self.hash.update(view)
        self.bytes += len(view)
        return len(view)

    def finish(self) -> None:
        try:
            if self.error is None:
                os.fsync(self.file.fileno())
        except OSError as error:
            self.error = error
        with contextlib.suppress(OSError):
            self.file.close()


def _save(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """Saves to a new file and returns its manifest entry. Raises OSError when the disk refuses."""
    import torch

    file = _HashedFile(path)
    try:
        torch.save(state, cast(IO[bytes], file))
    finally:
        file.finish()
    if file.error:
        raise file.error
    return {"sha256": file.hash.hexdigest(), "bytes": file.bytes}


def _refuse_unloadable(path: Path, target: Path) -> None:
    """Raises when the saved state names classes that are not loaded without pickle: it would be lost."""
    import torch

    names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    if names:
        raise LaunchError(
            target,
            "",
            f"the state holds {', '.join(sorted(names)[:5])}, which does not load without pickle",
            "Return plain numbers, strings, lists, dicts and tensors from state_dict().",
        )


def _damage(path: Path) -> str | None:
    """What is wrong with a checkpoint's folder, or None."""
    damage = _misfit(path)
    if damage:
        return damage
    files = (read_object(path / "manifest.json") or {})["files"]
    for name, said in files.items():
        try:
            with (path / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return f"{name} cannot be read ({(error.strerror or str(error)).lower()})"
        if found != said["sha256"]:
            return f"{name} is not what was written (sha256 {found[:12]}, manifest {str(said['sha256'])[:12]})"
    return None


def _misfit(path: Path) -> str | None:
    """What the manifest and the files' sizes show to be wrong, without reading the files."""
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        number, files = manifest["format"], manifest["files"]
        entries = [(name, said["bytes"], said["sha256"]) for name, said in files.items()]
    except FileNotFoundError:
        return "it has no manifest.json" if path.is_dir() else "no such checkpoint"
    except OSError as error:
        return f"manifest.json cannot be read ({(error.strerror or str(error)).lower()})"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "manifest.json is damaged"
    if not isinstance(number, int) or number > FORMAT:
        return f"its format {number!r} is newer than this dltk, which reads {FORMAT}"
    if not entries:
        return "its manifest lists no file"
    step, name = manifest.get("step"), _NAME.fullmatch(path.name)
    if name and isinstance(step, int) and step != int(name[1]):
        return f"its manifest is of step {step}"
    for name, size, _ in entries:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            return f"its manifest names a file outside: {name!r}"
        if not (path / name).is_file():
            return f"{name} is missing"
        if (path / name).stat().st_size != size:
            return f"{name} has {(path / name).stat().st_size} bytes, manifest says {size}"
    return None


def _signature(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of a checkpoint's files: equal while nobody has touched them."""
    with contextlib.suppress(OSError):
        entries = [(entry.name, entry.stat()) for entry in os.scandir(path)]
        return tuple(sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in entries))
    return ()
