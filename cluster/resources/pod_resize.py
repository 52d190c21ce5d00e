"""What a write to `pods/NAME/resize` may change: the cpu and memory that containers ask for.

Upstream: pkg/registry/core/pod/strategy.go podResizeStrategy, validation.go ValidatePodResize.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cluster.machinery.errors import Cause
from cluster.machinery.field_errors import forbidden, invalid
from cluster.machinery.objects import Obj, meta_of
from cluster.machinery.quantity import QuantityError, parse_quantity
from cluster.resources.pod_defaults import default_pod
from cluster.resources.pod_validation import validate_pod_spec
from cluster.resources.qos import qos_class_of

MUTABLE = ("cpu", "memory")
_FIELDS = ("containers", "initContainers")
_PARTS = ("resources", "resizePolicy")


def prepare_resize(new: Obj, old: Obj) -> Obj:
    """`old` with `new`'s metadata and its containers' resources and resize policies; everything else stays."""
    spec: dict[str, Any] = dict(old["spec"])
    for field in _FIELDS:
        if field in spec:
            wanted = {c.get("name"): c for c in (new.get("spec") or {}).get(field) or ()}
            spec[field] = [_resized(container, wanted.get(container["name"], container)) for container in spec[field]]
    spec = default_pod({"spec": spec})["spec"]
    meta = {**meta_of(new), "generation": int(meta_of(old).get("generation", 0)) + (spec != old["spec"])}
    return {**old, "metadata": meta, "spec": spec}


def _resized(container: Obj, wanted: Obj) -> dict[str, Any]:
    kept = {name: value for name, value in container.items() if name not in _PARTS}
    return kept | {name: wanted[name] for name in _PARTS if name in wanted}


def validate_resize(new: Obj, old: Obj) -> tuple[Cause, ...]:
    before, after = old["spec"], new["spec"]
    if before == after:
        return ()
    found = list(validate_pod_spec(after))
    if found:
        return tuple(found)
    if qos_class_of(after) != qos_class_of(before):
        why = "Pod QOS Class may not change as a result of resizing"
        found.append(invalid("spec", qos_class_of(after), why))
    for field in _FIELDS:
        for index, (was, is_) in enumerate(zip(before.get(field) or (), after.get(field) or (), strict=True)):
            path = f"spec.{field}[{index}].resources"
            if field == "initContainers" and was.get("restartPolicy") != "Always":
                if _resources(was) != _resources(is_):
                    found.append(forbidden(path, "resources for non-sidecar init containers are immutable"))
                continue
            found.extend(_changes_refused(_resources(is_), _resources(was), path))
            found.extend(_shrinking_refused(is_, was, path))
    return tuple(found)


def _resources(container: Obj) -> Mapping[str, Any]:
    resources = container.get("resources") or {}
    return {field: resources.get(field) or {} for field in ("limits", "requests")}


def _changes_refused(after: Mapping[str, Any], before: Mapping[str, Any], path: str) -> Iterator[Cause]:
    for field in ("limits", "requests"):
        others = [
            {name: text for name, text in amounts[field].items() if name not in MUTABLE} for amounts in (after, before)
        ]
        if others[0] != others[1]:
            yield forbidden("spec", "only cpu and memory resources are mutable")
        if any(name not in after[field] for name in before[field] if name in MUTABLE):
            yield forbidden(path, f"resource {field} cannot be removed")


def _shrinking_refused(after: Obj, before: Obj, path: str) -> Iterator[Cause]:
    """Memory in use cannot be taken from a running process; a container that restarts for it can have less."""
    policies = {policy.get("resourceName"): policy.get("restartPolicy") for policy in after.get("resizePolicy") or ()}
    if policies.get("memory") == "RestartContainer":
        return
    was, is_ = (_resources(container)["limits"].get("memory") for container in (before, after))
    try:
        shrinks = was is not None and is_ is not None and parse_quantity(is_) < parse_quantity(was)
    except QuantityError:
        return  # reported as such
    if shrinks:
        why = "memory limits cannot be decreased unless resizePolicy is RestartContainer"
        yield forbidden(f"{path}.limits", why)
