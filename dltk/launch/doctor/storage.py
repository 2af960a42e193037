"""The disk of the runs: how fast it takes what is written, how much room it has, and whether its clock is this one."""

import os
import shutil
import tempfile
import time
from pathlib import Path

from dltk.launch.doctor.demand import Demand
from dltk.launch.doctor.finding import Finding, fail, ok, warn
from dltk.run.lease import STALE

BLOCK, BLOCKS, SECONDS = 4 << 20, 64, 3.0  # bytes of a piece, pieces at most, time at most
SLOW = 50e6  # bytes a second below which checkpoints hold a training up
ROOM = 5e9  # bytes that are comfortable where the size of a checkpoint is not known
SKEW = 2.0  # seconds that clocks may differ
REFUSES = "Mend its permissions, or choose another place with runs_dir=DIR."


def nearest(folder: Path) -> Path:
    """A folder, or the first above it that exists: nothing is made for a look."""
    path = folder.absolute()
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def speed(demand: Demand) -> Finding:
    """Bytes a second that reach the disk, by a file without a name, which no kill can leave behind."""
    place = nearest(demand.runs_dir)
    block, began, written = os.urandom(BLOCK), time.monotonic(), 0
    try:
        with tempfile.TemporaryFile(dir=place, buffering=0) as file:
            while written < BLOCK * BLOCKS and time.monotonic() - began < SECONDS:
                written += file.write(block)
            os.fsync(file.fileno())
    except OSError as error:
        return fail(f"{place}: {(error.strerror or str(error)).lower()}", REFUSES)
    rate = written / max(1e-9, time.monotonic() - began)
    said = f"{place}: {rate / 1e6:,.0f} MB/s, written and flushed"
    if demand.checkpoint_bytes is not None:
        said += f"; a checkpoint takes {demand.checkpoint_bytes / rate:.1f} s"
    if rate < SLOW:
        return warn(said, "Choose a faster disk with runs_dir=DIR, or save less often.", bytes_per_second=rate)
    return ok(said, bytes_per_second=rate)


def room(demand: Demand) -> Finding:
    """Free bytes, beside those of the checkpoints that a run keeps."""
    place = nearest(demand.runs_dir)
    free = shutil.disk_usage(place).free
    said = f"{place}: {free / 1e9:,.1f} GB free"
    if demand.checkpoint_bytes is None:
        return ok(said, free=free) if free >= ROOM else warn(said, "Free some space.", free=free)
    need = demand.checkpoints * demand.checkpoint_bytes
    said += f", {demand.checkpoints} checkpoints take {need / 1e9:,.2f} GB ({demand.of})"
    if free < need:
        remedy = "Free some space, choose another disk with runs_dir=DIR, or lower checkpoint.keep_last."
        return fail(said, remedy, free=free, need=need)
    return ok(said, free=free, need=need)


def clock(demand: Demand) -> Finding:
    """The disk's clock beside this machine's: by a file's time another machine sees whether a run is in training."""
    place = nearest(demand.runs_dir)
    try:
        with tempfile.TemporaryFile(dir=place, buffering=0) as file:
            before = time.time()
            file.write(b"x")
            stamp, after = os.fstat(file.fileno()).st_mtime, time.time()
    except OSError as error:
        return fail(f"{place}: {(error.strerror or str(error)).lower()}", REFUSES)
    apart = max(before - stamp, stamp - after, 0.0)
    said = f"{time.strftime('%Y-%m-%d %H:%M:%S %Z', time.localtime(after))}, {apart:.1f} s beside the disk's"
    if apart < SKEW:
        return ok(said, apart=apart)
    remedy = "Let this machine and the file server take their time from one source (chrony, ntpd)."
    return (fail if apart > STALE / 2 else warn)(said, remedy, apart=apart)
