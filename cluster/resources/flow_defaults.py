"""The flow schemas and priority levels that every cluster has: the mandatory ones, and those suggested to begin with.

Upstream: apiserver/pkg/apis/flowcontrol/bootstrap/default.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cluster.machinery.objects import Obj, name_of

AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"
"""Annotation: `true` has the server keep the spec as it ships it; deleting it or writing `false` keeps what was written."""

_API_VERSION = "flowcontrol.apiserver.k8s.io/v1"
_AUTHENTICATED, _UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"


def _object(kind: str, name: str, spec: Obj) -> Obj:
    metadata = {"name": name, "annotations": {AUTOUPDATE: "true"}}
    return {"apiVersion": _API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def _level(name: str, shares: int, *, lendable: int, queues: int = 0, hand: int = 0, length: int = 50) -> Obj:
    response: dict[str, Any] = {"type": "Reject"}
    if queues:
        response = {"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length}}
    limited = {"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response}
    return _object("PriorityLevelConfiguration", name, {"type": "Limited", "limited": limited})


def _group(name: str) -> Obj:
    return {"kind": "Group", "group": {"name": name}}


def _user(name: str) -> Obj:
    return {"kind": "User", "user": {"name": name}}


def _account(namespace: str, name: str) -> Obj:
    return {"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}}


def _resources(verbs: Sequence[str], group: str, *resources: str, cluster: bool = False, namespaces: str = "*") -> Obj:
    rule: dict[str, Any] = {"verbs": list(verbs), "apiGroups": [group], "resources": list(resources)}
    if cluster:
        rule["clusterScope"] = True
    return {**rule, "namespaces": [namespaces]} if namespaces else rule


_ALL_RESOURCES = _resources(("*",), "*", "*", cluster=True)
_ALL_URLS: Obj = {"verbs": ["*"], "nonResourceURLs": ["*"]}


def _rules(subjects: Sequence[Obj], resources: Sequence[Obj] = (), urls: Sequence[Obj] = ()) -> Obj:
    rules: dict[str, Any] = {"subjects": list(subjects)}
    if resources:
        rules["resourceRules"] = list(resources)
    return {**rules, "nonResourceRules": list(urls)} if urls else rules


def _schema(name: str, level: str, precedence: int, by: str, *rules: Obj) -> Obj:
    spec: dict[str, Any] = {
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": list(rules),
    }
    return _object("FlowSchema", name, {**spec, "distinguisherMethod": {"type": by}} if by else spec)


def _by_name(objects: Sequence[Obj]) -> Mapping[str, Obj]:
    return {name_of(obj): obj for obj in objects}


_BY_USER, _BY_NAMESPACE = "ByUser", "ByNamespace"

MANDATORY_LEVELS: Mapping[str, Obj] = _by_name(
    (
        _object(
            "PriorityLevelConfiguration",
            "exempt",
            {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}},
        ),
        _level("catch-all", 5, lendable=0),
    )
)
MANDATORY_SCHEMAS: Mapping[str, Obj] = _by_name(
    (
        _schema("exempt", "exempt", 1, "", _rules((_group("system:masters"),), (_ALL_RESOURCES,), (_ALL_URLS,))),
        _schema(
            "catch-all",
            "catch-all",
            10000,
            _BY_USER,
            _rules((_group(_UNAUTHENTICATED), _group(_AUTHENTICATED)), (_ALL_RESOURCES,), (_ALL_URLS,)),
        ),
    )
)
SUGGESTED_LEVELS: Sequence[Obj] = (
    _level("system", 30, lendable=33, queues=64, hand=6),
    _level("node-high", 40, lendable=25, queues=64, hand=6),
    _level("leader-election", 10, lendable=0, queues=16, hand=4),
    _level("workload-high", 40, lendable=50, queues=128, hand=6),
    _level("workload-low", 100, lendable=90, queues=128, hand=6),
    _level("global-default", 20, lendable=50, queues=128, hand=6),
)
_CONTROLLERS = (_user("system:kube-controller-manager"), _user("system:kube-scheduler"))
_ELECTION = _resources(("get", "create", "update"), "coordination.k8s.io", "leases")
_PROBES: Obj = {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}
SUGGESTED_SCHEMAS: Sequence[Obj] = (
    _schema(
        "system-nodes", "system", 500, _BY_USER, _rules((_group("system:nodes"),), (_ALL_RESOURCES,), (_ALL_URLS,))
    ),
    _schema(
        "system-node-high",
        "node-high",
        400,
        _BY_USER,
        _rules(
            (_group("system:nodes"),),
            (
                _resources(("*",), "", "nodes", "nodes/status", cluster=True),
                _resources(("*",), "coordination.k8s.io", "leases"),
            ),
        ),
    ),
    _schema(
        "probes", "exempt", 2, "", _rules((_group(_UNAUTHENTICATED), _group(_AUTHENTICATED)), (), (_PROBES,))
    ),
    _schema(
        "system-leader-election", "leader-election", 100, _BY_USER, _rules(_CONTROLLERS, (_ELECTION,))
    ),
    _schema(
        "endpoint-controller",
        "workload-high",
        150,
        _BY_USER,
        _rules(
            (_user("system:kube-controller-manager"), _account("kube-system", "endpoint-controller"),
             _account("kube-system", "endpointslicemirroring-controller")),
            (_resources(("get", "create", "update"), "", "endpoints"),),
        ),
    ),
    _schema(
        "workload-leader-election",
        "leader-election",
        200,
        _BY_USER,
        _rules((_account("kube-system", "*"),), (_ELECTION,)),
    ),
    _schema(
        "kube-controller-manager",
        "workload-high",
        800,
        _BY_NAMESPACE,
        _rules((_user("system:kube-controller-manager"),), (_ALL_RESOURCES,), (_ALL_URLS,)),
    ),
    _schema(
        "kube-scheduler",
        "workload-high",
        800,
        _BY_NAMESPACE,
        _rules((_user("system:kube-scheduler"),), (_ALL_RESOURCES,), (_ALL_URLS,)),
    ),
    _schema(
        "kube-system-service-accounts",
        "workload-high",
        900,
        _BY_NAMESPACE,
        _rules((_account("kube-system", "*"),), (_ALL_RESOURCES,), (_ALL_URLS,)),
    ),
    _schema(
        "service-accounts",
        "workload-low",
        9000,
        _BY_USER,
        _rules((_group("system:serviceaccounts"),), (_ALL_RESOURCES,), (_ALL_URLS,)),
    ),
    _schema(
        "global-default",
        "global-default",
        9900,
        _BY_USER,
        _rules((_group(_UNAUTHENTICATED), _group(_AUTHENTICATED)), (_ALL_RESOURCES,), (_ALL_URLS,)),
    ),
)  # fmt: skip
