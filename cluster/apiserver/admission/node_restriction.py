"""A node's agent writes its own Node and its own pods' status, and nothing about who it is or what it may run.

Upstream: plugin/pkg/admission/noderestriction (with the fix of CVE-2025-5187: no changes of owner references).
"""

from __future__ import annotations

from cluster.apiserver.admission.api import Attributes, Validating, forbidden
from cluster.apiserver.node_authorizer import node_name_of
from cluster.machinery.objects import Obj, annotations_of, field_of, labels_of, owner_references_of

MIRROR = "kubernetes.io/config.mirror"
RESTRICTED_LABELS = "node-restriction.kubernetes.io/"


class NodeRestriction(Validating):
    def validate(self, attributes: Attributes) -> None:
        """Raises Forbidden."""
        node = node_name_of(attributes.user)
        if not node:
            return
        match attributes.group_resource:
            case ("", "nodes"):
                self._node(attributes, node)
            case ("", "pods"):
                self._pod(attributes, node)
            case ("coordination.k8s.io", "leases"):
                if attributes.key.name != node:
                    raise forbidden(attributes, f'node "{node}" may only write its own lease')

    def _node(self, attributes: Attributes, node: str) -> None:
        if attributes.key.name != node:
            raise forbidden(attributes, f'node "{node}" is not allowed to modify node "{attributes.key.name}"')
        if attributes.operation == "DELETE":
            raise forbidden(attributes, "nodes may not delete themselves")
        new, old = attributes.obj, attributes.old
        if old is None:
            changed = [name for name in labels_of(new) if RESTRICTED_LABELS in name]
        else:
            changed = _changed_restricted_labels(new, old)
            if field_of(new, "spec", "taints") != field_of(old, "spec", "taints"):
                raise forbidden(attributes, f'node "{node}" is not allowed to modify taints')
            if list(owner_references_of(new)) != list(owner_references_of(old)):
                raise forbidden(attributes, f'node "{node}" is not allowed to modify ownerReferences')
        if changed:
            listed = ", ".join(sorted(changed))
            raise forbidden(attributes, f'node "{node}" is not allowed to modify labels: {listed}')

    def _pod(self, attributes: Attributes, node: str) -> None:
        match attributes.operation:
            case "CREATE" if MIRROR not in annotations_of(attributes.obj):
                why = f'pod does not have "{MIRROR}" annotation, node "{node}" can only create mirror pods'
                raise forbidden(attributes, why)
            case "CREATE" | "UPDATE" | "DELETE":
                bound = field_of(attributes.old or attributes.obj, "spec", "nodeName", default="")
                if bound != node:
                    raise forbidden(attributes, f'node "{node}" can only write pods with spec.nodeName set to itself')
                if attributes.operation == "UPDATE" and attributes.subresource != "status":
                    raise forbidden(attributes, f'node "{node}" can only update the status of pods')
            case "CONNECT":
                raise forbidden(attributes, f'node "{node}" may not connect to pods')


def _changed_restricted_labels(new: Obj, old: Obj) -> list[str]:
    before, after = labels_of(old), labels_of(new)
    names = {name for name in (*before, *after) if RESTRICTED_LABELS in name}
    return sorted(name for name in names if before.get(name) != after.get(name))
