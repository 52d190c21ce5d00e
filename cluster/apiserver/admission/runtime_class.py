"""What a pod's RuntimeClass adds to it: overhead, node selector, tolerations.  Upstream: plugin/pkg/admission/runtimeclass.

Whether the node can run the class at all is the pod policy's question.
"""

from __future__ import annotations

from typing import Any

from cluster.apiserver.admission.api import Attributes, Mutating, forbidden, is_new_pod
from cluster.apiserver.state import State, TableId
from cluster.machinery.objects import Key, Obj, field_of

_CLASSES = TableId("node.k8s.io", "runtimeclasses")


class RuntimeClass(Mutating):
    def __init__(self, state: State) -> None:
        self._state = state

    def mutate(self, attributes: Attributes) -> Obj:
        """Raises Forbidden for an unknown class, and for what contradicts it."""
        if not is_new_pod(attributes):
            return attributes.obj
        spec: dict[str, Any] = dict(attributes.obj.get("spec") or {})
        name = spec.get("runtimeClassName")
        if not name:
            if spec.get("overhead"):
                raise forbidden(
                    attributes, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
                )
            return attributes.obj
        row = self._state.table(_CLASSES).get(Key("", name))
        if row is None:
            raise forbidden(attributes, f'pod rejected: RuntimeClass "{name}" not found')
        chosen = self._state.obj(row)
        overhead = field_of(chosen, "overhead", "podFixed", default={})
        if spec.get("overhead") not in (None, {}, overhead):
            raise forbidden(attributes, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
        if overhead:
            spec["overhead"] = overhead
        return {**attributes.obj, "spec": _scheduled(spec, chosen.get("scheduling") or {}, attributes)}


def _scheduled(spec: dict[str, Any], scheduling: Obj, attributes: Attributes) -> Obj:
    wanted, present = scheduling.get("nodeSelector") or {}, spec.get("nodeSelector") or {}
    for key in sorted(wanted.keys() & present.keys()):
        if wanted[key] != present[key]:
            raise forbidden(
                attributes, f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted[key]}; "
                f"pod.spec.nodeSelector[{key}] = {present[key]}",
            )  # fmt: skip
    if wanted:
        spec["nodeSelector"] = {**present, **wanted}
    given = spec.get("tolerations") or []
    if added := [toleration for toleration in scheduling.get("tolerations") or () if toleration not in given]:
        spec["tolerations"] = [*given, *added]
    return spec
