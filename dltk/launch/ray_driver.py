"""The driver of a run on Ray: it holds the run's lease, lets Ray Train keep a group of workers training, and concludes.

It runs as a job of Ray's job server, or in the process that submits. When it dies, so do its workers; started again on
the same run, by whomever and on any cluster that sees the run folder, it goes on from the last checkpoint.
"""

import contextlib
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dltk import recipe
from dltk.errors import DltkError, ExitCode, LaunchError
from dltk.launch.here import lease_of
from dltk.launch.nodes import Node
from dltk.launch.processes import POLL
from dltk.launch.rank import FINE, End, say
from dltk.launch.ray_group import DRIVER, Order, Workers, work
from dltk.launch.ray_jobs import submission_id
from dltk.launch.ray_policies import trainer
from dltk.run.checkpoint import step_of
from dltk.run.folder import RunFolder
from dltk.trainer.signals import Signals

LEAVING = 5.0  # seconds for which nobody may train before a request to leave is answered by the driver


def drive(
    folder: RunFolder, changed: Mapping[str, Any], workers: Workers, address: str | None, signals: Signals
) -> ExitCode:
    """Train a run on a cluster of Ray until it is done, or does not go on.

    Args:
        folder: the run, which all nodes see.
        changed: settings of its place, by dotted key.
        workers: how many.
        address: of the cluster, as `ray.init` takes it; None: the one that this process is a job of.
        signals: taken already.

    Raises:
        LaunchError: another process trains this run, or the cluster has no room.
        DltkError: the user's mistake that a worker found.
    """
    settings = recipe.thaw(folder.path / "recipe.yaml").settings
    fit = workers.sizes(settings)
    job = submission_id() or f"driver-{secrets.token_hex(3)}"
    old_stop = folder.stop_request()
    with lease_of(folder, Node(0, 1, job, socket.gethostname()), signals):
        if folder.stop_request() == old_stop:
            folder.clear_stop()  # else it came a moment ago
        (folder.path / "logs").mkdir(exist_ok=True)
        with _connected(address):
            order = Order(
                path=str(folder.path.absolute()),
                token=folder.token,
                accelerator=_accelerator(changed.get("launch.accelerator", settings["launch"]["accelerator"])),
                changed=dict(changed),
                folder=str(Path.cwd()),
                job=f"ray {job}",
            )
            line = workers.skipped(settings)
            if line:
                say(line)
            before = len(folder.ledger.attempts())
            error = _fitted(folder, _trainer(folder, order, workers, fit, settings), signals)
        return _concluded(folder, before, error)


def _trainer(folder: RunFolder, order: Order, workers: Workers, fit: list[int], settings: Mapping[str, Any]) -> Any:
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig

    # Ray would look for checkpoints of an earlier driver's, which may be pruned by now; the run folder knows better.
    (folder.path / "checkpoints" / "checkpoint_manager_snapshot.json").unlink(missing_ok=True)
    cuda = order.accelerator == "cuda"
    elastic = len(fit) > 1
    seconds = order.changed.get("launch.resize_seconds", settings["launch"].get("resize_seconds", 60.0))
    return trainer(
        folder.path.absolute(),
        fit,
        train_loop_per_worker=work,
        train_loop_config=asdict(order),
        torch_config=TorchConfig(backend="nccl" if cuda else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=(fit[0], fit[-1]) if elastic else fit[0],
            use_gpu=cuda,
            resources_per_worker={"CPU": workers.cpus, **({"GPU": 1} if cuda else {})},
            **({"elastic_resize_monitor_interval_s": seconds} if elastic else {}),
        ),
        run_config=RunConfig(
            name="checkpoints",
            storage_path=str(folder.path.absolute()),
            # How often the group is made again is bounded by launch.max_attempts: without a step gained.
            failure_config=FailureConfig(max_failures=-1),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[None]:
    os.environ |= {"RAY_TRAIN_V2_ENABLED": "1", "RAY_CHDIR_TO_TRIAL_DIR": "0", "RAY_TRAIN_ENABLE_PRINT_PATCH": "0"}
    os.environ |= {"RAY_COLOR_PREFIX": "0"}
    import ray  # reads the variables now

    path = os.pathsep.join(entry for entry in sys.path if entry and Path(entry).is_dir())
    more: dict[str, Any] = {} if submission_id() else {"runtime_env": {"env_vars": {"PYTHONPATH": path}}}
    try:
        ray.init(address=address, log_to_driver=True, **more)
    except (ConnectionError, RuntimeError, ValueError) as error:
        what = f"no cluster answers ({str(error).strip().splitlines()[0]})"
        raise LaunchError("", "--address", what, "Start one: ray start --head.") from None
    try:
        yield
    finally:
        ray.shutdown()


def _accelerator(wanted: str) -> str:
    import ray

    has = "GPU" in ray.cluster_resources()
    if wanted == "cuda" and not has:
        raise LaunchError("", "launch.accelerator", "'cuda' asked, the cluster has no GPU", "Use 'auto' or 'cpu'.")
    return "cuda" if wanted == "cuda" or (wanted == "auto" and has) else "cpu"


def _fitted(folder: RunFolder, made: Any, signals: Signals) -> BaseException | None:
    """Let Ray train, passing on what this process is told; what Ray says of its end."""
    ended: list[BaseException | None] = []

    def fit() -> None:
        try:
            made.fit()
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=fit, name="dltk-ray", daemon=True)
    thread.start()
    told, asked = None, 0.0
    while thread.is_alive():
        if signals.received != told:
            told = signals.received
            name = "SIGINT" if told == signal.SIGINT else "SIGTERM"
            folder.request_stop(DRIVER, name, requeue=name != "SIGINT")
        asked = (asked or time.monotonic()) if _is_to_leave(folder) else 0.0
        if asked and time.monotonic() - asked > LEAVING:
            return None  # nobody trains who would read the request; Ray ends what waits with this process
        thread.join(10 * POLL)
    return ended[0] if ended else None


def _is_to_leave(folder: RunFolder) -> bool:
    """Whether the run is asked to end for good, or this process to leave, and no group is at work that hears of it."""
    request = folder.stop_request()
    if request is None or (request["requeue"] and request["who"] != DRIVER):
        return False
    attempts = folder.ledger.attempts()
    return not attempts or attempts[-1]["end"] is not None


def _concluded(folder: RunFolder, before: int, error: BaseException | None) -> ExitCode:
    """The exit code of the run, from its ledger; an attempt that left no end gets one.

    Raises:
        DltkError: the user's mistake that a worker found.
    """
    attempts, request = folder.ledger.attempts(), folder.stop_request()
    last = attempts[-1] if len(attempts) > before else None
    if error is None and request is not None and (last is None or last["exit_code"] in (None, ExitCode.PREEMPTED)):
        return ExitCode.PREEMPTED if request["requeue"] else ExitCode.INTERRUPTED
    ends = [end for path in (folder.path / "logs").glob("end-*.json") if (end := End.read_path(path))]
    failed = sorted((end for end in ends if end.code not in FINE), key=lambda end: end.time)
    mistakes = [end for end in failed if end.mistake is not None]
    reason = failed[0].reason if failed else str(error).strip().splitlines()[-1] if error else "crashed"
    code = ExitCode.MISTAKE if mistakes else ExitCode.CRASHED
    if last is not None and (last["end"] is None or last["exit_code"] is None):
        folder.ledger.end(last["attempt"], reason, code, step_of(folder.checkpoints.newest()))
    elif last is not None:
        code = ExitCode(last["exit_code"])
    if mistakes and mistakes[0].mistake:
        raise DltkError(*mistakes[0].mistake)
    if code is ExitCode.CRASHED:
        say(f"{folder.path}: {reason}")
        if failed and failed[0].trace:
            say(failed[0].trace.rstrip())
    return code
