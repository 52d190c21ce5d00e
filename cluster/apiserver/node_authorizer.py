"""What a node's agent may do: read what its own pods use, write what it observed of them and of itself.  Pure but for reads.

Upstream: plugin/pkg/auth/authorizer/node.  The agent also programs Services and answers DNS, so it reads those everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cluster.apiserver.http import Identity
from cluster.apiserver.rbac import Access
from cluster.apiserver.state import State, TableId
from cluster.client.node_frames import PATH
from cluster.client.node_settings import NODE_SETTINGS
from cluster.machinery.objects import Key, Obj, field_of

NODE_PREFIX = "system:node:"
NODES_GROUP = "system:nodes"

_PODS = TableId("", "pods")
_READS = frozenset(("get", "list", "watch"))
_READ_EVERYWHERE = frozenset(
    (
        ("", "services"), ("", "endpoints"), ("", "namespaces"), ("discovery.k8s.io", "endpointslices"),
        ("networking.k8s.io", "networkpolicies"), ("certificates.k8s.io", "certificatesigningrequests"),
        ("node.k8s.io", "runtimeclasses"), ("", "persistentvolumes"),
    )
)  # fmt: skip
_WRITES = frozenset(
    (
        ("create", "", "events"), ("update", "", "events"), ("patch", "", "events"),
        ("create", "events.k8s.io", "events"), ("update", "events.k8s.io", "events"), ("patch", "events.k8s.io", "events"),
        ("create", "", "nodes"), ("create", "authentication.k8s.io", "tokenreviews"),
        ("create", "authorization.k8s.io", "subjectaccessreviews"),
        ("create", "certificates.k8s.io", "certificatesigningrequests"),
    )
)  # fmt: skip
_OWN_NODE_VERBS = frozenset(("get", "list", "watch", "update", "patch"))
_OWN_POD_VERBS = frozenset(("get", "delete", "create", "update", "patch"))


def node_name_of(user: Identity) -> str:
    """The node whose agent this is, or nothing."""
    if user.name.startswith(NODE_PREFIX) and NODES_GROUP in user.groups:
        return user.name.removeprefix(NODE_PREFIX)
    return ""


def node_allows(state: State, node: str, access: Access, *, field_node: str = "") -> bool:
    """`field_node` is the `spec.nodeName` that a list or watch of pods is limited to."""
    if access.path:
        return access.path == f"{PATH}{node}"
    thing = (access.group, access.plural)
    if access.verb in _READS and thing in _READ_EVERYWHERE:
        return True
    if (access.verb, *thing) in _WRITES:
        return True
    match thing:
        case ("", "configmaps") if Key(access.namespace, access.name) == NODE_SETTINGS:
            return access.verb == "get"
        case ("", "nodes"):
            return access.verb in _OWN_NODE_VERBS and access.name == node
        case ("", "nodes/status"):
            return access.verb in ("patch", "update", "get") and access.name == node
        case ("coordination.k8s.io", "leases"):
            own = access.name == node or access.verb == "create"
            return access.namespace == "kube-node-lease" and own and access.verb not in ("list", "deletecollection")
        case ("", "pods"):
            if access.verb in ("list", "watch"):
                return field_node == node
            return access.verb in _OWN_POD_VERBS and (access.verb == "create" or _runs(state, node, access))
        case ("", "pods/status") | ("", "pods/eviction"):
            return access.verb in ("get", "patch", "update", "create") and _runs(state, node, access)
        case ("", "secrets") | ("", "configmaps") | ("", "persistentvolumeclaims"):
            return access.verb in _READS and bool(access.name) and _uses(state, node, access)
        case ("", "serviceaccounts/token"):
            return access.verb == "create" and _uses(state, node, access)
        case ("", "serviceaccounts"):
            return access.verb == "get" and _uses(state, node, access)
        case _:
            return False


def _runs(state: State, node: str, access: Access) -> bool:
    row = state.table(_PODS).get(Key(access.namespace, access.name))
    return row is not None and row.node == node


def _uses(state: State, node: str, access: Access) -> bool:
    plural = access.plural.partition("/")[0]
    for row in (state.table(_PODS).by_node.get(node) or {}).values():
        if row.key.namespace == access.namespace and (plural, access.name) in set(references_of(state.obj(row))):
            return True
    return False


def references_of(pod: Obj) -> Iterator[tuple[str, str]]:
    """(plural, name) of every object in its namespace that running the pod needs.  Upstream: podutil.VisitPod*Names."""
    spec = field_of(pod, "spec", default={})
    yield "serviceaccounts", spec.get("serviceAccountName") or "default"
    for secret in spec.get("imagePullSecrets") or ():
        yield "secrets", secret.get("name", "")
    for volume in spec.get("volumes") or ():
        yield from _volume_references(volume)
        for source in field_of(volume, "projected", "sources", default=()):
            yield from _volume_references(source)
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            for source in container.get("envFrom") or ():
                yield from _named(source, "configMapRef", "secretRef")
            for variable in container.get("env") or ():
                yield from _named(variable.get("valueFrom") or {}, "configMapKeyRef", "secretKeyRef")


def _volume_references(volume: Any) -> Iterator[tuple[str, str]]:
    if config_map := volume.get("configMap"):
        yield "configmaps", config_map.get("name", "")
    if secret := volume.get("secret"):
        yield "secrets", secret.get("secretName") or secret.get("name", "")
    if claim := volume.get("persistentVolumeClaim"):
        yield "persistentvolumeclaims", claim.get("claimName", "")


def _named(source: Any, config_map: str, secret: str) -> Iterator[tuple[str, str]]:
    if found := source.get(config_map):
        yield "configmaps", found.get("name", "")
    if found := source.get(secret):
        yield "secrets", found.get("name", "")
