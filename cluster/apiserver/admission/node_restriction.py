"""A node's agent writes its own Node and its own pods' status, and nothing about who it is or what it may run.

Upstream: plugin/pkg/admission/noderestriction (with the fix of CVE-2025-5187: no changes of owner references).
"""

from __future__ import annotations

from cluster.apiserver.admission.api import Attributes, Validating, forbidden
from cluster.apiserver.node_authorizer import NODE_PREFIX, node_name_of, references_of
from cluster.base.certificate_requests import BadRequestPem, parse_request
from cluster.machinery.objects import Obj, annotations_of, field_of, labels_of, owner_references_of
from cluster.resources.certificates import KUBE_APISERVER_CLIENT_KUBELET, KUBELET_SERVING, request_pem_of

MIRROR = "kubernetes.io/config.mirror"
OWN_PREFIXES = ("kubelet.kubernetes.io", "node.kubernetes.io")
OWN_LABELS = frozenset(
    (
        "kubernetes.io/hostname", "kubernetes.io/arch", "kubernetes.io/os", "beta.kubernetes.io/arch", "beta.kubernetes.io/os",
        "beta.kubernetes.io/instance-type", "topology.kubernetes.io/zone", "topology.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/region",
    )
)  # fmt: skip


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
            case ("certificates.k8s.io", "certificatesigningrequests") if attributes.operation == "CREATE":
                self._certificate_request(attributes, node)
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
            changed = [name for name in labels_of(new) if not _may_label(name)]
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
            case "CREATE" if not attributes.subresource and (used := _used_by(attributes.obj)):
                raise forbidden(attributes, f'node "{node}" can not create pods that reference {used}')
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

    def _certificate_request(self, attributes: Attributes, node: str) -> None:
        """A node asks for its own certificates only (upstream since 1.31)."""
        signer = field_of(attributes.obj, "spec", "signerName", default="")
        if signer not in (KUBE_APISERVER_CLIENT_KUBELET, KUBELET_SERVING):
            return
        try:
            asked = parse_request(request_pem_of(attributes.obj)).common_name
        except BadRequestPem:
            return  # validation has refused it
        if asked != f"{NODE_PREFIX}{node}":
            raise forbidden(attributes, f'can only create a node CSR with CN={NODE_PREFIX}{node}, not "{asked}"')


def _used_by(pod: Obj) -> str:
    """What a mirror pod may not use, for it would give its node the right to read it; empty: nothing."""
    default = field_of(pod, "spec", "serviceAccountName", default="") in ("", "default")
    return next((plural for plural, _ in references_of(pod) if plural != "serviceaccounts" or not default), "")


def _may_label(name: str) -> bool:
    """Labels of Kubernetes' own that say what a node is and not what it is trusted with (upstream: IsKubeletLabel)."""
    prefix, slash, _ = name.partition("/")
    if not slash or not (prefix.endswith(("kubernetes.io", "k8s.io"))):
        return True
    if prefix.rpartition("node-restriction.kubernetes.io")[1]:
        return False
    return name in OWN_LABELS or any(prefix == own or prefix.endswith(f".{own}") for own in OWN_PREFIXES)


def _changed_restricted_labels(new: Obj, old: Obj) -> list[str]:
    before, after = labels_of(old), labels_of(new)
    names = {name for name in (*before, *after) if not _may_label(name)}
    return sorted(name for name in names if before.get(name) != after.get(name))
