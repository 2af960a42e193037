"""When Ray Train makes a group of workers again, and of how many.

Ray's own policies, changed in three things. A worker that has failed by itself ends the run, for the same would happen
again; one that was killed, or has saved and left, does not. A group has a size that divides the global batch, so that
each worker has as many samples. And a group that is to grow, or of which a node is taken away, is asked to save and
leave by the run folder's STOP file, instead of being cut off at its last checkpoint.
"""

import contextlib
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dltk.launch.ray_group import DRIVER, Crashed, Leaving
from dltk.run.folder import RunFolder

SETTLING = 60.0  # seconds within which Ray sees that a node is gone


def trainer(path: Path, fit: Sequence[int], **arguments: Any) -> Any:
    """Ray's TorchTrainer with these policies.

    Args:
        path: of the run folder.
        fit: numbers of workers that a group may have, rising.
        arguments: of TorchTrainer.
    """
    import ray
    from ray.exceptions import RayError
    from ray.train.torch import TorchTrainer
    from ray.train.v2._internal.execution.failure_handling import DefaultFailurePolicy, FailureDecision
    from ray.train.v2._internal.execution.scaling_policy import (
        ElasticScalingPolicy,
        FixedScalingPolicy,
        NoopDecision,
        ResizeDecision,
    )
    from ray.train.v2.api.exceptions import WorkerGroupError

    # The classes are made here, for Ray is imported where it is used; Ray sends them to its controller by value.

    class Failures(DefaultFailurePolicy):
        """Who is started again."""

        def make_decision(self, training_failed_error: Any) -> Any:
            """Whether the group is made again."""
            if isinstance(training_failed_error, WorkerGroupError):
                failures = training_failed_error.worker_failures.values()
                leaving = any(isinstance(one, Leaving) for one in failures)
                driver = (RunFolder(path).stop_request() or {}).get("who") == DRIVER
                if any(isinstance(one, Crashed) for one in failures) or (leaving and driver):
                    return FailureDecision.RAISE
            return super().make_decision(training_failed_error)

    class Notices:
        """Nodes that will be taken away, or that may be gone and are not known to be."""

        _restarting_at = float("-inf")

        def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
            """Ask to save when Ray tells that a node of the group will go."""
            names = [type(state).__name__ for state in (previous_state, current_state)]
            if names[1] == "PreemptingState" and names[0] != "PreemptingState":
                ask(path, "a node of the group will be taken away")
            if names[1] == "RestartingState" != names[0]:
                self._restarting_at = time.monotonic()

        def make_decision_for_non_running_worker_group(self) -> Any:
            """Wait until Ray knows which nodes have gone: it would begin on them, and wait for a minute."""
            if time.monotonic() - self._restarting_at < SETTLING and _is_silent():
                return NoopDecision()
            return super().make_decision_for_non_running_worker_group()  # type: ignore[misc]

    class Fixed(Notices, FixedScalingPolicy):
        """One size."""

    class Elastic(Notices, ElasticScalingPolicy):
        """The largest size that fits."""

        def _get_reserved_resources(self) -> Any:
            """What the cluster keeps for this run, as it is now: Ray itself looks every twenty seconds."""
            known = self._latest_reserved_resources_query_time
            if time.monotonic() - known >= self.GET_RESERVED_RESOURCES_INTERVAL_S:
                coordinator = self._autoscaling_coordinator
                with contextlib.suppress(TypeError, RayError):  # the next one will do
                    ray.get(coordinator.get_reserved_resources.remote(self._requester_id, recompute=True), timeout=5)
            return super()._get_reserved_resources()

        def _count_possible_workers(self, reserved_resources: Any) -> int:
            # What is reserved was looked at some time ago, and nodes may have gone since.
            here = {node: has for node, has in reserved_resources.items() if node in _staying()}
            room = super()._count_possible_workers(here)
            return max((count for count in fit if count <= room), default=0)

        def make_decision_for_running_worker_group(self, worker_group_state: Any, worker_group_status: Any) -> Any:
            """Let a group that would change its size save first; when it has left, the new size is chosen."""
            decision = super().make_decision_for_running_worker_group(worker_group_state, worker_group_status)
            if not isinstance(decision, ResizeDecision):
                return decision
            ask(path, f"{decision.num_workers} workers have room, instead of {worker_group_state.num_workers}")
            return NoopDecision()

    class Trainer(TorchTrainer):
        """TorchTrainer with our policies."""

        def _initialize_and_run_controller(self, **given: Any) -> Any:
            elastic = self.scaling_config.elasticity_enabled
            given["scaling_policy"] = (Elastic if elastic else Fixed)(self.scaling_config)
            given["failure_policy"] = Failures(self.run_config.failure_config)
            return super()._initialize_and_run_controller(**given)

    return Trainer(**arguments)


def _staying() -> frozenset[str]:
    """The nodes that live, and that will not be taken away."""
    import ray
    from ray._private.state import state

    leaving = state.get_draining_nodes()
    return frozenset(node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] not in leaving)


def _is_silent() -> bool:
    """Whether a node that Ray takes for alive does not answer."""
    import ray

    for node in ray.nodes():
        if node["Alive"]:
            try:
                socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), 1.0).close()
            except OSError:
                return True
    return False


def ask(path: Path, why: str) -> None:
    """Ask the group to save and leave, unless somebody has already."""
    run = RunFolder(path)
    if run.stop_request() is None:
        run.request_stop("ray", why, requeue=True)
