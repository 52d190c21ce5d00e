"""The node group: RuntimeClass.  Upstream: pkg/apis/node/validation/validation.go, pkg/registry/node/runtimeclass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import duplicate, invalid
from cluster.machinery.names import label_errors, labels_causes
from cluster.machinery.objects import GroupKind, Obj, field_of
from cluster.resources.container_validation import validate_resources
from cluster.resources.immutability import validate_immutable
from cluster.resources.kind import Kind
from cluster.resources.pod_validation import validate_toleration
from cluster.resources.printing import AGE, NAME, Column, field_cell
from cluster.resources.strategy import GenericStrategy

GROUP = "node.k8s.io"


class RuntimeClassStrategy(GenericStrategy):
    namespaced = False
    allow_create_on_update = True

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_class(obj))

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        return (*self._validate(new), *validate_immutable(new, old, "handler"))


def _validate_class(obj: Obj) -> Iterator[Cause]:
    handler = obj.get("handler") or ""
    for why in label_errors(handler):
        yield invalid("handler", handler, why)
    for cause in validate_resources({"limits": field_of(obj, "overhead", "podFixed", default={})}, ""):
        yield Cause(cause.reason, cause.message, "overhead.podFixed" + cause.field.removeprefix(".limits"))
    scheduling = obj.get("scheduling") or {}
    yield from labels_causes(scheduling.get("nodeSelector") or {}, "scheduling.nodeSelector")
    tolerations = scheduling.get("tolerations") or ()
    for index, toleration in enumerate(tolerations):
        path = f"scheduling.tolerations[{index}]"
        yield from validate_toleration(toleration, path)
        if toleration in tolerations[:index]:
            yield duplicate(path, toleration)


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind(GROUP, "RuntimeClass"): Kind(
        RuntimeClassStrategy(), (NAME, Column("Handler", field_cell("handler"), description="The runtime's name"), AGE)
    ),
}
