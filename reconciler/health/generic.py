"""Any kind without a rule of its own: the conditions that most controllers agree on (kstatus' generic rules)."""

from __future__ import annotations

from cluster.machinery.objects import Obj, field_of
from reconciler.health.status import HEALTHY, NOT_SEEN, condition_of, degraded, is_behind, message_of, progressing
from reconciler.model import HealthStatus


def generic(obj: Obj) -> HealthStatus:
    """Stalled, Reconciling and Ready are believed; an object without status is healthy as soon as it exists."""
    if field_of(obj, "status", "observedGeneration") is not None and is_behind(obj):
        return NOT_SEEN
    stalled = condition_of(obj, "Stalled")
    if stalled.get("status") == "True":
        return degraded(message_of(stalled))
    reconciling = condition_of(obj, "Reconciling")
    if reconciling.get("status") == "True":
        return progressing(message_of(reconciling))
    ready = condition_of(obj, "Ready")
    if ready.get("status") in ("False", "Unknown"):
        return progressing(message_of(ready))
    return HEALTHY
