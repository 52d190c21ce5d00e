"""A pod's priority is the value of its class.  Upstream: plugin/pkg/admission/priority."""

from __future__ import annotations

from typing import Any

from cluster.apiserver.admission.api import Attributes, Mutating
from cluster.apiserver.state import State, TableId
from cluster.machinery.errors import Forbidden
from cluster.machinery.objects import Key, Obj, name_of

SYSTEM_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_CLASSES = TableId("scheduling.k8s.io", "priorityclasses")


class Priority(Mutating):
    def __init__(self, state: State) -> None:
        self._state = state

    def mutate(self, attributes: Attributes) -> Obj:
        """Raises Forbidden for a class that does not exist, or a priority that its class does not give."""
        if attributes.operation != "CREATE" or attributes.group_resource != ("", "pods") or attributes.subresource:
            return attributes.obj
        spec: dict[str, Any] = dict(attributes.obj.get("spec") or {})
        name = spec.get("priorityClassName") or ""
        value, policy = self._default(spec) if not name else self._class(name, attributes.key.name)
        if spec.get("priority") not in (None, value):
            raise Forbidden(
                f'pods "{attributes.key.name}" is forbidden: the integer value of priority ({spec["priority"]}) must not be '
                f"provided in pod spec; priority admission controller computed {value} from the given PriorityClass name",
                kind="pods",
                name=attributes.key.name,
            )
        spec["priority"] = value
        spec.setdefault("preemptionPolicy", policy)
        return {**attributes.obj, "spec": spec}

    def _class(self, name: str, pod: str) -> tuple[int, str]:
        if name in SYSTEM_CLASSES:
            return SYSTEM_CLASSES[name], "PreemptLowerPriority"
        row = self._state.table(_CLASSES).get(Key("", name))
        if row is None:
            raise Forbidden(
                f'pods "{pod}" is forbidden: no PriorityClass with name {name} was found', kind="pods", name=pod
            )
        return _value_of(self._state.obj(row))

    def _default(self, spec: dict[str, Any]) -> tuple[int, str]:
        found = [self._state.obj(row) for row in self._state.table(_CLASSES).ordered()]
        defaults = [found_class for found_class in found if found_class.get("globalDefault")]
        if not defaults:
            return 0, "PreemptLowerPriority"
        # Several defaults: the lowest wins, as upstream.
        chosen = min(defaults, key=lambda one: (int(one.get("value", 0)), name_of(one)))
        spec["priorityClassName"] = name_of(chosen)
        return _value_of(chosen)


def _value_of(priority_class: Obj) -> tuple[int, str]:
    return int(priority_class.get("value", 0)), str(priority_class.get("preemptionPolicy") or "PreemptLowerPriority")
