"""Sending to W&B what was kept on the disk, by W&B's own `wandb sync`, one segment of a run after the other.

W&B puts the segments of one id together where they arrive in order, each behind the lines that the server has, and
keeps beside a file at which step it began (`.wandb.syncstate`), so that a file that is sent again brings no new steps.
What it does not keep is whether the sending went well: `wandb sync` leaves with 0 and marks a file (`.wandb.synced`)
when the server took nothing of its curves, and only its output tells. So a segment has a marker of ours,
`run-<id>.wandb.sent`, written once it has arrived, with the bytes that the file had before: a kill in between sends it
again, and so does its growth.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dltk.errors import LaunchError
from dltk.run.atomic import read_object, replace_file, to_json
from dltk.run.lease import Lease, holder
from dltk.run.ledger import clock_text
from dltk.run.tracking import server
from dltk.run.wandb_files import HEADER, Segment

FORMAT = 1
_BOUNDED = ("GRAPHQL", "FILE_STREAM", "FILE_TRANSFER")  # W&B's kinds of requests, which it repeats for hours or days
_RETRIES = {"RETRY_MAX": "6", "RETRY_WAIT_MIN_SECONDS": "0.5", "RETRY_WAIT_MAX_SECONDS": "10"}
_OF_A_RUN = ("WANDB_MODE", "WANDB_SILENT", "WANDB_SERVICE", "WANDB_RUN_ID", "WANDB_RESUME")  # not of a sending
_TORN = "ends with an incomplete record"  # all before it has been sent
_PAGE = re.compile(r"View run .*at (https?://\S+)")


@dataclass(frozen=True)
class Sent:
    """What became of a run's segments.

    Args:
        count: of segments that arrived now.
        page: where W&B shows the run; empty where it did not say.
        notes: one line each.
        error: why not all arrived; empty where they did.
    """

    count: int
    page: str = ""
    notes: tuple[str, ...] = ()
    error: str = ""


def unsent(some: Sequence[Segment]) -> list[Segment]:
    """The segments kept without a network that the server does not have, or not whole; in order."""
    return [one for one in some if one.offline and one.size > len(HEADER) and not _is_sent(one)]


def _marker(segment: Segment) -> Path:
    return segment.file.with_name(f"{segment.file.name}.sent")


def _is_sent(segment: Segment) -> bool:
    known = read_object(_marker(segment)) or {}
    return known.get("bytes") == segment.size and known.get("server") == server()


def send(folder: Path, some: Sequence[Segment]) -> Sent:
    """Send what is unsent of one run, in order, until one fails.

    Args:
        folder: the `wandb` folder that they lie in; another `sync` of it at the same time is refused.
        some: the run's segments.

    Raises:
        LaunchError: another process sends them, or the disk refuses the marker.
    """
    lease = folder / "SYNC"
    try:
        with Lease(lease):
            return _send(folder, unsent(some))
    except LaunchError as error:
        held = holder(lease)
        if not (held and held["alive"] and held.get("pid") != os.getpid()):
            raise
        what = f"process {held.get('pid', '?')} on {held.get('host', '?')} sends this run to W&B"
        raise LaunchError(folder, "", what, "Wait for it.") from error


def _send(folder: Path, some: Sequence[Segment]) -> Sent:
    count, page = 0, ""
    notes: list[str] = []
    for segment in some:
        size, begun = segment.size, time.time()
        lines = _wandb_sync(folder, segment.file)
        errors = [line for line in lines if line.startswith("ERROR ")]
        found = [match[1] for line in lines if (match := _PAGE.search(line))]
        page = found[-1] if found else page
        torn = [line for line in errors if _TORN in line]
        if len(errors) > len(torn) or not (torn or any("Finished syncing" in line for line in lines)):
            said = next((line for line in errors if line not in torn), lines[-1] if lines else "it said nothing")
            error = f"{segment.file.parent.name}: {said.removeprefix('ERROR ')}"
            return Sent(count, page, tuple(notes), error)
        if torn:
            notes.append(f"{segment.file.parent.name}: its end is torn, and sent as far as it is whole")
        about = {"format": FORMAT, "bytes": size, "server": server(), "page": page, "time": clock_text(begun)}
        replace_file(_marker(segment), to_json(about) + "\n")
        count += 1
    return Sent(count, page, tuple(notes))


def _wandb_sync(folder: Path, file: Path) -> list[str]:
    """What `wandb sync` says of one file, line by line, without its name; of an exit code the last."""
    command = [sys.executable, "-m", "wandb", "sync", "--include-synced", str(file.absolute())]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,  # it asks for a key where there is none
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(os.environ, folder),
        text=True,
        errors="replace",
        check=False,
    )
    lines = [line.removeprefix("wandb:").strip() for line in done.stdout.splitlines() if line.strip()]
    return lines if done.returncode == 0 else [*lines, f"ERROR {lines[-1] if lines else done.returncode}"]


def _environment(own: Mapping[str, str], folder: Path) -> dict[str, str]:
    """What `wandb sync` is started with: its retries end within minutes, its own logs go beside the run's."""
    kept = {name: value for name, value in own.items() if name not in _OF_A_RUN}
    bounds = {f"WANDB_X_{kind}_{name}": value for kind in _BOUNDED for name, value in _RETRIES.items()}
    place = {"WANDB_DIR": str(folder.absolute().parent), "WANDB_ERROR_REPORTING": "false"}
    return {**bounds, **kept, **place}
