"""Groups of processes that live through many trainings: starting four takes longer than most of what they compute.

`Pool.run_processes` stands in for `dltk.launch.processes.run_processes`, which starts the processes of one attempt. All
else is as always: the launcher prepares the run, and each process trains it by `dltk.launch.rank.train`.
"""

import multiprocessing
import os
import threading
import traceback
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

import torch

from dltk.errors import ExitCode
from dltk.launch import processes, rank
from dltk.launch.processes import Group
from dltk.run.folder import RunFolder
from dltk.trainer.make import Place
from dltk.trainer.signals import Signals

PATIENCE = 200.0  # seconds for one training
TRAININGS = 10  # of one group: threads of process groups that are gone stay, and hundreds of them take a core
MODULE = "tests.launch.strategies.imported"  # by the process that the others are forked from


class Rank(NamedTuple):
    """One process of a group, and what is said with it."""

    process: Any
    pipe: Connection


class Pool:
    """A group for each number of processes, begun when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._groups: dict[int, list[Rank]] = {}
        self._trained: dict[int, int] = {}  # by each group

    def run_processes(self, folder: RunFolder, command: list[str], accelerator: str, group: Group, signals: Any) -> Any:
        """One attempt: its exit code and reason. The command is `… rank FOLDER [CHECKPOINT]`."""
        world = group.world
        restart = command[4] if len(command) > 4 else None
        request = {"folder": folder.path.absolute(), "token": folder.token, "restart": restart and Path(restart)}
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
        late = threading.Timer(PATIENCE, _kill, [ranks])
        late.start()
        try:
            for one in ranks:
                one.pipe.send(request)
            answers: list[dict[str, Any]] = []
            waiting = [one.pipe for one in ranks]
            while waiting and all(answer["code"] == ExitCode.DONE for answer in answers):
                for pipe in wait(waiting):
                    assert isinstance(pipe, Connection)
                    waiting.remove(pipe)
                    try:
                        answers.append(pipe.recv())
                    except EOFError:
                        answers.append({"code": 1, "reason": "a process died", "trace": ""})
            return answers
        finally:
            late.cancel()

    def _begin(self, world: int) -> list[Rank]:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([MODULE])
        ranks = []
        for number, environment in processes._environments(Group(world), "cpu", ""):
            ours, theirs = context.Pipe()
            log = self.folder / f"world-{world}-rank-{number}.log"
            process = context.Process(target=serve, args=(theirs, {**environment, "OMP_NUM_THREADS": "1"}, log))
            process.start()
            theirs.close()
            ranks.append(Rank(process, ours))
        return ranks

    def _end(self, world: int) -> None:
        ranks = self._groups.pop(world)
        self._trained.pop(world, None)
        _kill(ranks)
        for one in ranks:
            one.process.join()
            one.pipe.close()


def _kill(ranks: list[Rank]) -> None:
    for one in ranks:
        one.process.kill()


def serve(pipe: Connection, environment: dict[str, str], log: Path) -> None:
    """Train what is asked for, one run at a time, until nobody asks any more."""
    os.environ.update(environment)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    place, linear = Place.of_environment(os.environ), torch.nn.functional.linear
    with Signals(say=False) as signals:
        while True:
            try:
                asked = pipe.recv()
            except EOFError:
                return
            answer = {"code": 1, "reason": "", "trace": ""}
            try:
                folder = RunFolder.open(asked["folder"], token=asked["token"])
                rank.set_threads(rank.effective_settings(folder), place.world)
                code, reason = rank.train(folder, place, signals, asked["restart"])
                assert torch.nn.functional.linear is linear, "the training left torch changed"
                answer |= {"code": int(code), "reason": reason}
            except BaseException as error:
                answer |= {"reason": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
            pipe.send(answer)
