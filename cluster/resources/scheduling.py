"""The scheduling group: PriorityClass.  Upstream: pkg/apis/scheduling/{types,helpers,validation/validation}.go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import forbidden, not_supported
from cluster.machinery.objects import GroupKind, Obj, name_of
from cluster.resources.defaulting import filled
from cluster.resources.immutability import validate_immutable
from cluster.resources.kind import Kind
from cluster.resources.printing import AGE, NAME, Column, field_cell
from cluster.resources.strategy import GenericStrategy

GROUP = "scheduling.k8s.io"
SYSTEM_CLASSES: Mapping[str, int] = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
SYSTEM_PREFIX = "system-"
USER_PRIORITY_MAX = 1_000_000_000
PREEMPTION_POLICIES = ("PreemptLowerPriority", "Never")
_DESCRIPTIONS = {
    "system-cluster-critical": "Used for system critical pods that must run in the cluster, but can be moved to another "
    "node if necessary.",
    "system-node-critical": "Used for system critical pods that must not be moved from their current node.",
}


def value_of(priority_class: Obj) -> int:
    return int(priority_class.get("value") or 0)


def policy_of(priority_class: Obj) -> str:
    return str(priority_class.get("preemptionPolicy") or PREEMPTION_POLICIES[0])


def system_priority_classes() -> tuple[Obj, ...]:
    """The classes that every cluster has."""
    return tuple(
        {
            "apiVersion": f"{GROUP}/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "description": _DESCRIPTIONS[name],
        }
        for name, value in SYSTEM_CLASSES.items()
    )


class PriorityClassStrategy(GenericStrategy):
    namespaced = False
    has_generation = True
    allow_create_on_update = True

    def default(self, obj: Obj) -> Obj:
        return filled(obj, absent={"value": 0, "preemptionPolicy": PREEMPTION_POLICIES[0]})

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_class(obj))

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        found = [*validate_immutable(new, old, "preemptionPolicy")]
        if value_of(new) != value_of(old):
            found.append(forbidden("value", "may not be changed in an update."))
        return (*self._validate(new), *found)


def _validate_class(obj: Obj) -> Iterator[Cause]:
    name, value = name_of(obj), value_of(obj)
    if name.startswith(SYSTEM_PREFIX):
        if wrong := _system_class_error(name, value, is_default=bool(obj.get("globalDefault"))):
            why = "priority class names with 'system-' prefix are reserved for system use only. error: "
            yield forbidden("metadata.name", why + wrong)
    elif value > USER_PRIORITY_MAX:
        yield forbidden("value", f"maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}")
    policy = obj.get("preemptionPolicy")
    if policy not in PREEMPTION_POLICIES:
        yield not_supported("preemptionPolicy", policy or "", PREEMPTION_POLICIES)


def _system_class_error(name: str, value: int, *, is_default: bool) -> str:
    if name not in SYSTEM_CLASSES:
        return f"{name} is not a known system priority class"
    if value != SYSTEM_CLASSES[name]:
        return f"value of {name} PriorityClass must be {SYSTEM_CLASSES[name]}"
    return f"globalDefault of {name} PriorityClass must be false" if is_default else ""


def _policy_cell(obj: Obj, now: datetime) -> str:
    return policy_of(obj)


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind(GROUP, "PriorityClass"): Kind(
        PriorityClassStrategy(),
        (
            NAME,
            Column("Value", field_cell("value", default=0), "integer"),
            Column("Global-Default", field_cell("globalDefault", default=False), "boolean"),
            AGE,
            Column("PreemptionPolicy", _policy_cell),
        ),
    ),
}
