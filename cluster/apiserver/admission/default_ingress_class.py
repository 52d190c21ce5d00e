"""An Ingress that names no class gets the default one.  Upstream: plugin/pkg/admission/network/defaultingressclass."""

from __future__ import annotations

from cluster.apiserver.admission.api import Attributes, Mutating
from cluster.apiserver.state import State, TableId
from cluster.machinery.objects import Obj, annotations_of, field_of, meta_of, name_of, with_field
from cluster.resources.networking import CLASS_ANNOTATION, GROUP

DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
_CLASSES = TableId(GROUP, "ingressclasses")


class DefaultIngressClass(Mutating):
    def __init__(self, state: State) -> None:
        self._state = state

    def mutate(self, attributes: Attributes) -> Obj:
        ingress = attributes.obj
        if attributes.operation != "CREATE" or attributes.group_resource != (GROUP, "ingresses"):
            return ingress
        if field_of(ingress, "spec", "ingressClassName") is not None or CLASS_ANNOTATION in annotations_of(ingress):
            return ingress
        classes = [self._state.obj(row) for row in self._state.table(_CLASSES).ordered()]
        defaults = [one for one in classes if annotations_of(one).get(DEFAULT_CLASS) == "true"]
        if not defaults:
            return ingress
        newest = max(str(meta_of(one).get("creationTimestamp", "")) for one in defaults)
        chosen = next(one for one in defaults if meta_of(one).get("creationTimestamp", "") == newest)
        return with_field(ingress, ("spec", "ingressClassName"), name_of(chosen))
