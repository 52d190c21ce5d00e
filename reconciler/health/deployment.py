"""Healthy once every replica is of the newest template and available, and none of the old is left."""

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
from reconciler.model import Health, HealthStatus


def deployment(obj: Obj) -> HealthStatus:
    if is_behind(obj):
        return NOT_SEEN
    stuck = condition_of(obj, "Progressing")
    if stuck.get("reason") == "ProgressDeadlineExceeded":
        return degraded(message_of(stuck))
    failure = condition_of(obj, "ReplicaFailure")
    if failure.get("status") == "True":
        return degraded(message_of(failure))
    if field_of(obj, "spec", "paused", default=False):
        return HealthStatus(Health.SUSPENDED, "paused")
    wanted = int(field_of(obj, "spec", "replicas", default=1))
    updated, replicas, available = (count_of(obj, f) for f in ("updatedReplicas", "replicas", "availableReplicas"))
    if updated < wanted:
        return progressing(f"{updated} of {wanted} new replicas created")
    if replicas > updated:
        return progressing(f"{replicas - updated} old replicas still to end")
    if available < wanted:
        return progressing(f"{available} of {wanted} replicas available")
    return HEALTHY
