"""What a LimitRange adds to containers, and what it finds wrong with a pod or a claim.  Pure.

Upstream: plugin/pkg/admission/limitranger.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cluster.machinery.objects import Obj, field_of
from cluster.machinery.quantity import Quantity
from cluster.resources.resource_usage import limits_of, quantities_of, requests_of

ANNOTATION = "kubernetes.io/limit-ranger"
"""Says which amounts a pod did not state itself."""
_CONTAINERS = ("containers", "initContainers")
_KINDS = {"containers": "container", "initContainers": "init container"}


def with_default_amounts(pod: Obj, limit_range: Obj) -> Obj:
    """The pod with limits and requests for the containers that state none; itself when there is nothing to add."""
    limits: dict[str, str] = {}
    requests: dict[str, str] = {}
    for item in _items(limit_range, "Container"):
        limits.update(item.get("default") or {})
        requests.update(item.get("defaultRequest") or {})
    if not limits and not requests:
        return pod
    spec: dict[str, Any] = dict(pod.get("spec") or {})
    notes: list[str] = []
    for field in _CONTAINERS:
        if containers := spec.get(field):
            spec[field] = [_filled(container, limits, requests, _KINDS[field], notes) for container in containers]
    if not notes:
        return pod
    meta = pod.get("metadata") or {}
    annotations = {**(meta.get("annotations") or {}), ANNOTATION: "LimitRanger plugin set: " + "; ".join(notes)}
    return {**pod, "metadata": {**meta, "annotations": annotations}, "spec": spec}


def _filled(container: Obj, limits: Mapping[str, str], requests: Mapping[str, str], kind: str, notes: list[str]) -> Obj:
    resources = dict(container.get("resources") or {})
    for field, amounts in (("requests", requests), ("limits", limits)):
        present = resources.get(field) or {}
        added = {name: amounts[name] for name in sorted(amounts) if name not in present}
        if added:
            resources[field] = {**present, **added}
            notes.append(f"{', '.join(added)} {field[:-1]} for {kind} {container.get('name', '')}")
    return {**container, "resources": resources}


def limit_violations(kind: str, obj: Obj, limit_range: Obj) -> Iterator[str]:
    """What of a new `Pod` or `PersistentVolumeClaim` (`kind`) is outside the bounds."""
    spec = obj.get("spec") or {}
    if kind == "PersistentVolumeClaim":
        requests = quantities_of(field_of(spec, "resources", "requests"))
        for item in _items(limit_range, kind):
            yield from _below(kind, quantities_of(item.get("min")), requests, {})
            yield from _requests_above(kind, quantities_of(item.get("max")), requests)
        return
    for item in _items(limit_range, "Container"):
        for field in _CONTAINERS:
            for container in spec.get(field) or ():
                resources = container.get("resources") or {}
                amounts = quantities_of(resources.get("requests")), quantities_of(resources.get("limits"))
                yield from _outside("Container", item, *amounts)
    for item in _items(limit_range, "Pod"):
        yield from _outside("Pod", item, requests_of(spec), limits_of(spec))


def _items(limit_range: Obj, kind: str) -> Iterator[Obj]:
    for item in field_of(limit_range, "spec", "limits", default=()):
        if item.get("type") == kind:
            yield item


Amounts = Mapping[str, Quantity]


def _outside(kind: str, item: Obj, requests: Amounts, limits: Amounts) -> Iterator[str]:
    yield from _below(kind, quantities_of(item.get("min")), requests, limits)
    yield from _above(kind, quantities_of(item.get("max")), requests, limits)
    yield from _beyond_ratio(kind, quantities_of(item.get("maxLimitRequestRatio")), requests, limits)


def _below(kind: str, least: Amounts, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name in sorted(least):
        text = f"minimum {name} usage per {kind} is {least[name]}"
        if name not in requests:
            yield f"{text}.  No request is specified"
        elif requests[name] < least[name]:
            yield f"{text}, but request is {requests[name]}"
        elif name in limits and limits[name] < least[name]:
            yield f"{text}, but limit is {limits[name]}"


def _above(kind: str, most: Amounts, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name in sorted(most):
        text = f"maximum {name} usage per {kind} is {most[name]}"
        if name not in limits:
            yield f"{text}.  No limit is specified"
        elif limits[name] > most[name]:
            yield f"{text}, but limit is {limits[name]}"
        elif name in requests and requests[name] > most[name]:
            yield f"{text}, but request is {requests[name]}"


def _requests_above(kind: str, most: Amounts, requests: Amounts) -> Iterator[str]:
    for name in sorted(most):
        text = f"maximum {name} usage per {kind} is {most[name]}"
        if name not in requests:
            yield f"{text}.  No request is specified"
        elif requests[name] > most[name]:
            yield f"{text}, but request is {requests[name]}"


def _beyond_ratio(kind: str, most: Amounts, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name in sorted(most):
        text = f"{name} max limit to request ratio per {kind} is {most[name]}"
        request, limit = requests.get(name), limits.get(name)
        if not request or not request.nanos:
            yield f"{text}, but no request is specified or request is 0"
        elif not limit or not limit.nanos:
            yield f"{text}, but no limit is specified or limit is 0"
        elif limit.nanos * 10**9 > most[name].nanos * request.nanos:
            yield f"{text}, but provided ratio is {limit.nanos / request.nanos:.6f}"
