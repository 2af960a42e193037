"""W&B beside the training: never in its way, never its reason to fail.

W&B lives in a process of its own (`wandb_process.py`), fed through a pipe by a thread: whatever it prints, changes in
its environment, waits for at its end or dies of stays there, and what does not end in time is killed. What it holds is
also on the disk (`wandb/` in the run folder), from where a later upload completes it.
"""

import collections
import configparser
import contextlib
import http.client
import json
import netrc
import os
import queue
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from dltk.errors import DltkError, LaunchError
from dltk.run import environment
from dltk.run.atomic import read_object, replace_file
from dltk.run.folder import RunFolder

Mode = Literal["online", "offline", "disabled"]
_PROGRAM = Path(__file__).with_name("wandb_process.py")
_ID = "abcdefghijklmnopqrstuvwxyz0123456789"
FLUSH = 2.0  # seconds between W&B's writes to the disk
_QUEUE = 100_000  # lines that may wait for W&B; more are dropped, and said once


class WandbError(OSError):
    """W&B's words about what it did not do."""


class Tracker:
    """One W&B run for one run of ours, whatever the restarts. Made on rank 0 alone.

    Args:
        run: the run folder; W&B's identity and files go into its `wandb`.
        mode: `auto` is online when logged in and the server answers within 2 s, else offline.
        project: W&B project.
        entity: W&B team or user.
        group: W&B group.
        tags: W&B tags.
        config: settings shown in W&B, plain Python.
        warn: called with one line, from another thread, when W&B fails later on; also kept in `warnings`.
        init_timeout: seconds after which an online start that gets no answer goes on offline.
    """

    def __init__(
        self,
        run: RunFolder,
        mode: Literal["auto", "online", "offline", "disabled"] = "auto",
        project: str = "dltk",
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        config: dict[str, Any] | None = None,
        *,
        warn: Callable[[str], None] | None = None,
        init_timeout: float = 10.0,
    ) -> None:
        self.warnings: list[str] = []
        self._warn = warn
        self.mode: Mode
        self._folder = run.path / "wandb"
        self.mode, self.note = decide(mode)
        if self.mode == "offline":
            self.note += f" {self._upload()} uploads later."
        self._queue: queue.Queue[dict[str, Any]] = queue.Queue(_QUEUE)
        self._finished = threading.Event()
        self._closed = False  # finish was called
        self._killed = False  # … and did not wait any longer
        self._revived = False
        self._recent: collections.deque[tuple[float, dict[str, Any]]] = collections.deque()  # when, line
        self._process: subprocess.Popen[bytes] | None = None
        if self.mode == "disabled":
            return
        try:
            self._folder.mkdir(exist_ok=True)
            identity = _identity(self._folder / "id")
        except (DltkError, OSError) as error:  # a full disk: tracking never stops a training
            self.mode, self.note = "disabled", f"W&B is off: {_line(error)}"
            return
        settings: dict[str, Any] = {
            "root_dir": str(run.path.absolute()),
            "run_id": identity,
            "run_name": run.path.name,
            "project": project,
            "entity": entity,
            "run_group": group,
            "run_tags": list(tags),
        }
        settings["x_transaction_log_flush_interval"] = FLUSH
        self._init = {"do": "init", "init_timeout": init_timeout, "config": config or {}, "settings": settings}
        threading.Thread(target=self._own, name="dltk-wandb", daemon=True).start()

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Hands metrics of a step over; returns at once."""
        if self.mode == "disabled" or self._closed:
            return
        try:
            self._queue.put_nowait({"do": "log", "values": {"step": step, **metrics}})
        except queue.Full:
            self._say("W&B takes no more metrics; they stand in metrics.jsonl only.")

    def show(
        self,
        step: int,
        things: Sequence[dict[str, Any]],
        summary: dict[str, Any] | None = None,
        files: Path | None = None,
    ) -> None:
        """Hands over what W&B shows in its own types; returns at once.

        Args:
            step: of the weights that it is of.
            things: each with `name` and `kind`: `table` (columns, rows; a cell may be {"png": …}), `images` (each with
                png and caption) or `confusion` (classes, counts by right and chosen class, title); png in base64.
            summary: numbers and words that stand beside the run.
            files: a folder that becomes an artifact of the kind `model`.
        """
        if self.mode == "disabled" or self._closed:
            return
        about = {"summary": summary or {}, "files": None if files is None else str(files.absolute())}
        try:
            self._queue.put_nowait({"do": "show", "step": step, "things": list(things), **about})
        except queue.Full:
            self._say("W&B takes no more; the run folder has all of it.")

    def finish(self, exit_code: int = 0, timeout: float = 30.0) -> bool:
        """Ends the W&B run, waiting at most `timeout` seconds (and a little) for what is left to be sent.

        Returns whether all of it went out, or needed not to; a second call does nothing.
        """
        if self.mode == "disabled" or self._closed:
            return True
        self._closed = True
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait({"do": "finish", "exit_code": int(exit_code), "timeout": timeout})
        done = self._finished.wait(timeout)
        if not done:
            self._killed = True
            self._say(
                f"W&B did not finish within {timeout:g} s. What reached the disk can be sent later with "
                f"{self._upload()}; metrics.jsonl has everything."
            )
        if self._process is not None:
            _end(self._process)
        return done

    def _own(self) -> None:
        """The thread: starts W&B's process, hands it one line after the other, waits for each answer."""
        try:
            if not self._begin(self.mode):
                return
            while True:
                line = self._queue.get()
                try:
                    self._exchange(line)
                except OSError:
                    self._revive(line)
                if line["do"] == "finish":
                    return
        except Exception as error:
            if not self._closed:
                self.mode = "disabled"
                self._say(f"W&B has stopped ({_line(error)}); see wandb/console.log. Metrics stand in metrics.jsonl.")
                if self._process is not None:
                    _end(self._process)
        finally:
            self._finished.set()

    def _begin(self, mode: Mode) -> bool:
        """Starts W&B, offline where online fails; False when neither works."""
        if self._killed:
            return False
        process = self._process = _start(self._folder / "console.log")
        try:
            self._exchange({**self._init, "mode": mode})
        except WandbError as error:
            _end(process)
            if mode == "online":
                self._say(f"W&B: offline ({_line(error)}). {self._upload('offline')} uploads later.")
                return self._begin("offline")
            self.mode = "disabled"
            self._say(f"W&B does not start ({_line(error)}). Metrics stand in metrics.jsonl only.")
            return False
        self.mode = mode
        return True

    def _exchange(self, line: dict[str, Any]) -> None:
        """Tells W&B's process one thing. Raises WandbError when W&B refuses it, OSError when the process is gone."""
        process = self._process
        assert process is not None, "W&B's process has not been started"
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(line, default=_plain).encode() + b"\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise WandbError("its process has ended")
        if "warning" in (words := json.loads(answer)):
            raise WandbError(words["warning"])
        if line["do"] == "log":
            self._recent.append((time.monotonic(), line))
            while self._recent[0][0] < time.monotonic() - 2 * FLUSH:
                self._recent.popleft()

    def _revive(self, line: dict[str, Any]) -> None:
        """Starts W&B a second time, once.

        A batch system that tells every process of a job to stop ends W&B's service, before what it has not written yet
        and before the training's last words: both are told again.
        """
        if self._revived or self._killed:
            raise WandbError("a second time")
        self._revived = True
        again = [told for _, told in self._recent]
        assert self._process is not None
        _end(self._process)
        time.sleep(1.0)  # W&B names its folders by the second, and writes over an equal one
        if self._begin(self.mode):
            for told in [*again, line]:
                self._exchange(told)

    def _upload(self, mode: Mode | None = None) -> str:
        """The command that sends what W&B has kept on the disk."""
        if (mode or self.mode) == "online":
            return f"`wandb sync --include-online {shlex.quote(str(self._folder))}/run-*`"
        return f"`dltk sync {shlex.quote(str(self._folder.parent))}`"

    def _say(self, line: str) -> None:
        if line not in self.warnings:
            self.warnings.append(line)
            if self._warn:
                self._warn(line)


def facts(run: RunFolder) -> dict[str, Any]:
    """Of which commit a run is and on what it runs: what W&B's page needs, and nothing of the machine's own."""
    paths = environment.files(run.path)
    known = (read_object(paths[-1]) if paths else None) or {}
    attempts = run.ledger.attempts()
    now = attempts[-1] if attempts else {}
    git = known.get("git")
    commits = {
        name: {key: said.get(key) for key in ("commit", "dirty")}
        for name, said in (git.items() if isinstance(git, dict) else ())
        if isinstance(said, dict)
    }
    devices = [str(one.get("name")) for one in known.get("devices") or [] if isinstance(one, dict)]
    topology = {key: now.get(key) for key in ("world_size", "nodes", "accelerator")}
    return {"git": commits, "topology": {**topology, "devices": devices}, "parent": run.about.get("parent")}


def _start(log: Path) -> "subprocess.Popen[bytes]":
    # The environment is W&B's own copy; -P keeps this folder's module names off its path; its own session keeps Ctrl-C
    # from it, so that it can still send the end.
    own = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
    environ = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"} | own
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            env=environ,
            start_new_session=True,
        )


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends W&B's process and what it started. What it had to keep is on the disk; its exit hooks would only wait."""
    children = _children(process.pid)
    process.kill()
    for child in children:
        with contextlib.suppress(OSError):
            os.kill(child, signal.SIGKILL)
    process.wait()


def _children(pid: int) -> list[int]:
    """Processes started by W&B's process: its service, a session of its own.

    Known on Linux only; elsewhere the service sees its parent die and leaves by itself.
    """
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in path.read_text().split()]
    return found


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _identity(path: Path) -> str:
    """The W&B id of a run, made up at its first start."""
    with contextlib.suppress(OSError):
        known = path.read_text().strip()
        if known and all(letter in _ID for letter in known):
            return known
    made = "".join(secrets.choice(_ID) for _ in range(8))
    replace_file(path, made + "\n")
    return made


def decide(asked: str) -> tuple[Mode, str]:
    """What a wish becomes on this machine, and the line that says so."""
    if asked == "auto" and os.environ.get("WANDB_MODE") in ("offline", "disabled"):
        asked = os.environ["WANDB_MODE"]
    if asked == "disabled":
        return "disabled", "W&B: disabled."
    if find_spec("wandb") is None:
        return "disabled", "W&B: not installed; metrics stand in the run folder only."
    if asked == "offline":
        return "offline", "W&B: offline."
    url = server()
    host = _host(url)
    if not _logged_in(host):
        return "offline", f"W&B: offline (not logged in at {host}; see `wandb login`)."
    if asked == "auto" and not _answers(url, 2.0):
        return "offline", f"W&B: offline ({host} did not answer within 2 s)."
    return "online", f"W&B: online at {host}."


def require_login() -> str:
    """The host of W&B's server, which must be logged in at for anything to be sent there.

    Raises:
        LaunchError: W&B is not installed, or there is no login.
    """
    if find_spec("wandb") is None:
        raise LaunchError("", "wandb", "is not installed", "Install it with `pip install wandb`.")
    host = _host(server())
    if not _logged_in(host):
        raise LaunchError("", "wandb", f"not logged in at {host}", "Log in with `wandb login`, or set WANDB_API_KEY.")
    return host


def answers(seconds: float = 5.0) -> bool:
    """Whether W&B's server answers anything in time."""
    return _answers(server(), seconds)


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).hostname or url


def server() -> str:
    """The server's URL: from the environment, W&B's own settings file, or its public one."""
    if os.environ.get("WANDB_BASE_URL"):
        return os.environ["WANDB_BASE_URL"]
    folder = os.environ.get("WANDB_CONFIG_DIR") or os.path.join(os.path.expanduser("~"), ".config", "wandb")
    settings = configparser.ConfigParser()
    with contextlib.suppress(configparser.Error, OSError, UnicodeDecodeError):
        settings.read(os.path.join(folder, "settings"))
    return settings.get("default", "base_url", fallback="https://api.wandb.ai", raw=True)


def _logged_in(host: str) -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    path = os.environ.get("NETRC") or os.path.join(os.path.expanduser("~"), ".netrc")
    try:
        return netrc.netrc(path).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return False


def _answers(url: str, seconds: float) -> bool:
    """Whether the server (or the proxy before it) answers anything in time; name resolution counts too."""
    answered: list[bool] = []
    # A thread, since neither name resolution nor a server that trickles bytes heeds a socket's time limit.
    thread = threading.Thread(target=lambda: answered.append(_ask(url, seconds)), daemon=True)
    thread.start()
    thread.join(seconds)
    return bool(answered and answered[0])


def _ask(url: str, seconds: float) -> bool:
    parts = urllib.parse.urlsplit(url)
    proxy = None if urllib.request.proxy_bypass(parts.netloc) else urllib.request.getproxies().get(parts.scheme)
    to = urllib.parse.urlsplit(proxy) if proxy else parts
    kind = http.client.HTTPSConnection if to.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(to.hostname or "", to.port, timeout=seconds)
        connection.request("HEAD", url if proxy else "/")
        connection.getresponse()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return type(error).__name__.startswith("SSL")  # it answered; W&B knows its certificates better than we
    return True
