"""ResourceQuota: what is counted, and under which scopes.

Upstream: pkg/apis/core/validation/validation.go ValidateResourceQuota, pkg/apis/core/helper, pkg/printers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import invalid, required
from cluster.machinery.names import qualified_name_errors
from cluster.machinery.objects import GroupKind, Obj, field_of
from cluster.machinery.quantity import NANO, QuantityError, parse_quantity
from cluster.resources.kind import Kind
from cluster.resources.printing import AGE, NAME, Column
from cluster.resources.strategy import GenericStrategy
from cluster.resources.workload import validate_immutable

COMPUTE = frozenset(("cpu", "memory", "ephemeral-storage"))
COUNTED = frozenset((
    "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims",
    "services.nodeports", "services.loadbalancers",
))  # fmt: skip
"""Resources that are numbers of objects."""
STANDARD = frozenset((
    *COMPUTE, *COUNTED, "requests.storage", *(f"requests.{name}" for name in COMPUTE), *(f"limits.{name}" for name in COMPUTE),
))  # fmt: skip
POD_SCOPES = (
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
)
SCOPES = (*POD_SCOPES, "VolumeAttributesClass")
_POD_RESOURCES = STANDARD - COUNTED - {"requests.storage"} | {"pods"}
_CONFLICTS = (frozenset(("BestEffort", "NotBestEffort")), frozenset(("Terminating", "NotTerminating")))
_EXISTS_ONLY = ("Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "CrossNamespacePodAffinity")
_HUGE_PAGES = "hugepages-"


class ResourceQuotaStrategy(GenericStrategy):
    has_status = True

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_spec(obj.get("spec") or {}))

    def _validate_update(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        found = list(self._validate(new))
        before, after = (frozenset(field_of(obj, "spec", "scopes", default=())) for obj in (old, new))
        if before != after:
            found.extend(validate_immutable(new, old, "spec", "scopes"))
        return tuple(found)

    def validate_status(self, new: Obj, old: Obj) -> tuple[Cause, ...]:
        found = list(super().validate_status(new, old))
        for field in ("hard", "used"):
            found.extend(_validate_amounts(field_of(new, "status", field, default={}), f"status.{field}"))
        return tuple(found)


def _validate_spec(spec: Obj) -> Iterator[Cause]:
    hard = spec.get("hard") or {}
    yield from _validate_amounts(hard, "spec.hard")
    scopes = spec.get("scopes") or []
    for scope in dict.fromkeys(scopes):
        if scope not in SCOPES:
            yield invalid("spec.scopes", scopes, "unsupported scope")
        elif any(not is_valid_for_scope(scope, name) for name in hard if name in STANDARD):
            yield invalid("spec.scopes", scopes, "unsupported scope applied to resource")
    if any(pair <= set(scopes) for pair in _CONFLICTS):
        yield invalid("spec.scopes", scopes, "conflicting scopes")
    for expression in field_of(spec, "scopeSelector", "matchExpressions", default=()):
        yield from _validate_scope_expression(expression, hard)
    named = {e.get("scopeName") for e in field_of(spec, "scopeSelector", "matchExpressions", default=())}
    if any(pair <= named for pair in _CONFLICTS):
        yield invalid("spec.scopes", scopes, "conflicting scopes")


def _validate_amounts(amounts: Mapping[str, Any], path: str) -> Iterator[Cause]:
    for name, text in amounts.items():
        at = f"{path}[{name}]"
        yield from validate_quota_name(name, at)
        yield from validate_amount(name, text, at)


def validate_quota_name(name: str, path: str) -> Iterator[Cause]:
    for why in qualified_name_errors(name):
        yield invalid(path, name, why)
    plain = name.removeprefix("requests.")
    if "/" not in name and name not in STANDARD and not plain.startswith(_HUGE_PAGES):
        yield invalid(path, name, "must be a standard resource for quota")


def validate_amount(name: str, text: str, path: str) -> Iterator[Cause]:
    """An amount of a resource: not negative, and whole where things are counted."""
    try:
        amount = parse_quantity(text)
    except QuantityError as error:
        yield invalid(path, text, str(error))
        return
    if amount.nanos < 0:
        yield invalid(path, text, "must be greater than or equal to 0")
    if amount.nanos % NANO and (name in COUNTED or is_extended(name)):
        yield invalid(path, text, "must be an integer")


def is_extended(name: str) -> bool:
    """A resource that Kubernetes itself does not know, which comes in whole units (`example.com/gpu`, `count/jobs.batch`)."""
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


def is_valid_for_scope(scope: str, resource: str) -> bool:
    """Whether a quota on a standard resource can be limited to pods of this scope."""
    match scope:
        case "BestEffort":
            return resource == "pods"
        case "VolumeAttributesClass":
            return resource in ("persistentvolumeclaims", "requests.storage")
        case _:
            return resource in _POD_RESOURCES


def _validate_scope_expression(expression: Obj, hard: Mapping[str, Any]) -> Iterator[Cause]:
    path = "spec.scopeSelector.matchExpressions"
    scope, operator = expression.get("scopeName", ""), expression.get("operator", "")
    values = expression.get("values") or []
    if scope not in SCOPES:
        yield invalid(f"{path}.scopeName", scope, "unsupported scope")
    elif any(not is_valid_for_scope(scope, name) for name in hard if name in STANDARD):
        yield invalid(path, hard, "unsupported scope applied to resource")
    if scope in _EXISTS_ONLY and operator != "Exists":
        why = (
            "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
            "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
        )
        yield invalid(f"{path}.operator", operator, why)
    match operator:
        case "In" | "NotIn":
            if not values:
                why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                yield required(f"{path}.values", why)
        case "Exists" | "DoesNotExist":
            if values:
                why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                yield invalid(f"{path}.values", values, why)
        case _:
            yield invalid(f"{path}.operator", operator, "not a valid selector operator")


def _used_cell(*, limits: bool) -> Any:
    def cell(quota: Obj, now: datetime) -> str:
        hard, used = (field_of(quota, "status", field, default={}) for field in ("hard", "used"))
        names = [name for name in sorted(hard) if name.startswith("limits") is limits]
        return ", ".join(f"{name}: {used.get(name, '0')}/{hard[name]}" for name in names)

    return cell


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind("", "ResourceQuota"): Kind(
        ResourceQuotaStrategy(),
        (
            NAME,
            Column(
                "Request", _used_cell(limits=False), description="Request represents a minimum amount of cpu/memory."
            ),
            Column("Limit", _used_cell(limits=True), description="Limits control the maximum amount of cpu/memory."),
            AGE,
        ),
    ),
}
