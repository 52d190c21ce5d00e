"""Healthy once complete; a CronJob always, as its Jobs speak for themselves."""

from __future__ import annotations

from cluster.machinery.objects import Obj, field_of
from reconciler.health.status import HEALTHY, condition_of, degraded, is_true, message_of, progressing
from reconciler.model import Health, HealthStatus


def job(obj: Obj) -> HealthStatus:
    failed = condition_of(obj, "Failed")
    if failed.get("status") == "True":
        return degraded(message_of(failed))
    if is_true(obj, "Complete"):
        return HEALTHY
    if field_of(obj, "spec", "suspend", default=False):
        return HealthStatus(Health.SUSPENDED, "suspended")
    return progressing("not complete yet")
