"""Cores, open files, shared memory, the loopback device."""

import os
import resource
import shutil
from pathlib import Path

from dltk.launch.doctor.demand import Demand
from dltk.launch.doctor.finding import Finding, fail, ok, warn
from dltk.launch.processes import free_port
from dltk.run.host import core_quota, free_memory, usable_cores

FILES, FILES_NEEDED = 4096, 256  # open files that are comfortable, and without which workers fail
SHARED = Path("/dev/shm")  # where data workers hand over their batches
MEMORY = 2 << 30  # bytes below which little can be trained


def cores(demand: Demand) -> Finding:
    """The cores that processes may use, and whether their time is limited besides."""
    usable, all_, quota = usable_cores(), os.cpu_count() or 1, core_quota()
    numbers = {"cpu_count": all_, "usable": usable, "quota": quota}
    said = f"{usable} of {all_} usable" if usable < all_ else f"{usable}"
    if quota is not None and quota < usable:
        threads = max(1, int(quota))
        return warn(
            f"{said}, and the control group allows the time of {quota:g}",
            f"Set launch.threads={threads}, or allow more: more threads than time wait for each other.",
            **numbers,
        )
    return ok(f"{said}, no limit on their time" if quota is None else said, **numbers)


def memory(demand: Demand) -> Finding:
    """Free memory of the host."""
    free = free_memory()
    if free < MEMORY:
        return warn(f"{free / 1e9:.1f} GB free", "End what else uses it, or allow the container more.", free=free)
    return ok(f"{free / 1e9:.1f} GB free", free=free)


def open_files(demand: Demand) -> Finding:
    """The limit on open files; each batch that a worker hands over holds some."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    remedy = f"ulimit -n {FILES if hard in (-1, resource.RLIM_INFINITY) else min(hard, 1 << 16)}"
    if soft != resource.RLIM_INFINITY and soft < FILES:
        verdict = fail if soft < FILES_NEEDED else warn
        return verdict(f"at most {soft:,} (up to {hard:,} may be asked for)", f"{remedy}.", soft=soft, hard=hard)
    return ok(f"at most {soft:,}", soft=soft, hard=hard)


def shared_memory(demand: Demand) -> Finding:
    """Room for the batches that data workers have ready."""
    from dltk.data.loader import PREFETCH

    need = demand.workers * PREFETCH * demand.batch_bytes
    asked = f"workers × {PREFETCH} batches take {need / 1e6:,.0f} MB ({demand.of})"
    if not SHARED.is_dir():
        return ok(f"none, as on this system; {asked}", need=need)
    free = shutil.disk_usage(SHARED).free
    said = f"{SHARED} has {free / 1e6:,.0f} MB free, {asked}"
    if free < need:
        remedy = "Start the container with a larger one (docker run --shm-size=8g), or set data.workers lower."
        return fail(said, remedy, free=free, need=need)
    return ok(said, free=free, need=need)


def port(demand: Demand) -> Finding:
    """A port of the loopback device, where the processes of one machine meet."""
    try:
        found = free_port()
    except OSError as error:
        what = f"none to be had: {(error.strerror or str(error)).lower()}"
        return fail(what, "Bring the loopback device up (ip link set lo up), or allow sockets.")
    return ok("free ones on the loopback device", port=found)
