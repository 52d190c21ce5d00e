"""Healthy when ready, or ended well; degraded when it failed, cannot be placed or its containers cannot start."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.machinery.objects import Obj, field_of
from reconciler.health.status import HEALTHY, condition_of, degraded, is_true, message_of, progressing
from reconciler.model import HealthStatus

CANNOT_START = frozenset(
    {
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)


def pod(obj: Obj) -> HealthStatus:
    phase = field_of(obj, "status", "phase", default="")
    if phase == "Succeeded":
        return HEALTHY
    if phase == "Failed":
        return degraded(str(field_of(obj, "status", "message", default="") or "it failed"))
    for container in _containers(obj):
        waiting = field_of(container, "state", "waiting", default={})
        if waiting.get("reason") in CANNOT_START:
            why = waiting.get("message") or waiting["reason"]
            return degraded(f"container {container.get('name', '')}: {waiting['reason']}: {why}")
    if is_true(obj, "Ready"):
        return HEALTHY
    scheduled = condition_of(obj, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return degraded(message_of(scheduled))
    return progressing("not ready yet")


def _containers(obj: Obj) -> Iterator[Obj]:
    for field in ("initContainerStatuses", "containerStatuses"):
        yield from field_of(obj, "status", field, default=())
