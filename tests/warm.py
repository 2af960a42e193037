"""Starts `dltk` commands without their five seconds of imports: a process that has imported everything, and forks.

Each command is then a process like any other, with a session, signals, an exit code and an end of its own. The server
reads one JSON object a line, answers with the process's number, and writes the exit code to the file named.
"""

import gc
import importlib
import json
import os
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import IO, Any


def serve() -> dict[str, Any] | None:
    """Fork for each line read; returns in each child with its request, in the server when its input ends."""
    running: dict[int, str] = {}
    while True:
        if select.select([0], [], [], 0.01)[0]:
            line = read_line()
            if not line:
                return None
            request: dict[str, Any] = json.loads(line)
            if any("deepspeed" in argument for argument in request["arguments"]):
                zero.imported("cpu")  # once, and not in each process of each of these
            child = os.fork()
            if child == 0:
                return request
            running[child] = request["code"]
            print(child, flush=True)
        for child in list(running):
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                code = Path(running.pop(child))
                code.with_suffix(".partial").write_text(str(os.waitstatus_to_exitcode(status)))
                code.with_suffix(".partial").replace(code)


def read_line() -> bytes:
    """Read without a buffer, which the children would inherit."""
    line = b""
    while (byte := os.read(0, 1)) not in (b"", b"\n"):
        line += byte
    return line


def become(request: dict[str, Any]) -> None:
    """Look like a process that a shell has just started."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    out, err = (os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND) for name in ("out", "err"))
    for target, source in enumerate((nothing, out, err)):
        os.dup2(source, target)
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    sys.path.insert(0, "")
    if request["user"]:
        os.setgid(request["user"])
        os.setuid(request["user"])


class Forked:
    """One of several processes of a run, or the launcher of a simulated machine; as much of a Popen as is used."""

    def __init__(self, command: list[str], environment: dict[str, str], log: IO[bytes] | None = None) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid:
            return
        code = 1
        try:
            os.setsid()
            os.environ.update(environment)
            if log is not None:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            work = run if command[2] == "dltk" else importlib.import_module(command[2]).main
            code = work(command[3:])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def poll(self, options: int = os.WNOHANG) -> int | None:
        if self.returncode is None:
            done, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if done else None
        return self.returncode

    def wait(self) -> int | None:
        return self.poll(0)

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


if __name__ == "__main__":  # a command's data workers import this file too
    import lightning  # noqa: F401
    import omegaconf  # noqa: F401
    import rich.progress  # noqa: F401
    import torchvision  # noqa: F401

    import dltk.launch.ensemble  # noqa: F401
    from dltk.cli import main, run
    from dltk.launch import measuring, processes, rank, simulation  # noqa: F401
    from dltk.trainer.strategies import zero

    gc.freeze()  # children need not look through all of this for cycles
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the tests' terminal is not for the server
    request = serve()
    if request is not None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        become(request)
        if not request["cold_ranks"]:
            processes._start = simulation._start = Forked
        main(request["arguments"])
    gc.freeze()  # the last look for cycles takes seconds
