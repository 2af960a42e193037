"""Several machines on this one: a run's launch as a cluster would do it, on the CPU, with faults on demand."""

import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

from dltk.errors import ExitCode, LaunchError
from dltk.launch.nodes import PARENT
from dltk.launch.processes import POLL
from dltk.run.folder import RunFolder
from dltk.trainer.faults import VARIABLE, Kill, Slow, write
from dltk.trainer.signals import Signals, blocked

_TOPOLOGY = re.compile(r"([1-9]\d{0,2})x([1-9]\d{0,2})")
_KILL = re.compile(r"rank=(\d{1,5})@step=(\d{1,9})")
_SLOW = re.compile(r"rank=(\d{1,5}):(\d{1,6})ms")


@dataclass(frozen=True)
class Simulation:
    """So many machines of so many processes each."""

    nodes: int
    local: int
    faults: tuple[Kill | Slow, ...] = ()

    @classmethod
    def read(cls, topology: str, kill: list[str], slow: list[str]) -> "Simulation":
        """From the command line: `2x4`, `rank=3@step=7`, `rank=1:200ms`.

        Raises:
            LaunchError: one is not of this form, or there is no such rank.
        """
        nodes, local = _numbers(_TOPOLOGY, "--simulate", topology, "Write 2x4 for two machines of four processes.")
        faults: list[Kill | Slow] = []
        faults += [Kill(*_numbers(_KILL, "--kill", text, "Write rank=3@step=7.")) for text in kill]
        faults += [Slow(*_numbers(_SLOW, "--slow", text, "Write rank=1:200ms.")) for text in slow]
        for fault in faults:
            if fault.rank >= nodes * local:
                what = f"there is no rank {fault.rank} among {nodes * local} processes"
                raise LaunchError("", "--simulate", what, f"Ranks go from 0 to {nodes * local - 1}.")
        return cls(nodes, local, tuple(faults))

    @property
    def settings(self) -> list[str]:
        """What it says of the place."""
        return [f"launch.nodes={self.nodes}", f"launch.devices={self.local}", "launch.accelerator=cpu"]

    def attempt(self, folder: RunFolder, signals: Signals) -> ExitCode:
        """One attempt, by a launcher for each machine, as a job would start it."""
        command = [sys.executable, "-m", "dltk", "node", str(folder.path), *self.settings]
        launchers: list[subprocess.Popen[bytes]] = []
        try:
            with blocked():
                for environment in self._environments():
                    launchers.append(_start(command, environment))
            _pass_on(launchers, signals)
        finally:
            for launcher in launchers:
                if launcher.poll() is None:
                    launcher.kill()  # its processes see it gone, and leave
                    launcher.wait()
        code = launchers[0].returncode  # the first one's is that of all
        return ExitCode(code) if code in list(ExitCode) else ExitCode.CRASHED

    def _environments(self) -> Iterator[dict[str, str]]:
        """What Slurm would tell the task of each node."""
        job = f"simulated-{secrets.token_hex(4)}"
        said = {"SLURM_JOB_ID": job, "SLURM_STEP_NUM_TASKS": self.nodes, "SLURM_STEP_NUM_NODES": self.nodes}
        ours = {"SLURMD_NODENAME": "127.0.0.1", VARIABLE: write(self.faults), PARENT: os.getpid()}
        for number in range(self.nodes):
            slurm = {**said, "SLURM_PROCID": number, "SLURM_NODEID": number, "SLURM_RESTART_COUNT": 0}
            yield {**os.environ, **{name: str(value) for name, value in {**slurm, **ours}.items()}}


def _start(command: list[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
    """One launcher, in a session of its own."""
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _pass_on(launchers: list["subprocess.Popen[bytes]"], signals: Signals) -> None:
    """Wait for all, telling them what this process is told."""
    told = None
    while any(launcher.poll() is None for launcher in launchers):
        if signals.received != told:
            told = signals.received
            for launcher in launchers:
                if told is not None and launcher.poll() is None:
                    launcher.send_signal(told)
        time.sleep(POLL)


def _numbers(form: "re.Pattern[str]", option: str, text: str, remedy: str) -> tuple[int, int]:
    found = form.fullmatch(text)
    if found is None:
        raise LaunchError("", option, f"'{text}' cannot be read", remedy)
    return int(found[1]), int(found[2])
