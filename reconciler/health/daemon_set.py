"""Healthy once every node that should run a pod runs an available one of the newest template."""

from __future__ import annotations

from cluster.machinery.objects import Obj, field_of
from reconciler.health.status import HEALTHY, NOT_SEEN, count_of, is_behind, progressing
from reconciler.model import HealthStatus


def daemon_set(obj: Obj) -> HealthStatus:
    if is_behind(obj):
        return NOT_SEEN
    wanted = count_of(obj, "desiredNumberScheduled")
    updated, available = count_of(obj, "updatedNumberScheduled"), count_of(obj, "numberAvailable")
    if field_of(obj, "spec", "updateStrategy", "type") != "OnDelete" and updated < wanted:
        return progressing(f"{updated} of {wanted} pods updated")
    if available < wanted:
        return progressing(f"{available} of {wanted} pods available")
    return HEALTHY
