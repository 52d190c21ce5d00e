"""Our own kinds: an Application is as healthy as what it applied, a Repository when it can be read."""

from __future__ import annotations

from cluster.machinery.objects import Obj, field_of
from reconciler.health.status import HEALTHY, NOT_SEEN, condition_of, degraded, is_behind, message_of, progressing
from reconciler.model import Health, HealthStatus


def application(obj: Obj) -> HealthStatus:
    if field_of(obj, "spec", "suspend", default=False):
        return HealthStatus(Health.SUSPENDED, "suspended")
    if is_behind(obj):
        return NOT_SEEN
    ready = condition_of(obj, "Ready")
    match ready.get("status"):
        case "True":
            return HEALTHY
        case "False" if field_of(obj, "status", "health") != Health.PROGRESSING:
            return degraded(message_of(ready))
        case _:
            return progressing(message_of(ready) or "not synced yet")


def repository(obj: Obj) -> HealthStatus:
    if is_behind(obj):
        return NOT_SEEN
    ready = condition_of(obj, "Ready")
    if ready.get("status") == "False":
        return degraded(message_of(ready))
    return HEALTHY if ready.get("status") == "True" else progressing("not read yet")
