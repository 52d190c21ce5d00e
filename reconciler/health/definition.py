"""A CustomResourceDefinition is healthy once its kind is served."""

from __future__ import annotations

from cluster.machinery.objects import Obj
from reconciler.health.status import HEALTHY, condition_of, degraded, is_true, message_of, progressing
from reconciler.model import HealthStatus


def custom_resource_definition(obj: Obj) -> HealthStatus:
    names = condition_of(obj, "NamesAccepted")
    if names.get("status") == "False":
        return degraded(message_of(names))
    return HEALTHY if is_true(obj, "Established") else progressing("not established yet")
