"""What is kept in a run's `cache/` so that it need not be worked out again. It may be deleted at any time."""

import contextlib
import os
import secrets
from pathlib import Path

FOLDER = "cache"  # in a run folder


def signature(path: Path) -> list[int] | None:
    """What changes whenever a file does: its size and time; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns]


def keep(path: Path, data: bytes) -> None:
    """Replace a file of a cache, which a crash may lose; nothing happens where the disk refuses."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        try:
            beside.write_bytes(data)
            os.replace(beside, path)
        except OSError:
            beside.unlink(missing_ok=True)
