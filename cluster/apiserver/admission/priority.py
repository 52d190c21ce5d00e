"""A pod's priority is the value of its class; only one class is the default.  Upstream: plugin/pkg/admission/priority."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cluster.apiserver.admission.api import Attributes, forbidden, is_new_pod
from cluster.apiserver.state import State, TableId
from cluster.machinery.objects import Key, Obj, name_of
from cluster.resources.scheduling import GROUP, PREEMPTION_POLICIES, SYSTEM_CLASSES, policy_of, value_of

_CLASSES = TableId(GROUP, "priorityclasses")


class Priority:
    def __init__(self, state: State) -> None:
        self._state = state

    def mutate(self, attributes: Attributes) -> Obj:
        """Raises Forbidden for a class that does not exist, or a priority that its class does not give."""
        if not is_new_pod(attributes):
            return attributes.obj
        spec: dict[str, Any] = dict(attributes.obj.get("spec") or {})
        name = spec.get("priorityClassName") or ""
        chosen = self._class(name, attributes) if name else self._default()
        if chosen is not None:
            spec["priorityClassName"] = name_of(chosen)
        value, policy = (value_of(chosen), policy_of(chosen)) if chosen is not None else (0, PREEMPTION_POLICIES[0])
        given = (spec.get("priority"), value), (spec.get("preemptionPolicy"), policy)
        for (stated, computed), what in zip(
            given, ("integer value of priority", "string value of PreemptionPolicy"), strict=True
        ):
            if stated not in (None, computed):
                raise forbidden(
                    attributes,
                    f"the {what} ({stated}) must not be provided in pod spec; priority admission controller computed "
                    f"{computed} from the given PriorityClass name",
                )
        return {**attributes.obj, "spec": {**spec, "priority": value, "preemptionPolicy": policy}}

    def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden for a second default class, and for the deletion of a system class."""
        if attributes.group_resource != (GROUP, "priorityclasses"):
            return
        name = attributes.key.name
        if attributes.operation == "DELETE":
            if name in SYSTEM_CLASSES:
                raise forbidden(attributes, "this is a system priority class and cannot be deleted")
        elif attributes.obj.get("globalDefault"):
            other = next((name_of(one) for one in self._defaults() if name_of(one) != name), "")
            if other:
                raise forbidden(
                    attributes, f"PriorityClass {other} is already marked as default. Only one default can exist"
                )

    def _class(self, name: str, attributes: Attributes) -> Obj:
        row = self._state.table(_CLASSES).get(Key("", name))
        if row is None:
            raise forbidden(attributes, f"no PriorityClass with name {name} was found")
        return self._state.obj(row)

    def _defaults(self) -> Iterator[Obj]:
        classes = (self._state.obj(row) for row in self._state.table(_CLASSES).rows.values())
        return (one for one in classes if one.get("globalDefault"))

    def _default(self) -> Obj | None:
        # Several defaults, written at the same moment: the lowest wins, as upstream.
        return min(self._defaults(), key=lambda one: (value_of(one), name_of(one)), default=None)
