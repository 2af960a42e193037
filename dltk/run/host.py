"""What this machine lets its processes have: cores and memory, also inside a container with less than the machine."""

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Cores on which this process may run, whatever share of their time it gets."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def core_quota() -> float | None:
    """Cores' worth of time that the control group allows (1.5: one and a half); None without a limit."""
    limits = []
    for folder in _groups("cpu"):
        with contextlib.suppress(OSError, ValueError):
            quota, _, period = (folder / "cpu.max").read_text().partition(" ")
            limits.append(int(quota) / int(period))  # "max" is no number
        with contextlib.suppress(OSError, ValueError):
            quota, period = ((folder / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
            if int(quota) > 0:
                limits.append(int(quota) / int(period))
    return min(limits, default=None)


def free_memory() -> int:
    """Bytes that processes may still take: what the machine has left, or the control group, whichever is less."""
    limits = [_left_on_machine()]
    for folder in _groups("memory"):
        for most, now in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            with contextlib.suppress(OSError, ValueError):
                used = int((folder / now).read_text()) - _file_cache(folder)
                limits.append(max(0, int((folder / most).read_text()) - used))
    return min(limits)


def resident_memory() -> int:
    """Bytes of memory that this process holds now; where the system does not tell, the most that it has held."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


def _left_on_machine() -> int:
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2  # macOS tells no more than what there is


def _file_cache(folder: Path) -> int:
    """Bytes of files that a control group counts as its own, and that give way when memory is needed."""
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / "memory.stat").read_text().splitlines():
            if line.startswith("inactive_file "):
                return int(line.split()[1])
    return 0


def _groups(controller: str) -> Iterator[Path]:
    """The folders of this process's control group and of those around it (version 2, or 1 with its controllers)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            if number != "0" and controller not in controllers.split(","):
                continue
            top = _CGROUPS if number == "0" else _CGROUPS / controller
            inner = top / path.lstrip("/")
            yield from (folder for folder in (inner, *inner.parents) if folder.is_relative_to(top))
