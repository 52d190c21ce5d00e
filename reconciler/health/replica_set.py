"""Healthy once as many replicas as asked for are available."""

from __future__ import annotations

from cluster.machinery.objects import Obj, field_of
from reconciler.health.status import (
    HEALTHY,
    NOT_SEEN,
    condition_of,
    count_of,
    degraded,
    is_behind,
    message_of,
    progressing,
)
from reconciler.model import HealthStatus


def replica_set(obj: Obj) -> HealthStatus:
    if is_behind(obj):
        return NOT_SEEN
    failure = condition_of(obj, "ReplicaFailure")
    if failure.get("status") == "True":
        return degraded(message_of(failure))
    wanted, available = int(field_of(obj, "spec", "replicas", default=1)), count_of(obj, "availableReplicas")
    return HEALTHY if available >= wanted else progressing(f"{available} of {wanted} replicas available")
