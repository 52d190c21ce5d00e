"""Which objects a ResourceQuota is about: its scopes.  Upstream: pkg/quota/v1/evaluator/core/pods.go podMatchesScopeFunc."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.machinery.objects import Obj, field_of
from cluster.machinery.resource import Resource
from cluster.resources.qos import qos_class_of


def is_in_scope(quota: Obj, resource: Resource, obj: Obj) -> bool:
    """Whether `obj` counts: it must match every scope, and only pods have any."""
    scopes = list(_scopes_of(quota.get("spec") or {}))
    if not scopes:
        return True
    if resource.group or resource.plural != "pods":
        return False
    spec = obj.get("spec") or {}
    return all(_matches(scope, spec) for scope in scopes)


def _scopes_of(spec: Obj) -> Iterator[Obj]:
    for name in spec.get("scopes") or ():
        yield {"scopeName": name, "operator": "Exists"}
    yield from field_of(spec, "scopeSelector", "matchExpressions", default=())


def _matches(scope: Obj, spec: Obj) -> bool:
    match scope.get("scopeName"):
        case "Terminating":
            return spec.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return spec.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return qos_class_of(spec) == "BestEffort"
        case "NotBestEffort":
            return qos_class_of(spec) != "BestEffort"
        case "PriorityClass":
            return _class_matches(scope, str(spec.get("priorityClassName") or ""))
        case "CrossNamespacePodAffinity":
            return any(_crosses(term) for term in _affinity_terms(spec))
        case _:
            return False


def _class_matches(scope: Obj, name: str) -> bool:
    values = scope.get("values") or ()
    match scope.get("operator"):
        case "Exists":
            return bool(name)
        case "DoesNotExist":
            return not name
        case "In":
            return bool(name) and name in values
        case "NotIn":
            return name not in values
        case _:
            return False


def _affinity_terms(spec: Obj) -> Iterator[Obj]:
    for kind in ("podAffinity", "podAntiAffinity"):
        yield from field_of(spec, "affinity", kind, "requiredDuringSchedulingIgnoredDuringExecution", default=())
        path = ("affinity", kind, "preferredDuringSchedulingIgnoredDuringExecution")
        for weighted in field_of(spec, *path, default=()):
            yield weighted.get("podAffinityTerm") or {}


def _crosses(term: Obj) -> bool:
    return bool(term.get("namespaces")) or term.get("namespaceSelector") is not None
