"""The status of a StatefulSet.  Pure.  Upstream: pkg/controller/statefulset/stateful_set_control.go (updateStatus)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cluster.controllers.pods import available_in_s
from cluster.controllers.statefulset_plan import Revisions, is_available, is_running_and_ready, min_ready_s
from cluster.controllers.statefulset_pods import revision_of
from cluster.machinery.objects import Obj, field_of, generation_of, is_deleting, name_of


def status_of(stateful: Obj, pods: Sequence[Obj], revisions: Revisions, *, now: datetime) -> dict[str, Any]:
    """`status` from its pods.  Zero counts are left out where upstream's serialisation does."""
    update, current = name_of(revisions.update), name_of(revisions.current)
    staying = [pod for pod in pods if not is_deleting(pod)]
    counts = {
        "readyReplicas": sum(is_running_and_ready(pod, now=now) for pod in pods),
        "currentReplicas": sum(revision_of(pod) == current for pod in staying),
        "updatedReplicas": sum(revision_of(pod) == update for pod in staying),
    }
    wanted = int(field_of(stateful, "spec", "replicas", default=1))
    rolling = field_of(stateful, "spec", "updateStrategy", "type", default="RollingUpdate") == "RollingUpdate"
    if rolling and len(pods) == counts["updatedReplicas"] == counts["readyReplicas"] == wanted:
        # The rollout is complete: from now on that is the current one.
        current, counts["currentReplicas"] = update, counts["updatedReplicas"]
    status: dict[str, Any] = {
        "observedGeneration": generation_of(stateful),
        "replicas": len(pods),
        "availableReplicas": sum(is_available(stateful, pod, now=now) for pod in pods),
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": int(field_of(stateful, "status", "collisionCount", default=0)),
    }
    return status | {name: count for name, count in counts.items() if count}


def next_look_s(stateful: Obj, pods: Sequence[Obj], *, now: datetime) -> float | None:
    """Seconds until the next ready pod becomes available by `minReadySeconds`; None when none is on its way."""
    waits = (available_in_s(pod, min_ready_s=min_ready_s(stateful), now=now) for pod in pods if not is_deleting(pod))
    # A little later than due: lastTransitionTime has whole seconds.
    return min((wait + 0.1 for wait in waits if wait), default=None)
