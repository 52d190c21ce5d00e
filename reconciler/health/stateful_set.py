"""Healthy once all replicas are ready and, unless updates wait for deletion, of the newest revision."""

from __future__ import annotations

from cluster.machinery.objects import Obj, field_of
from reconciler.health.status import HEALTHY, NOT_SEEN, count_of, is_behind, progressing
from reconciler.model import HealthStatus


def stateful_set(obj: Obj) -> HealthStatus:
    if is_behind(obj):
        return NOT_SEEN
    wanted, ready = int(field_of(obj, "spec", "replicas", default=1)), count_of(obj, "readyReplicas")
    if ready < wanted:
        return progressing(f"{ready} of {wanted} replicas ready")
    if field_of(obj, "spec", "updateStrategy", "type") == "OnDelete":
        return HEALTHY
    partition = int(field_of(obj, "spec", "updateStrategy", "rollingUpdate", "partition", default=0))
    updated, due = count_of(obj, "updatedReplicas"), max(wanted - partition, 0)
    if updated < due:
        return progressing(f"{updated} of {due} replicas updated")
    return HEALTHY
