"""What an object counts for in a ResourceQuota.  Pure: admission charges by it, the quota controller recounts by it.

Upstream: pkg/quota/v1/evaluator/core, apiserver/pkg/quota/v1/generic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from cluster.machinery.objects import Obj, annotations_of, field_of
from cluster.machinery.quantity import NANO, Quantity, QuantityError, parse_quantity
from cluster.machinery.resource import Resource
from cluster.resources.pod_resources import add_amounts, pod_amounts

Usage: TypeAlias = Mapping[str, Quantity]
"""Quota resource name (`requests.cpu`, `count/jobs.batch`) to amount."""

ONE = Quantity(NANO)
NOTHING = Quantity(0)
CLASS_SUFFIX = ".storageclass.storage.k8s.io/"
COMPUTE = ("cpu", "memory", "ephemeral-storage")
_REQUESTS, _LIMITS, _HUGE = "requests.", "limits.", "hugepages-"
_POD_NAMES = frozenset(("pods", *COMPUTE, *(f"{prefix}{name}" for prefix in (_REQUESTS, _LIMITS) for name in COMPUTE)))
_EXPLICIT = ("cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")
_SERVICE_NAMES = frozenset(("services", "services.nodeports", "services.loadbalancers"))
_CLAIM_NAMES = frozenset(("persistentvolumeclaims", "requests.storage"))
_COUNTED = frozenset(("configmaps", "secrets", "replicationcontrollers", "resourcequotas"))


def tracks(resource: Resource, name: str) -> bool:
    """Whether objects of `resource` can count for the quota resource `name`."""
    if name.startswith("count/"):
        return name[len("count/") :] == resource.qualified_name
    if resource.group:
        return False
    match resource.plural:
        case "pods":
            return name in _POD_NAMES or name.startswith((_HUGE, _REQUESTS + _HUGE)) or _is_extended(name)
        case "services":
            return name in _SERVICE_NAMES
        case "persistentvolumeclaims":
            return name in _CLAIM_NAMES or CLASS_SUFFIX in name
        case plural:
            return plural in _COUNTED and name == plural


def usage_of(resource: Resource, obj: Obj) -> dict[str, Quantity]:
    """Everything `obj` counts for.  Quantities that cannot be read count as nothing: validation refuses them."""
    used = {f"count/{resource.qualified_name}": ONE}
    if resource.group:
        return used
    match resource.plural:
        case "pods":
            # Finished pods are still objects, but use nothing.
            if field_of(obj, "status", "phase") not in ("Succeeded", "Failed"):
                used |= _pod_usage(obj.get("spec") or {})
        case "services":
            used |= _service_usage(obj.get("spec") or {})
        case "persistentvolumeclaims":
            used |= _claim_usage(obj)
        case plural if plural in _COUNTED:
            used[plural] = ONE
    return used


def missing_amounts(pod: Obj, limited: Iterable[str]) -> str:
    """Which containers fail to state what `limited` quotas need to know, in upstream's words; empty when none does."""
    required = [name for name in _EXPLICIT if name in frozenset(limited)]
    lacking: dict[str, list[str]] = {}
    spec = pod.get("spec") or {}
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())) if required else ():
        resources = container.get("resources") or {}
        for name in required:
            field, _, plain = name.rpartition(".")
            if plain not in (resources.get(field or "requests") or {}):
                lacking.setdefault(name, []).append(str(container.get("name", "")))
    return "; ".join(f"{name} for: {','.join(sorted(names))}" for name, names in sorted(lacking.items()))


def total_of(usages: Iterable[Usage]) -> dict[str, Quantity]:
    total: dict[str, Quantity] = {}
    for usage in usages:
        add_amounts(total, usage)
    return total


def quantities_of(amounts: Mapping[str, object] | None) -> dict[str, Quantity]:
    """A ResourceList, without what cannot be read."""
    found: dict[str, Quantity] = {}
    for name, text in (amounts or {}).items():
        if isinstance(text, str | int | float):
            try:
                found[name] = parse_quantity(text)
            except QuantityError:
                continue
    return found


def requests_of(spec: Obj) -> dict[str, Quantity]:
    """What the pod asks for altogether, overhead included."""
    requests = pod_amounts(spec, lambda holder: quantities_of(field_of(holder, "resources", "requests")))
    add_amounts(requests, quantities_of(spec.get("overhead")))
    return requests


def limits_of(spec: Obj) -> dict[str, Quantity]:
    """What the pod is limited to altogether; overhead is only added to what is limited at all."""
    limits = pod_amounts(spec, lambda holder: quantities_of(field_of(holder, "resources", "limits")))
    overhead = quantities_of(spec.get("overhead"))
    add_amounts(limits, {name: amount for name, amount in overhead.items() if name in limits})
    return limits


def _is_extended(name: str) -> bool:
    plain = name.removeprefix(_REQUESTS)
    return plain != name and "/" in plain and "kubernetes.io/" not in plain


def _pod_usage(spec: Obj) -> dict[str, Quantity]:
    used = {"pods": ONE}
    for name, amount in requests_of(spec).items():
        if name in COMPUTE or name.startswith(_HUGE):
            used[name] = amount
            used[_REQUESTS + name] = amount
        elif _is_extended(_REQUESTS + name):
            used[_REQUESTS + name] = amount
    for name, amount in limits_of(spec).items():
        if name in COMPUTE:
            used[_LIMITS + name] = amount
    return used


def _service_usage(spec: Obj) -> dict[str, Quantity]:
    used = {"services": ONE}
    kind, ports = spec.get("type"), Quantity(len(spec.get("ports") or ()) * NANO)
    if kind == "LoadBalancer":
        used["services.loadbalancers"] = ONE
    if kind == "NodePort" or (kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts", True)):
        used["services.nodeports"] = ports
    return used


def _claim_usage(claim: Obj) -> dict[str, Quantity]:
    used = {"persistentvolumeclaims": ONE}
    size = quantities_of(field_of(claim, "spec", "resources", "requests")).get("storage")
    notes = annotations_of(claim)
    name = notes.get("volume.beta.kubernetes.io/storage-class") or field_of(claim, "spec", "storageClassName")
    if size is not None:
        used["requests.storage"] = size
    if name:
        used[f"{name}{CLASS_SUFFIX}persistentvolumeclaims"] = ONE
        if size is not None:
            used[f"{name}{CLASS_SUFFIX}requests.storage"] = size
    return used
