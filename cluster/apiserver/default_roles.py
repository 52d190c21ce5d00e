"""The roles and bindings every cluster has, as data.  Pure.

Upstream: plugin/pkg/auth/authorizer/rbac/bootstrappolicy.  Per-controller roles name only what our controllers touch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.machinery.objects import Obj

RBAC_VERSION = "rbac.authorization.k8s.io/v1"
_META = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_AUTOUPDATE = {"rbac.authorization.kubernetes.io/autoupdate": "true"}

READ = ("get", "list", "watch")
WRITE = ("create", "delete", "deletecollection", "patch", "update")
CHANGE = ("get", "list", "watch", "create", "update", "patch", "delete")


def rule(groups: str, resources: str, verbs: Sequence[str], *, names: Sequence[str] = ()) -> Obj:
    """A PolicyRule; groups and resources separated by blanks, the core group written `core`."""
    made: dict[str, Any] = {
        "apiGroups": ["" if group == "core" else group for group in groups.split()],
        "resources": resources.split(),
        "verbs": list(verbs),
    }
    if names:
        made["resourceNames"] = list(names)
    return made


def paths(*urls: str) -> Obj:
    return {"nonResourceURLs": list(urls), "verbs": ["get"]}


_REQUESTS = "system:certificates.k8s.io:certificatesigningrequests"
_EVENTS = rule("core events.k8s.io", "events", ("create", "patch", "update"))
_LEASES = rule("coordination.k8s.io", "leases", ("get", "create", "update", "list", "watch", "patch"))

_VIEW = (
    rule(
        "core",
        "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "
        "replicationcontrollers/scale serviceaccounts services services/status bindings events limitranges "
        "namespaces/status pods/log pods/status replicationcontrollers/status resourcequotas resourcequotas/status "
        "namespaces",
        READ,
    ),
    rule("discovery.k8s.io", "endpointslices", READ),
    rule(
        "apps",
        "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status replicasets "
        "replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
        READ,
    ),
    rule("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", READ),
    rule("batch", "cronjobs cronjobs/status jobs jobs/status", READ),
    rule("networking.k8s.io", "ingresses ingresses/status networkpolicies", READ),
    rule("policy", "poddisruptionbudgets poddisruptionbudgets/status", READ),
    rule("metrics.k8s.io", "nodes pods", READ),
)
_EDIT = (
    rule("core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy", READ),
    rule("core", "serviceaccounts", ("impersonate",)),
    rule("core", "pods pods/attach pods/exec pods/portforward pods/proxy", WRITE),
    rule("core", "pods/eviction serviceaccounts/token", ("create",)),
    rule(
        "core",
        "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
        "serviceaccounts services services/proxy endpoints",
        WRITE,
    ),
    rule(
        "apps",
        "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale statefulsets "
        "statefulsets/scale",
        WRITE,
    ),
    rule("autoscaling", "horizontalpodautoscalers", WRITE),
    rule("batch", "cronjobs jobs", WRITE),
    rule("networking.k8s.io", "ingresses networkpolicies", WRITE),
    rule("policy", "poddisruptionbudgets", WRITE),
    rule("coordination.k8s.io", "leases", (*READ, *WRITE)),
)
_ADMIN = (
    rule("authorization.k8s.io", "localsubjectaccessreviews", ("create",)),
    rule("rbac.authorization.k8s.io", "rolebindings roles", (*READ, *WRITE)),
)

_WIDER = {"view": ("edit", "admin"), "edit": ("admin",), "admin": ()}
_WHOLE = {"view": _VIEW, "edit": (*_VIEW, *_EDIT), "admin": (*_VIEW, *_EDIT, *_ADMIN)}

_GENERAL: tuple[tuple[str, tuple[Obj, ...]], ...] = (
    ("cluster-admin", (rule("*", "*", ("*",)), {"nonResourceURLs": ["*"], "verbs": ["*"]})),
    ("system:discovery", (paths("/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*",
                                "/readyz", "/version", "/version/"),)),
    ("system:public-info-viewer", (paths("/healthz", "/livez", "/readyz", "/version", "/version/"),)),
    ("system:monitoring", (paths("/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics", "/readyz", "/readyz/*"),)),
    ("system:basic-user", (
        rule("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", ("create",)),
        rule("authentication.k8s.io", "selfsubjectreviews", ("create",)),
    )),
    ("system:auth-delegator", (
        rule("authentication.k8s.io", "tokenreviews", ("create",)),
        rule("authorization.k8s.io", "subjectaccessreviews", ("create",)),
    )),
    ("system:kube-scheduler", (
        _EVENTS, _LEASES, rule("core", "nodes", READ), rule("core", "pods", ("delete", *READ)),
        rule("core", "bindings pods/binding", ("create",)), rule("core", "pods/status", ("patch", "update")),
        rule("core", "replicationcontrollers services namespaces persistentvolumes persistentvolumeclaims", READ),
        rule("apps", "replicasets statefulsets", READ), rule("policy", "poddisruptionbudgets", READ),
        rule("storage.k8s.io", "storageclasses csinodes", READ),
        rule("core", "persistentvolumeclaims", ("patch", "update")),
        rule("scheduling.k8s.io", "priorityclasses", READ),
    )),
    ("system:kube-controller-manager", (
        _EVENTS, _LEASES, rule("*", "*", READ),
        rule("core", "serviceaccounts", ("create", "get")), rule("core", "serviceaccounts/token", ("create",)),
        rule("core", "secrets configmaps", ("create", "delete", "get", "update")),
        rule("core", "namespaces", ("get",)),
        rule("authentication.k8s.io", "tokenreviews", ("create",)),
        rule("authorization.k8s.io", "subjectaccessreviews", ("create",)),
    )),
    ("system:node-proxier", (
        _EVENTS, rule("core", "services endpoints nodes", READ), rule("discovery.k8s.io", "endpointslices", READ),
    )),
    ("system:node-bootstrapper", (
        rule("certificates.k8s.io", "certificatesigningrequests", ("create", "get", "list", "watch")),
    )),
    (f"{_REQUESTS}:nodeclient", (
        rule("certificates.k8s.io", "certificatesigningrequests/nodeclient", ("create",)),
    )),
    (f"{_REQUESTS}:selfnodeclient", (
        rule("certificates.k8s.io", "certificatesigningrequests/selfnodeclient", ("create",)),
    )),
    *((f"system:certificates.k8s.io:{signer}-approver", (
        rule("certificates.k8s.io", "signers", ("approve",), names=(f"kubernetes.io/{signer}",)),
    )) for signer in ("kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving", "legacy-unknown")),
    ("system:service-account-issuer-discovery", (paths("/.well-known/openid-configuration", "/openid/v1/jwks"),)),
    ("system:kube-dns", (
        rule("core", "services endpoints namespaces pods", READ), rule("discovery.k8s.io", "endpointslices", READ),
    )),
)  # fmt: skip

_CONTROLLERS: tuple[tuple[str, tuple[Obj, ...]], ...] = (
    ("deployment-controller", (
        rule("apps", "deployments", ("get", "list", "update", "watch")),
        rule("apps", "deployments/status deployments/finalizers", ("update", "patch")),
        rule("apps", "replicasets", CHANGE), rule("core", "pods", ("get", "list", "update", "watch")),
    )),
    ("replicaset-controller", (
        rule("apps", "replicasets", ("get", "list", "update", "watch")),
        rule("apps", "replicasets/status replicasets/finalizers", ("update", "patch")),
        rule("core", "pods", ("create", "delete", "get", "list", "patch", "update", "watch")),
    )),
    ("replication-controller", (
        rule("core", "replicationcontrollers", ("get", "list", "update", "watch")),
        rule("core", "replicationcontrollers/status replicationcontrollers/finalizers", ("update", "patch")),
        rule("core", "pods", ("create", "delete", "get", "list", "patch", "update", "watch")),
    )),
    ("statefulset-controller", (
        rule("core", "pods", CHANGE),
        rule("core", "persistentvolumeclaims", ("create", "get", "list", "watch", "update", "delete")),
        rule("apps", "statefulsets", READ), rule("apps", "statefulsets/status statefulsets/finalizers", ("update", "patch")),
        rule("apps", "controllerrevisions", CHANGE),
    )),
    ("daemon-set-controller", (
        rule("apps", "daemonsets", READ), rule("apps", "daemonsets/status daemonsets/finalizers", ("update", "patch")),
        rule("core", "nodes", READ), rule("core", "pods", CHANGE), rule("core", "pods/binding", ("create",)),
        rule("apps", "controllerrevisions", CHANGE),
    )),
    ("job-controller", (
        rule("batch", "jobs", ("get", "list", "update", "watch", "patch", "delete")),
        rule("batch", "jobs/status jobs/finalizers", ("update", "patch")), rule("core", "pods", CHANGE),
    )),
    ("cronjob-controller", (
        rule("batch", "cronjobs", ("get", "list", "update", "watch")),
        rule("batch", "cronjobs/status cronjobs/finalizers", ("update", "patch")),
        rule("batch", "jobs", CHANGE), rule("core", "pods", ("delete", "list")),
    )),
    ("ttl-after-finished-controller", (rule("batch", "jobs", ("delete", "get", "list", "watch")),)),
    ("service-controller", (
        rule("core", "services nodes", READ), rule("core", "services/status", ("update", "patch")), _EVENTS,
    )),
    ("endpointslice-controller", (
        rule("core", "services pods nodes", READ), rule("core", "services/finalizers", ("update",)),
        rule("discovery.k8s.io", "endpointslices", CHANGE),
    )),
    ("endpoint-controller", (
        rule("core", "services pods", READ), rule("core", "endpoints endpoints/restricted", CHANGE),
    )),
    ("endpointslicemirroring-controller", (
        rule("core", "services endpoints", READ), rule("core", "services/finalizers endpoints/finalizers", ("update",)),
        rule("discovery.k8s.io", "endpointslices", CHANGE),
    )),
    ("generic-garbage-collector", (rule("*", "*", ("delete", "get", "list", "patch", "update", "watch")),)),
    ("namespace-controller", (
        rule("core", "namespaces", ("delete", "get", "list", "watch")),
        rule("core", "namespaces/finalize namespaces/status", ("update", "patch")),
        rule("*", "*", ("delete", "deletecollection", "get", "list")),
    )),
    ("node-controller", (
        rule("core", "nodes", CHANGE), rule("core", "nodes/status pods/status", ("patch", "update")),
        rule("core", "pods", ("delete", "get", "list", "watch")), _LEASES,
    )),
    ("pod-garbage-collector", (
        rule("core", "pods", ("delete", "list", "watch", "get")), rule("core", "nodes", READ),
        rule("core", "pods/status", ("patch", "update")),
    )),
    ("service-account-controller", (rule("core", "serviceaccounts", ("create", "get", "list", "watch")),)),
    ("root-ca-cert-publisher", (rule("core", "configmaps", ("create", "update", "get", "list", "watch")),
                                rule("core", "namespaces", READ))),
    ("clusterrole-aggregation-controller", (
        rule("rbac.authorization.k8s.io", "clusterroles", ("escalate", "get", "list", "patch", "update", "watch")),
    )),
    ("disruption-controller", (
        rule("apps", "deployments replicasets statefulsets", READ), rule("policy", "poddisruptionbudgets", READ),
        rule("policy", "poddisruptionbudgets/status", ("update", "patch")), rule("*", "*/scale", ("get",)),
        rule("core", "pods replicationcontrollers", READ),
    )),
    ("horizontal-pod-autoscaler", (
        rule("autoscaling", "horizontalpodautoscalers", READ), rule("*", "*/scale", ("get", "update")),
        rule("autoscaling", "horizontalpodautoscalers/status", ("update", "patch")), rule("core", "pods", ("list",)),
        rule("metrics.k8s.io", "pods", ("list",)), rule("custom.metrics.k8s.io", "*", ("get", "list")),
        rule("external.metrics.k8s.io", "*", ("get", "list")),
    )),
    ("persistent-volume-binder", (
        rule("core", "persistentvolumes persistentvolumeclaims", CHANGE),
        rule("core", "persistentvolumes/status persistentvolumeclaims/status", ("update", "patch")),
        rule("storage.k8s.io", "storageclasses", READ), rule("core", "pods nodes", READ),
    )),
    ("pvc-protection-controller", (
        rule("core", "persistentvolumeclaims", ("get", "list", "watch", "update")), rule("core", "pods", READ),
    )),
    ("pv-protection-controller", (rule("core", "persistentvolumes", ("get", "list", "watch", "update")),)),
    ("resourcequota-controller", (
        rule("*", "*", ("list", "watch")), rule("core", "resourcequotas/status", ("update", "patch")),
    )),
    ("certificate-controller", (
        rule("certificates.k8s.io", "certificatesigningrequests", ("delete", "get", "list", "watch")),
        rule("certificates.k8s.io", "certificatesigningrequests/approval certificatesigningrequests/status", ("update",)),
        rule("certificates.k8s.io", "signers", ("approve",), names=("kubernetes.io/kube-apiserver-client-kubelet",)),
        rule("certificates.k8s.io", "signers", ("sign",), names=(
            "kubernetes.io/kube-apiserver-client", "kubernetes.io/kube-apiserver-client-kubelet",
            "kubernetes.io/kubelet-serving", "kubernetes.io/legacy-unknown",
        )),
        rule("authorization.k8s.io", "subjectaccessreviews", ("create",)),
    )),
    ("token-controller", (
        rule("core", "secrets", ("delete", "get", "list", "update", "watch")),
        rule("core", "serviceaccounts", READ),
    )),
    ("event-ttl-controller", (rule("core events.k8s.io", "events", ("delete", "get", "list", "watch")),)),
)  # fmt: skip


def default_cluster_roles() -> tuple[Obj, ...]:
    """Every default ClusterRole, complete; `admin`, `edit` and `view` aggregate what is labelled for them."""
    roles = [_role(name, rules) for name, rules in _GENERAL]
    roles += [_role(_controller(name), (*rules, _EVENTS)) for name, rules in _CONTROLLERS]
    for name, rules in (("view", _VIEW), ("edit", _EDIT), ("admin", _ADMIN)):
        # The parts of `view` go to `edit` and `admin` too, and those of `edit` to `admin`.
        labels = {f"rbac.authorization.k8s.io/aggregate-to-{name}": "true"}
        for wider in _WIDER[name]:
            labels[f"rbac.authorization.k8s.io/aggregate-to-{wider}"] = "true"
        roles.append(_role(f"system:aggregate-to-{name}", rules, labels))
        selector = {"matchLabels": {f"rbac.authorization.k8s.io/aggregate-to-{name}": "true"}}
        whole = _role(name, _WHOLE[name])
        roles.append({**whole, "aggregationRule": {"clusterRoleSelectors": [selector]}})
    return tuple(roles)


def default_cluster_role_bindings() -> tuple[Obj, ...]:
    everybody = ("Group", "system:authenticated")
    bindings = [
        _binding("cluster-admin", "cluster-admin", ("Group", "system:masters")),
        _binding("system:discovery", "system:discovery", everybody),
        _binding("system:basic-user", "system:basic-user", everybody),
        _binding(
            "system:public-info-viewer", "system:public-info-viewer", everybody, ("Group", "system:unauthenticated")
        ),
        _binding("system:monitoring", "system:monitoring", ("Group", "system:monitoring")),
        _binding("system:kube-scheduler", "system:kube-scheduler", ("User", "system:kube-scheduler")),
        _binding(
            "system:kube-controller-manager",
            "system:kube-controller-manager",
            ("User", "system:kube-controller-manager"),
        ),
        _binding("system:node-proxier", "system:node-proxier", ("User", "system:kube-proxy")),
        _binding(f"{_REQUESTS}:selfnodeclient", f"{_REQUESTS}:selfnodeclient", ("Group", "system:nodes")),
        _binding(
            "system:service-account-issuer-discovery",
            "system:service-account-issuer-discovery",
            ("Group", "system:serviceaccounts"),
        ),
        _binding("system:kube-dns", "system:kube-dns", ("User", "system:kube-dns")),
    ]
    for name, _ in _CONTROLLERS:
        bindings.append(_binding(_controller(name), _controller(name), ("ServiceAccount", name)))
    return tuple(bindings)


def _controller(name: str) -> str:
    return f"system:controller:{name}"


def _role(name: str, rules: Sequence[Obj], labels: Obj | None = None) -> Obj:
    metadata = {"name": name, "labels": {**_META, **(labels or {})}, "annotations": _AUTOUPDATE}
    return {"apiVersion": RBAC_VERSION, "kind": "ClusterRole", "metadata": metadata, "rules": list(rules)}


def _binding(name: str, role: str, *subjects: tuple[str, str]) -> Obj:
    return {
        "apiVersion": RBAC_VERSION,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name, "labels": _META, "annotations": _AUTOUPDATE},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [_subject(kind, subject) for kind, subject in subjects],
    }


def _subject(kind: str, name: str) -> Obj:
    if kind == "ServiceAccount":
        return {"kind": kind, "name": name, "namespace": "kube-system"}
    return {"kind": kind, "name": name, "apiGroup": "rbac.authorization.k8s.io"}
