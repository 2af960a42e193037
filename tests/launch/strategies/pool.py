"""Groups of processes that live through many trainings: starting four takes longer than most of what they compute.

`Pool.run_processes` stands in for `dltk.launch.processes.run_processes`, which starts the processes of one attempt. All
else is as always: the launcher prepares the run, and each process trains it by `dltk.launch.rank.train`.
"""

import json
import os
import select
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import torch

from dltk.errors import ExitCode
from dltk.launch import processes
from dltk.launch.processes import Group
from dltk.run.folder import RunFolder

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 200.0  # seconds for one training
TRAININGS = 40  # of one group: threads of process groups that are gone stay, and hundreds of them take a core


class Pool:
    """A group for each number of processes, begun when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._groups: dict[int, list[subprocess.Popen[str]]] = {}
        self._trained: dict[int, int] = {}  # by each group

    def run_processes(self, folder: RunFolder, command: list[str], accelerator: str, group: Group, signals: Any) -> Any:
        """One attempt: its exit code and reason. The command is `… rank FOLDER [CHECKPOINT]`."""
        world = group.world
        restart = command[4] if len(command) > 4 else None
        request = {"folder": str(folder.path.absolute()), "token": folder.token, "restart": restart}
        ends = self._ask(world, request)
        bad = next((end for end in ends if end["code"] != ExitCode.DONE), None)
        if bad is None:
            return ExitCode.DONE, "done"
        self._end(world)  # the others may wait for the one that failed
        raise AssertionError(f"{bad['reason']}\n{bad['trace']}\nsee {self.folder}/world-{world}-*.log")

    def close(self) -> None:
        """End all groups."""
        for world in list(self._groups):
            self._end(world)

    def _ask(self, world: int, request: dict[str, Any]) -> list[dict[str, Any]]:
        if self._trained.get(world, 0) >= TRAININGS:
            self._end(world)
        if world not in self._groups:
            self._groups[world] = self._begin(world)
        ranks = self._groups[world]
        self._trained[world] = self._trained.get(world, 0) + 1
        late = threading.Timer(PATIENCE, self._kill, [ranks])
        late.start()
        try:
            for process in ranks:
                print(json.dumps(request), file=process.stdin, flush=True)
            answers: list[dict[str, Any]] = []
            waiting: list[Any] = [process.stdout for process in ranks]
            while waiting and all(answer["code"] == ExitCode.DONE for answer in answers):
                for pipe in select.select(waiting, [], [])[0]:
                    line = pipe.readline()
                    answers.append(json.loads(line) if line else {"code": 1, "reason": "a process died", "trace": ""})
                    waiting.remove(pipe)
            return answers
        finally:
            late.cancel()

    def _begin(self, world: int) -> list["subprocess.Popen[str]"]:
        ranks = []
        for rank, environment in processes._environments(Group(world), "cpu", ""):
            path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
            environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
            log = (self.folder / f"world-{world}-rank-{rank}.log").open("ab")
            command = [sys.executable, "-m", "tests.launch.strategies.pool"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
            ranks.append(subprocess.Popen(command, env=environment, text=True, cwd=ROOT, **pipes))
        return ranks

    def _end(self, world: int) -> None:
        ranks = self._groups.pop(world)
        self._trained.pop(world, None)
        self._kill(ranks)
        for process in ranks:
            process.wait()

    @staticmethod
    def _kill(ranks: list["subprocess.Popen[str]"]) -> None:
        for process in ranks:
            process.kill()


def serve() -> None:
    """Train what is asked for, one run a line, until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from dltk.launch import rank
    from dltk.trainer.make import Place
    from dltk.trainer.signals import Signals

    place, linear = Place.of_environment(os.environ), torch.nn.functional.linear
    with Signals(say=False) as signals:
        for line in sys.stdin:
            asked = json.loads(line)
            answer = {"code": 1, "reason": "", "trace": ""}
            try:
                folder = RunFolder.open(Path(asked["folder"]), token=asked["token"])
                rank.set_threads(rank.effective_settings(folder), place.world)
                restart = Path(asked["restart"]) if asked["restart"] else None
                code, reason = rank.train(folder, place, signals, restart)
                assert torch.nn.functional.linear is linear, "the training left torch changed"
                answer |= {"code": int(code), "reason": reason}
            except BaseException as error:
                answer |= {"reason": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve()
