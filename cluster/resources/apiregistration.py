"""The apiregistration group: APIService, which says who serves a group-version.

Upstream: kube-aggregator/pkg/apis/apiregistration/{v1/defaults,validation/validation}.go, registry/apiservice/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from cluster.machinery.conditions import conditions_of, get_condition, make_condition
from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import invalid, quoted, required
from cluster.machinery.names import path_segment_errors, port_number_errors, service_name_errors, subdomain_errors
from cluster.machinery.objects import GroupKind, Obj, field_of, meta_of, name_of
from cluster.resources.defaulting import filled
from cluster.resources.kind import Kind
from cluster.resources.printing import AGE, NAME, Column
from cluster.resources.strategy import GenericStrategy

GROUP = "apiregistration.k8s.io"
AUTOMANAGED = "kube-aggregator.kubernetes.io/automanaged"
"""Label of the objects that the server keeps itself: `onstart` for built-in groups, `true` for those of CRDs."""
GROUP_PRIORITY_MAX = 20000
VERSION_PRIORITY_MAX = 1000
CUSTOM_GROUP_PRIORITY, CUSTOM_VERSION_PRIORITY = 1000, 100
_PRIORITIES: Mapping[str, int] = {
    "": 18000,
    "apps": 17800,
    "events.k8s.io": 17750,
    "authentication.k8s.io": 17700,
    "authorization.k8s.io": 17600,
    "autoscaling": 17500,
    "batch": 17400,
    "certificates.k8s.io": 17300,
    "networking.k8s.io": 17200,
    "policy": 17100,
    "rbac.authorization.k8s.io": 17000,
    "storage.k8s.io": 16800,
    "apiextensions.k8s.io": 16700,
    "admissionregistration.k8s.io": 16700,
    "scheduling.k8s.io": 16600,
    "coordination.k8s.io": 16500,
    "node.k8s.io": 16300,
    "discovery.k8s.io": 16200,
    "flowcontrol.apiserver.k8s.io": 16100,
}
_V2_PRIORITY, _V1_PRIORITY = 30, 15


def group_priority_of(group: str, *, default: int) -> int:
    """Where a built-in group stands among all, higher first; `default` for any other."""
    return _PRIORITIES.get(group, default)


def is_local(api_service: Obj) -> bool:
    """This server itself serves the group-version."""
    return field_of(api_service, "spec", "service") is None


def local_api_service(group: str, version: str, *, custom: bool) -> Obj:
    """The APIService of a group-version that this server itself serves."""
    group_priority, version_priority = CUSTOM_GROUP_PRIORITY, CUSTOM_VERSION_PRIORITY
    if not custom:
        group_priority = group_priority_of(group, default=GROUP_PRIORITY_MAX // 2)
        version_priority = 1 if not group else _V2_PRIORITY if version == "v2" else _V1_PRIORITY
    priorities = {"groupPriorityMinimum": group_priority, "versionPriority": version_priority}
    spec = {"version": version, **priorities}
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "APIService",
        "metadata": {"name": f"{version}.{group}", "labels": {AUTOMANAGED: "true" if custom else "onstart"}},
        "spec": {"group": group, **spec} if group else spec,
    }


class APIServiceStrategy(GenericStrategy):
    namespaced = False
    has_status = True

    def default(self, obj: Obj) -> Obj:
        spec = obj.get("spec") or {}
        if not spec.get("service"):
            return obj
        return {**obj, "spec": {**spec, "service": filled(spec["service"], absent={"port": 443})}}

    def _first_status(self, obj: Obj) -> Any:
        if not is_local(obj):
            return {}
        available = make_condition("Available", True, "Local", "Local APIServices are always available")
        return {"conditions": [{"lastTransitionTime": meta_of(obj).get("creationTimestamp", ""), **available}]}

    def _name_check(self, name: str) -> tuple[str, ...]:
        return path_segment_errors(name)

    def _validate(self, obj: Obj) -> tuple[Cause, ...]:
        return tuple(_validate_api_service(obj))


def _validate_api_service(obj: Obj) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    group, version = spec.get("group") or "", spec.get("version") or ""
    if name_of(obj) != (wanted := f"{version}.{group}"):
        why = f'must be `spec.version+"."+spec.group`: {quoted(wanted)}'
        yield invalid("metadata.name", name_of(obj), why)
    if not group and version != "v1":
        yield required("spec.group", "only v1 may have an empty group and it better be legacy kube")
    for why in subdomain_errors(group) if group else ():
        yield invalid("spec.group", group, why)
    for why in service_name_errors(version):
        yield invalid("spec.version", version, why)
    for field, most in (("groupPriorityMinimum", GROUP_PRIORITY_MAX), ("versionPriority", VERSION_PRIORITY_MAX)):
        if not 0 < spec.get(field, 0) <= most:
            yield invalid(f"spec.{field}", spec.get(field, 0), f"must be positive and less than {most}")
    insecure, bundle = bool(spec.get("insecureSkipTLSVerify")), spec.get("caBundle")
    service = spec.get("service")
    if service is None:
        if bundle:
            yield invalid("spec.caBundle", f"{len(bundle)} characters", "local APIServices may not have a caBundle")
        if insecure:
            why = "local APIServices may not have insecureSkipTLSVerify"
            yield invalid("spec.insecureSkipTLSVerify", insecure, why)
        return
    for field in ("namespace", "name"):
        if not service.get(field):
            yield required(f"spec.service.{field}")
    for why in port_number_errors(service.get("port", 0)):
        yield invalid("spec.service.port", service.get("port", 0), f"port is not valid: {why}")
    if insecure and bundle:
        yield invalid("spec.insecureSkipTLSVerify", insecure, "may not be true if caBundle is present")


def _service_cell(obj: Obj, now: datetime) -> str:
    service = field_of(obj, "spec", "service")
    return "Local" if service is None else f"{service.get('namespace', '')}/{service.get('name', '')}"


def _available_cell(obj: Obj, now: datetime) -> str:
    condition = get_condition(conditions_of(obj), "Available")
    if condition is None:
        return "Unknown"
    if condition.get("status") == "True":
        return "True"
    return f"{condition.get('status', '')} ({condition.get('reason', '')})"


KINDS: Mapping[GroupKind, Kind] = {
    GroupKind(GROUP, "APIService"): Kind(
        APIServiceStrategy(),
        (
            NAME,
            Column("Service", _service_cell, description="The reference to the service that hosts this API endpoint."),
            Column("Available", _available_cell, description="Whether this service is available."),
            AGE,
        ),
    ),
}
