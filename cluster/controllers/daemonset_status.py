"""The status of a DaemonSet.  Pure.  Upstream: pkg/controller/daemon/daemon_controller.go (updateDaemonSetStatus)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cluster.controllers.daemonset_plan import is_available, is_updated, min_ready_s
from cluster.controllers.daemonset_pods import by_node, fit_of
from cluster.controllers.pods import available_in_s, is_ready
from cluster.machinery.objects import Obj, field_of, generation_of, is_deleting, name_of


def status_of(daemon: Obj, nodes: Sequence[Obj], pods: Sequence[Obj], *, hash_: str, now: datetime) -> dict[str, Any]:
    """`status` from the nodes and its pods; the oldest pod of a node speaks for it."""
    placed = by_node(pods)
    desired = [name_of(node) for node in nodes if fit_of(daemon, node).should_run]
    misplaced = sum(name_of(node) in placed and not fit_of(daemon, node).should_run for node in nodes)
    oldest = [placed[node][0] for node in desired if node in placed]
    available = sum(is_available(daemon, pod, now=now) for pod in oldest)
    status: dict[str, Any] = {
        "observedGeneration": generation_of(daemon),
        "desiredNumberScheduled": len(desired),
        "currentNumberScheduled": len(oldest),
        "numberMisscheduled": misplaced,
        "numberReady": sum(is_ready(pod) for pod in oldest),
    }
    counts = {
        "updatedNumberScheduled": sum(is_updated(pod, hash_) for pod in oldest),
        "numberAvailable": available,
        "numberUnavailable": len(desired) - available,
    }
    status |= {name: count for name, count in counts.items() if count}
    if (collisions := field_of(daemon, "status", "collisionCount")) is not None:
        status["collisionCount"] = collisions
    return status


def next_look_s(daemon: Obj, pods: Sequence[Obj], *, now: datetime) -> float | None:
    """Seconds until the next ready pod becomes available by `minReadySeconds`; None when none is on its way."""
    waits = (available_in_s(pod, min_ready_s=min_ready_s(daemon), now=now) for pod in pods if not is_deleting(pod))
    # A little later than due: lastTransitionTime has whole seconds.
    return min((wait + 0.1 for wait in waits if wait), default=None)
