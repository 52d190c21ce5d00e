"""The built-in resources by name: what discovery lists and what components pass to a Transport.

Upstream: the 1.33 release's resource table.  `catalog` joins each with its schema, strategy and columns.
"""

from __future__ import annotations

from cluster.machinery.resource import ALL_VERBS, Resource

CREATE_ONLY = ("create",)


def _resource(
    group: str,
    version: str,
    kind: str,
    plural: str,
    *short: str,
    namespaced: bool = True,
    categories: tuple[str, ...] = (),
    verbs: tuple[str, ...] = ALL_VERBS,
    subresources: tuple[str, ...] = (),
) -> Resource:
    return Resource(
        group=group,
        version=version,
        kind=kind,
        plural=plural,
        namespaced=namespaced,
        singular=kind.lower(),
        short_names=short,
        categories=categories,
        verbs=verbs,
        subresources=subresources,
    )


ALL = ("all",)

NAMESPACES = _resource(
    "", "v1", "Namespace", "namespaces", "ns", namespaced=False, subresources=("status", "finalize"),
    verbs=tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
)  # fmt: skip
NODES = _resource("", "v1", "Node", "nodes", "no", namespaced=False, subresources=("status",))
PODS = _resource(
    "", "v1", "Pod", "pods", "po", categories=ALL,
    subresources=("status", "binding", "log", "exec", "attach", "portforward", "eviction", "ephemeralcontainers"),
)  # fmt: skip
CONFIG_MAPS = _resource("", "v1", "ConfigMap", "configmaps", "cm")
SECRETS = _resource("", "v1", "Secret", "secrets")
SERVICES = _resource("", "v1", "Service", "services", "svc", categories=ALL, subresources=("status",))
ENDPOINTS = _resource("", "v1", "Endpoints", "endpoints", "ep")
EVENTS = _resource("", "v1", "Event", "events", "ev")
SERVICE_ACCOUNTS = _resource("", "v1", "ServiceAccount", "serviceaccounts", "sa", subresources=("token",))

EVENTS_V1 = _resource("events.k8s.io", "v1", "Event", "events", "ev")
ENDPOINT_SLICES = _resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
LEASES = _resource("coordination.k8s.io", "v1", "Lease", "leases")

DEPLOYMENTS = _resource(
    "apps", "v1", "Deployment", "deployments", "deploy", categories=ALL, subresources=("status", "scale")
)
REPLICA_SETS = _resource(
    "apps", "v1", "ReplicaSet", "replicasets", "rs", categories=ALL, subresources=("status", "scale")
)

_RBAC = "rbac.authorization.k8s.io"
ROLES = _resource(_RBAC, "v1", "Role", "roles")
ROLE_BINDINGS = _resource(_RBAC, "v1", "RoleBinding", "rolebindings")
CLUSTER_ROLES = _resource(_RBAC, "v1", "ClusterRole", "clusterroles", namespaced=False)
CLUSTER_ROLE_BINDINGS = _resource(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False)

CUSTOM_RESOURCE_DEFINITIONS = _resource(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", "crd", "crds",
    namespaced=False, categories=("api-extensions",), subresources=("status",),
)  # fmt: skip

TOKEN_REVIEWS = _resource(
    "authentication.k8s.io", "v1", "TokenReview", "tokenreviews", namespaced=False, verbs=CREATE_ONLY
)
SELF_SUBJECT_REVIEWS = _resource(
    "authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", namespaced=False, verbs=CREATE_ONLY
)
_AUTHZ = "authorization.k8s.io"
SUBJECT_ACCESS_REVIEWS = _resource(
    _AUTHZ, "v1", "SubjectAccessReview", "subjectaccessreviews", namespaced=False, verbs=CREATE_ONLY
)
SELF_SUBJECT_ACCESS_REVIEWS = _resource(
    _AUTHZ, "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False, verbs=CREATE_ONLY
)
SELF_SUBJECT_RULES_REVIEWS = _resource(
    _AUTHZ, "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", namespaced=False, verbs=CREATE_ONLY
)
LOCAL_SUBJECT_ACCESS_REVIEWS = _resource(
    _AUTHZ, "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews", verbs=CREATE_ONLY
)

BUILTIN: tuple[Resource, ...] = (
    NAMESPACES, NODES, PODS, CONFIG_MAPS, SECRETS, SERVICES, ENDPOINTS, EVENTS, SERVICE_ACCOUNTS, EVENTS_V1,
    ENDPOINT_SLICES, LEASES, DEPLOYMENTS, REPLICA_SETS, ROLES, ROLE_BINDINGS, CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS,
    CUSTOM_RESOURCE_DEFINITIONS, TOKEN_REVIEWS, SELF_SUBJECT_REVIEWS, SUBJECT_ACCESS_REVIEWS, SELF_SUBJECT_ACCESS_REVIEWS,
    SELF_SUBJECT_RULES_REVIEWS, LOCAL_SUBJECT_ACCESS_REVIEWS,
)  # fmt: skip
"""Every stored or virtual resource served from the start, in discovery order."""
