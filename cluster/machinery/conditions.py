"""Status conditions: reading one, and setting one so that its transition time moves only when its status does.

Upstream: apimachinery/pkg/api/meta/conditions.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.machinery.objects import Obj


def conditions_of(obj: Obj) -> Sequence[Obj]:
    """`status.conditions`, empty when absent."""
    conditions: Sequence[Obj] = (obj.get("status") or {}).get("conditions") or ()
    return conditions


def get_condition(conditions: Sequence[Obj], kind: str) -> Obj | None:
    return next((condition for condition in conditions if condition.get("type") == kind), None)


def is_condition_true(obj: Obj, kind: str) -> bool:
    condition = get_condition(conditions_of(obj), kind)
    return condition is not None and condition.get("status") == "True"


def make_condition(
    kind: str, status: bool | None, reason: str = "", message: str = "", *, observed_generation: int | None = None
) -> dict[str, Any]:
    """A condition without times; `status` None is "Unknown"."""
    condition: dict[str, Any] = {"type": kind, "status": "Unknown" if status is None else str(status)}
    if observed_generation is not None:
        condition["observedGeneration"] = observed_generation
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def set_condition(conditions: Sequence[Obj], condition: Obj, now: str) -> Sequence[Obj]:
    """The conditions with `condition` in its type's place, or at the end; the given sequence itself when nothing changes.

    `lastTransitionTime` is `now` when the status differs from before, else it stays; a time in `condition` wins.
    Fields that `condition` does not name but upstream writes beside it (`lastProbeTime`, `lastHeartbeatTime`) stay.
    """
    for index, old in enumerate(conditions):
        if old.get("type") != condition["type"]:
            continue
        same_status = old.get("status") == condition.get("status")
        stamp = old.get("lastTransitionTime") if same_status else now
        kept = {name: value for name, value in old.items() if name in ("lastProbeTime", "lastHeartbeatTime")}
        new = {**kept, "lastTransitionTime": stamp if stamp is not None else now, **condition}
        if new == old:
            return conditions
        return [*conditions[:index], new, *conditions[index + 1 :]]
    return [*conditions, {"lastTransitionTime": now, **condition}]


def set_conditions(conditions: Sequence[Obj], changes: Sequence[Obj], now: str) -> Sequence[Obj]:
    """`set_condition` for each of `changes`, in order."""
    for condition in changes:
        conditions = set_condition(conditions, condition, now)
    return conditions


def without_condition(conditions: Sequence[Obj], kind: str) -> Sequence[Obj]:
    """The conditions without that type; the given sequence itself when it has none."""
    if get_condition(conditions, kind) is None:
        return conditions
    return [condition for condition in conditions if condition.get("type") != kind]
