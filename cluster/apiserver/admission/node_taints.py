"""A new node takes no pods until its conditions say it can.  Upstream: plugin/pkg/admission/nodetaint."""

from __future__ import annotations

from cluster.apiserver.admission.api import Attributes, Mutating
from cluster.machinery.objects import Obj, field_of, with_field

NOT_READY = "node.kubernetes.io/not-ready"


class TaintNodesByCondition(Mutating):
    def mutate(self, attributes: Attributes) -> Obj:
        if attributes.operation != "CREATE" or attributes.group_resource != ("", "nodes") or attributes.subresource:
            return attributes.obj
        taints = field_of(attributes.obj, "spec", "taints", default=())
        if any((taint.get("key"), taint.get("effect")) == (NOT_READY, "NoSchedule") for taint in taints):
            return attributes.obj
        return with_field(attributes.obj, ("spec", "taints"), [*taints, {"key": NOT_READY, "effect": "NoSchedule"}])
