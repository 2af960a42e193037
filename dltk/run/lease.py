"""`LEASE`: at most one training on a run folder, also across machines that share a disk.

A file that its holder creates exclusively and touches every few seconds. Not flock, which fails on Lustre and lies on
NFS. A holder that has died is recognised by its process (on this machine) or by its heartbeat (on others).
"""

import atexit
import contextlib
import errno
import os
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from dltk.errors import LaunchError
from dltk.run.atomic import from_json, read_object, refusing, replace_file, to_json, write_beside
from dltk.run.ledger import clock_text

HEARTBEAT = 5.0  # seconds between two signs of life
STALE = 60.0  # seconds without one after which a holder on another machine counts as dead


class LeaseLost(LaunchError):
    """Another process trains the run now: this one must not write into its folder any more."""


class Lease:
    """The right to train in a run folder; a context manager.

    Args:
        path: the lease file.
        note: called with one line when a dead holder's lease is taken over.
    """

    def __init__(self, path: Path, note: Callable[[str], None] | None = None) -> None:
        self.path = Path(path)
        self.previous: dict[str, Any] | None = None  # the dead holder's record, with its last `heartbeat`
        self._note = note
        self._token = secrets.token_hex(8)
        self._pid = 0
        self._heart: Heart | None = None

    def acquire(self) -> "Lease":
        """Takes the lease. Raises LaunchError naming host, pid and since when, if a living process holds it."""
        assert self._heart is None, "this lease is held already"
        self._pid = os.getpid()
        self._started = time.time()
        if not self._create():
            self._take_over()
        # Whoever writes asks `require` first, so it just stops when another has taken the lease.
        self._heart = Heart(self.path, self._record, until=lambda: taken(self.path, self._token))
        atexit.register(self.release)
        return self

    def release(self) -> None:
        """Gives the lease back; nothing happens when it is not held, or in a forked child."""
        if self._heart is None or os.getpid() != self._pid:
            return
        self._heart.stop()
        self._heart = None
        atexit.unregister(self.release)
        if self._is_ours():
            with contextlib.suppress(OSError):
                self.path.unlink()

    @property
    def token(self) -> str:
        """What tells this lease from every other; empty while it is not held."""
        return self._token if self._heart else ""

    def __enter__(self) -> "Lease":
        """Takes the lease."""
        return self if self._heart else self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Gives it back."""
        self.release()

    def _record(self) -> str:
        return sign_of_life(started=clock_text(self._started), token=self._token)

    def _create(self) -> bool:
        """Creates the file with its content in one step; False when there is one already."""
        with refusing(self.path, "cannot write"):
            beside = write_beside(self.path, self._record().encode())
            try:
                os.link(beside, self.path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                    raise
                return self._create_without_links()
            finally:
                with contextlib.suppress(OSError):
                    beside.unlink()
        return self._is_ours()

    def _create_without_links(self) -> bool:
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        with os.fdopen(handle, "w") as file:
            file.write(self._record())
        return True

    def _take_over(self) -> None:
        self._refuse_if_alive()
        # Two may find the same dead holder: only the one that creates this file goes on to replace the lease.
        guard = self.path.with_name(f".{self.path.name}.takeover")
        with refusing(self.path, "cannot write"):
            if guard.exists() and time.time() - guard.stat().st_mtime > STALE:
                guard.unlink(missing_ok=True)  # its maker died within the few lines below
            try:
                os.close(os.open(guard, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            except FileExistsError:
                raise LaunchError(
                    self.path, "", "another process is taking this run over just now", "Try again in a minute."
                ) from None
        try:
            self.previous = self._refuse_if_alive()
            if self.previous:
                replace_file(self.path, self._record())
            elif not self._create():  # given back a moment ago, and taken by another since
                self._refuse_if_alive()
        finally:
            guard.unlink(missing_ok=True)
        if self.previous and self._note:
            self._note(
                f"{self.path}: the run was held by process {self.previous.get('pid', '?')} on "
                f"{self.previous.get('host', '?')}, which is gone (last heartbeat "
                f"{clock_text(self.previous['heartbeat'])}). Taken over."
            )

    def _refuse_if_alive(self) -> dict[str, Any] | None:
        """The dead holder's record, None without one. Raises LaunchError when the holder lives."""
        record = holder(self.path)
        if record and record["alive"]:
            raise LaunchError(
                self.path,
                "",
                f"this run is being trained by process {record.get('pid', '?')} on {record.get('host', '?')} "
                f"since {record.get('started', '?')}",
                f"Wait for it, stop it with `dltk stop {self.path.parent}`, or train another run.",
            )
        return record

    def _is_ours(self) -> bool:
        record = read_object(self.path)
        return bool(record) and record.get("token") == self._token  # type: ignore[union-attr]


class Heart:
    """Writes a sign of life of this process into a file every few seconds, from a thread.

    Args:
        path: the file.
        record: makes its text.
        until: asked before each beat; the last one has been when it says so.
    """

    def __init__(self, path: Path, record: Callable[[], str], until: Callable[[], bool] = lambda: False) -> None:
        self._path, self._record, self._until = path, record, until
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="dltk-heart", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No beat comes after this."""
        self._over.set()
        self._thread.join(HEARTBEAT)

    def _beat(self) -> None:
        while not self._over.wait(HEARTBEAT):
            if self._until():
                return
            try:
                replace_file(self._path, self._record())
            except LaunchError:  # a full disk: the time stamp alone is a sign of life too
                with contextlib.suppress(OSError):
                    os.utime(self._path)


def sign_of_life(**more: str) -> str:
    """That this process lives now, and what else is to be known of it, as `holder` reads it."""
    pid = os.getpid()
    about = {"host": socket.gethostname(), "pid": pid, "machine": machine(), "process": process_start(pid)}
    return to_json({**about, "heartbeat": time.time(), **more})


def taken(path: Path, token: str) -> bool:
    """Whether a lease has gone to another process, which may have given it back since.

    It happens to a process that was suspended for so long that its holder counted as dead.
    """
    try:
        record = from_json(path.read_bytes())
    except FileNotFoundError:
        return True
    except OSError:  # a disk that cannot be reached for a moment tells nothing
        return False
    return record is not None and record.get("token") != token


def require(path: Path, token: str) -> None:
    """Raises LeaseLost when a lease has gone to another process."""
    if not taken(path, token):
        return
    record = holder(path)
    if record is None:
        what = "another process has taken this run over and has left it again"
        raise LeaseLost(path, "", f"{what}, while this one was suspended", "Train again to go on from its checkpoint.")
    raise LeaseLost(
        path,
        "",
        f"process {record.get('pid', '?')} on {record.get('host', '?')} trains this run since "
        f"{record.get('started', '?')}; it took it over while this process was suspended",
        "Leave the run to it: this process has stopped, and has written nothing since.",
    )


def holder(path: Path) -> dict[str, Any] | None:
    """Who holds a lease, or wrote a sign of life: the record with `alive`; None where there is none. Never raises."""
    try:
        touched = path.stat().st_mtime
        record = from_json(path.read_bytes()) or {}
    except OSError:
        return None
    beat = record.get("heartbeat")
    record["heartbeat"] = max(touched, beat) if isinstance(beat, int | float) else touched
    record["alive"] = _alive(record)
    return record


def _alive(record: dict[str, Any]) -> bool:
    pid = record.get("pid")
    here = record.get("host") == socket.gethostname() and record.get("machine") == machine()
    if here and isinstance(pid, int) and not _hidden(pid):
        return record.get("process") == process_start(pid)
    return time.time() - record["heartbeat"] < STALE


def machine() -> str:
    """What tells this machine's process numbers from another's: its boot and, in a container, the pid namespace."""
    parts = []
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _hidden(pid: int) -> bool:
    """Whether a process exists of which this user may see nothing (hidepid)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return process_start(pid) is None
    except (OSError, OverflowError):
        return False
    return False


def process_start(pid: int) -> str | None:
    """When a process of this machine started, as an opaque text; None when there is no such process."""
    if pid <= 0:
        return None
    if Path("/proc/self/stat").exists():
        try:
            # The name in brackets may hold anything; the state is field 3 and the start time field 22 of the line.
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]  # a zombie writes nothing any more
    shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return shown.stdout.strip() or None
