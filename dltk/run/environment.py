"""`environment.json`: on what a run was made, and what took how long there. By allow-list, so that no secret gets in.

The uncommitted changes go into `environment.diff`, which stays in the run folder.
"""

import os
import platform
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from dltk.run.atomic import read_object, replace_file, to_json
from dltk.run.ledger import clock_text

FORMAT = 1
_DIFF = 1 << 20  # bytes of uncommitted changes that are kept
_ADDING = threading.Lock()
_FACT = re.compile(r"^(Name|Version): *(\S+)", re.MULTILINE)  # of a package's metadata
_VALUE = 200  # characters of a variable's value that are kept
COUNTING = (
    *("deepspeed", "lightning", "numpy", "omegaconf", "pillow", "sacrebleu", "safetensors", "scipy", "sentencepiece"),
    *("simplejpeg", "torch", "torchmetrics", "torchvision", "webdataset"),
)
# Names whose values say where and how a job ran, and nothing else.
_VARIABLES = (
    "SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "SLURM_CLUSTER_NAME",
    "SLURM_JOB_PARTITION", "SLURM_JOB_NUM_NODES", "SLURM_JOB_NODELIST", "SLURM_NTASKS", "SLURM_STEP_ID",
    "RAY_JOB_ID", "RAY_NODE_ID", "WANDB_RUN_ID", "WANDB_SWEEP_ID", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "NCCL_SOCKET_IFNAME",
    "NCCL_IB_DISABLE", "NCCL_P2P_DISABLE",
)  # fmt: skip


def describe(extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """Packages, commit, host, devices and job numbers as plain Python.

    Args:
        extra: more facts, put beside them.
    """
    return {
        "format": FORMAT,
        "time": clock_text(time.time()),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "devices": _devices(),
        "git": _commits(),
        "job": {name: os.environ[name][:_VALUE] for name in _VARIABLES if name in os.environ},
        "packages": _packages(),
        **(extra or {}),
    }


def write(folder: Path, extra: dict[str, Any]) -> None:
    """Writes `environment.json` and the uncommitted changes into a run folder.

    A later attempt on other packages, code or machine gets `environment-2.json` and so on; of one on the same, `extra`
    alone is new, and nothing else is replaced.
    """
    facts, changes, number = describe(extra), _changes(), 1
    while (path := folder / ("environment.json" if number == 1 else f"environment-{number}.json")).exists():
        known = read_object(path) or {}
        if _lasting(known) == _lasting(facts) and _content(path.with_suffix(".diff")) == changes:
            if extra:
                replace_file(path, to_json({**known, **extra}, indent=1) + "\n")
            return
        number += 1
    if changes:
        replace_file(path.with_suffix(".diff"), changes)
    replace_file(path, to_json(facts, indent=1) + "\n")


def files(folder: Path) -> list[Path]:
    """The environments of a run, that of the current attempt last."""
    return sorted(folder.glob("environment*.json"), key=lambda path: path.stat().st_mtime_ns)


def add(folder: Path, measured: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Puts what was measured, as it follows from what is known, beside the current attempt's environment."""
    with _ADDING:  # the thread that saves measures too
        for path in files(folder)[-1:]:
            known = read_object(path)
            if known is not None:  # one that cannot be read now is not replaced by what was measured alone
                replace_file(path, to_json({**known, **measured(known)}, indent=1) + "\n")


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _lasting(facts: dict[str, Any]) -> list[Any]:
    return [facts.get(key) for key in ("host", "python", "devices", "git", "packages")]


def versions() -> dict[str, str]:
    """The packages that a result depends on."""
    return {name: version for name, version in _packages().items() if name in COUNTING}


def _packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        # Not `distribution.metadata`: it reads each package's description too, which takes 0.2 s in all.
        text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
        facts = dict(_FACT.findall(text.partition("\n\n")[0]))
        if "Name" in facts and "Version" in facts:
            found.setdefault(facts["Name"].lower(), facts["Version"])  # the first on the path is the one imported
    return dict(sorted(found.items()))


def _devices() -> list[dict[str, Any]]:
    """CUDA devices, if torch has been imported already: describing must not import it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    found = (torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count()))
    return [{"name": device.name, "bytes": device.total_memory} for device in found]


def _sources() -> dict[str, Path]:
    """Where code that made the run may be under version control: the working folder and dltk's own."""
    return {"working folder": Path.cwd(), "dltk": Path(__file__).parent}


def _commits() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, folder in _sources().items():
        commit = _git(folder, "rev-parse", "HEAD")
        if commit:
            dirty = _git(folder, "status", "--porcelain", "--untracked-files=no")
            found[name] = {"commit": commit.decode().strip(), "dirty": None if dirty is None else bool(dirty.strip())}
    return found


def _changes() -> bytes:
    """The uncommitted changes of tracked files, one repository after the other, within bounds."""
    tops: dict[bytes, bytes] = {}
    for folder in _sources().values():
        top = _git(folder, "rev-parse", "--show-toplevel")
        if top and top not in tops:
            tops[top] = _git(folder, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD") or b""
    diff = b"".join(tops.values())
    cut = f"\n(cut here: the changes have {len(diff)} bytes, {_DIFF} are kept)\n".encode()
    return diff if len(diff) <= _DIFF else diff[:_DIFF] + cut


def _git(folder: Path, *words: str) -> bytes | None:
    """What git prints, None when it fails. It takes no lock and runs no diff program of the repository's."""
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
