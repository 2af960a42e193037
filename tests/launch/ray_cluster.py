"""A real Ray cluster of several nodes on this machine, started by `ray start`, with its login by token."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dltk.launch.processes import free_port
from tests.commands import processes, wait_until


class Node:
    """One node: the processes of a session."""

    def __init__(self, process: "subprocess.Popen[bytes]", out: Path) -> None:
        self._process, self._out = process, out

    def await_start(self) -> "Node":
        """Wait until it belongs to the cluster."""
        wait_until(lambda: "Ray runtime started" in self._out.read_text(), "a node of Ray", 60, self._print)
        return self

    def _print(self) -> None:
        print(self._out.read_text()[-3000:])

    def kill(self) -> None:
        """End all of them at once, as a power cut does."""
        for pid, (_, session) in processes().items():
            if session == self._process.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._process.wait(20)

    def workers(self) -> list[int]:
        """The processes that train on it."""
        found = []
        for pid, (_, session) in processes().items():
            if session == self._process.pid:
                with contextlib.suppress(OSError):
                    if b"RayTrainWorker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        found.append(pid)
        return found


class RayCluster:
    """A head without CPUs of its own, and nodes that come and go."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dltk-ray-", dir="/tmp"))  # short, for sockets lie in it
        token = self.folder / "token"
        token.write_text(secrets.token_hex(16))
        self.environment = {
            "RAY_TMPDIR": str(self.folder), "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5", "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
            # Ray would take half a minute to see that a node is gone.
            "RAY_health_check_period_ms": "500", "RAY_health_check_timeout_ms": "2000",
            "RAY_health_check_failure_threshold": "4", "RAY_health_check_initial_delay_ms": "2000",
        }  # fmt: skip
        self.nodes: list[Node] = []
        self.start_head()

    def start_head(self) -> None:
        """Start the head, and wait for its job server."""
        self.gcs, self.dashboard, client = (free_port() for _ in range(3))
        self.address = f"http://127.0.0.1:{self.dashboard}"
        head = ("--head", f"--port={self.gcs}", f"--dashboard-port={self.dashboard}", "--dashboard-host=127.0.0.1")
        self.head = self._start(*head, f"--ray-client-server-port={client}", "--num-cpus=0")
        self.head.await_start()

    def await_server(self) -> None:
        """Wait for the job server."""
        wait_until(lambda: _listens(self.dashboard), "Ray's job server", 60, self.head._print)

    def add(self) -> Node:
        """Start a node with one CPU, when the one before has started: two at once would take the same ports."""
        if self.nodes:
            self.nodes[-1].await_start()
        self.nodes.append(self._start(f"--address=127.0.0.1:{self.gcs}", "--num-cpus=1"))
        return self.nodes[-1]

    def kill(self, node: Node) -> None:
        """End a node."""
        self.nodes.remove(node)
        node.kill()

    def stop(self) -> None:
        """End everything."""
        for node in [*self.nodes, self.head]:
            node.kill()
        self.nodes = []

    def close(self) -> None:
        """End everything, and leave nothing behind."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, *arguments: str) -> Node:
        ray = Path(sys.executable).with_name("ray")
        common = ("--block", "--disable-usage-stats", "--object-store-memory=80000000", "--node-ip-address=127.0.0.1")
        number = len(list(self.folder.glob("out-*")))
        out = self.folder / f"out-{number}"
        with out.open("wb") as file:
            # Nodes that share a folder would take a job's code away from one another.
            command = [str(ray), "start", *arguments, *common, f"--temp-dir={self.folder / str(number)}"]
            environment = {**os.environ, **self.environment}
            pipes = {"stdout": file, "stderr": file}
            return Node(subprocess.Popen(command, env=environment, start_new_session=True, **pipes), out)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        time.sleep(0.1)
        return False
    return True
