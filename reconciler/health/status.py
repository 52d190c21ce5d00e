"""What every rule reads: generation, conditions, counts.  Semantics after kstatus (kubernetes-sigs/cli-utils)."""

from __future__ import annotations

from collections.abc import Iterable

from cluster.machinery.objects import Obj, field_of, generation_of
from reconciler.model import Health, HealthStatus

HEALTHY = HealthStatus(Health.HEALTHY)


def progressing(message: str) -> HealthStatus:
    return HealthStatus(Health.PROGRESSING, message)


def degraded(message: str) -> HealthStatus:
    return HealthStatus(Health.DEGRADED, message)


def condition_of(obj: Obj, condition_type: str) -> Obj:
    """The condition, or an empty mapping."""
    conditions: Iterable[Obj] = field_of(obj, "status", "conditions", default=())
    return next((condition for condition in conditions if condition.get("type") == condition_type), {})


def is_true(obj: Obj, condition_type: str) -> bool:
    return condition_of(obj, condition_type).get("status") == "True"


def message_of(condition: Obj) -> str:
    return str(condition.get("message") or condition.get("reason") or condition.get("type", ""))


def count_of(obj: Obj, name: str) -> int:
    return int(field_of(obj, "status", name, default=0))


def is_behind(obj: Obj) -> bool:
    """Its controller has not yet seen the newest spec."""
    observed = field_of(obj, "status", "observedGeneration")
    return observed is None or int(observed) < generation_of(obj)


NOT_SEEN = progressing("its controller has not seen the newest spec yet")


def worst(statuses: Iterable[HealthStatus]) -> HealthStatus:
    """The first of the worst; nothing at all is healthy."""
    order = list(Health)
    return max(statuses, key=lambda status: order.index(status.health), default=HEALTHY)
